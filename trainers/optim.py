"""Optimisers and learning-rate schedules; a schedule is a pure function of the step, so it has no state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from trainers.config import SGD, Adam, Schedule


def build(config: SGD | Adam, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of `config` over all parameters, biases and batch norm included (as the published runs)."""
    if isinstance(config, SGD):
        return torch.optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    betas = (config.beta1, config.beta2)
    return kind(parameters, lr=config.lr, betas=betas, eps=config.eps, weight_decay=config.weight_decay, fused=True)


def learning_rate(base: float, schedule: Schedule, step: int, total_steps: int) -> float:
    """Learning rate of 0-based step `step` out of `total_steps`.

    constant: base. cosine: base (1 + cos(pi step / total_steps)) / 2. step: base factor^floor(step / period).
    inverse_sqrt: base / sqrt(1 + floor(step / period)) (Nakkiran et al. 2019, with period 512).
    """
    if schedule.name == "cosine":
        return base * (1 + math.cos(math.pi * step / total_steps)) / 2
    if schedule.name == "step":
        return base * float(schedule.factor ** (step // schedule.period))
    if schedule.name == "inverse_sqrt":
        return base / math.sqrt(1 + step // schedule.period)
    return base
