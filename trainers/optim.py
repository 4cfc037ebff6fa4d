"""Optimisers and learning-rate schedules. A schedule is a pure function of the step, so it has no
state to save.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from trainers.config import SGD, Adam, Schedule


def build(config: SGD | Adam, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """The optimiser of `config` for all parameters, including biases and norms (as in the published
    runs).

    Decay towards the initial weights uses the values of the parameters at this call.
    """
    if isinstance(config, SGD):
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    betas, to_zero = (config.beta1, config.beta2), config.decay_towards == "zero"
    weights = list(parameters)
    decay = config.weight_decay if to_zero else 0.0
    optimiser = kind(
        weights, lr=config.lr, betas=betas, eps=config.eps, weight_decay=decay, fused=True
    )
    if not to_zero:
        _decay_to_init(optimiser, weights, config.weight_decay)
    if config.update_noise:
        _noise_updates(optimiser, weights, config.update_noise)
    return optimiser


def _decay_to_init(
    optimiser: torch.optim.Optimizer, parameters: list[torch.Tensor], decay: float
) -> None:
    """Before each step, move weights by lr * decay of the way to the start (Power et al. 2022)."""
    start = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def move(optimiser: torch.optim.Optimizer, *_: object) -> None:
        torch._foreach_lerp_(parameters, start, optimiser.param_groups[0]["lr"] * decay)

    optimiser.register_step_pre_hook(move)


def _noise_updates(
    optimiser: torch.optim.Optimizer, parameters: list[torch.Tensor], size: float
) -> None:
    """Add normal noise of standard deviation `size` to each update (Power et al. 2022)."""

    @torch.no_grad()
    def add(optimiser: torch.optim.Optimizer, *_: object) -> None:
        for parameter in parameters:
            parameter.add_(
                torch.randn_like(parameter), alpha=optimiser.param_groups[0]["lr"] * size
            )

    optimiser.register_step_post_hook(add)


def learning_rate(base: float, schedule: Schedule, step: int, total_steps: int) -> float:
    """Learning rate of 0-based step `step` out of `total_steps`.

    constant: base. cosine: base (1 + cos(pi step / total_steps)) / 2. step: base factor^floor(step
    / period). inverse_sqrt: base / sqrt(1 + floor(step / period)) (Nakkiran et al. 2019, with
    period 512). During the first `warmup` steps the rate grows linearly: step 0 uses 1 / warmup of
    it.
    """
    if step < schedule.warmup:
        base *= (step + 1) / schedule.warmup
    if schedule.name == "cosine":
        return base * (1 + math.cos(math.pi * step / total_steps)) / 2
    if schedule.name == "step":
        return base * float(schedule.factor ** (step // schedule.period))
    if schedule.name == "inverse_sqrt":
        return base / math.sqrt(1 + step // schedule.period)
    return base
