"""Optimisers and learning-rate schedules. A schedule is a pure function of the step, so it has no
state to save.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from trainers.config import (
    ASGD,
    SGD,
    SOAP,
    Adadelta,
    Adagrad,
    Adam,
    AdamLike,
    Milestones,
    Nesterov,
    Optimiser,
    RMSprop,
    Schedule,
    Shampoo,
)


def build(
    config: Optimiser, parameters: Iterable[torch.Tensor], decay_weights_only: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of `config` for all parameters, including biases and norms (as in the published
    runs).

    With `decay_weights_only`, biases and norms (tensors of one dimension) do not decay. Decay
    towards the initial weights uses the values of the parameters at this call. Raises RuntimeError
    for Shampoo and SOAP if pytorch-optimizer is not installed.
    """
    optimiser = _build(config, list(parameters))
    if decay_weights_only:
        _split_decay(optimiser)
    return optimiser


def _build(config: Optimiser, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    if isinstance(config, SGD):
        return _without_dynamo(torch.optim.SGD)(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    if isinstance(config, Shampoo | SOAP):
        return _preconditioned(config, parameters)
    if isinstance(config, Adam):
        return _adam(config, parameters)
    return _of_torch(config, parameters)


def _of_torch(
    config: Nesterov | RMSprop | AdamLike | Adagrad | Adadelta | ASGD,
    parameters: list[torch.Tensor],
) -> torch.optim.Optimizer:
    """An optimiser of torch.optim whose arguments are the keys of its configuration."""
    kinds: dict[str, Any] = {
        "nesterov": functools.partial(_without_dynamo(torch.optim.SGD), nesterov=True),
        "rmsprop": _without_dynamo(torch.optim.RMSprop),
        "amsgrad": functools.partial(_without_dynamo(torch.optim.Adam), amsgrad=True),
        "adamax": _without_dynamo(torch.optim.Adamax),
        "adagrad": _without_dynamo(torch.optim.Adagrad),
        "adadelta": _without_dynamo(torch.optim.Adadelta),
        "asgd": _without_dynamo(torch.optim.ASGD),
    }
    keys = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("name", "schedule", "beta1", "beta2")
    }
    if isinstance(config, AdamLike):
        keys["betas"] = (config.beta1, config.beta2)
    optimiser: torch.optim.Optimizer = kinds[config.name](parameters, **keys)
    return optimiser


def _split_decay(optimiser: torch.optim.Optimizer) -> None:
    """Move the parameters of one dimension into a group of their own, without decay."""
    (group,) = optimiser.param_groups
    weights = [p for p in group["params"] if p.dim() > 1]
    others = [p for p in group["params"] if p.dim() <= 1]
    group["params"] = weights
    if others:
        optimiser.add_param_group({**group, "params": others, "weight_decay": 0.0})


@functools.cache
def _without_dynamo(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The class `kind` without the graph breaks for torch.compile in its methods.

    They import torch._dynamo, which takes every training process as long as torch itself, and mean
    nothing here: only models are compiled, never the step of an optimiser. A method that this
    version of torch does not wrap stays as it is.
    """
    methods = {}
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        methods[name] = inspect.unwrap(getattr(kind, name))
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


def _preconditioned(
    config: Shampoo | SOAP, parameters: Iterable[torch.Tensor]
) -> torch.optim.Optimizer:
    """Shampoo with its matrices summed over all steps, or SOAP, with the package's defaults."""
    library = _pytorch_optimizer(config.name)
    if isinstance(config, Shampoo):
        optimiser = library.Shampoo(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            preconditioning_compute_steps=config.every,
            matrix_eps=config.eps,
        )
    else:
        optimiser = library.SOAP(
            parameters,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            weight_decay=config.weight_decay,
            precondition_frequency=config.every,
        )
    return _diverges_to_nan(optimiser)


def _diverges_to_nan(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser, whose step makes the weights NaN where its matrices have overflowed.

    These have no decomposition, and the package raises. A run that diverges is a result, with this
    optimiser as with others.
    """
    step = optimiser.step

    def step_or_nan() -> None:
        try:
            step()
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            if all(torch.isfinite(tensor).all() for tensor in _tensors(optimiser.state)):
                raise
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    parameter.data.fill_(math.nan)

    optimiser.step = step_or_nan  # type: ignore[assignment, method-assign]
    return optimiser


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """All tensors in nested mappings and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _pytorch_optimizer(name: str) -> Any:
    try:
        return importlib.import_module("pytorch_optimizer")
    except ImportError as error:
        raise RuntimeError(
            f"optim.name={name}: the package pytorch-optimizer cannot be imported ({error}); "
            "install it with pip install 'pytorch-optimizer>=4.1,<5', or the extra 'capacity' of "
            "this project"
        ) from error


def _adam(config: Adam, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    kind = _without_dynamo(torch.optim.Adam if config.name == "adam" else torch.optim.AdamW)
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


def learning_rate(
    base: float,
    schedule: Schedule | Milestones,
    step: int,
    total_steps: int,
    epoch_steps: int = 1,
) -> float:
    """Learning rate of 0-based step `step` out of `total_steps`.

    constant: base. cosine: base (1 + cos(pi step / total_steps)) / 2. step: base factor^floor(step
    / period). inverse_sqrt: base / sqrt(1 + floor(step / period)) (Nakkiran et al. 2019, with
    period 512). milestones: base factor^m after m of the points, which can be epochs of
    `epoch_steps` steps. During the first `warmup` steps the rate grows linearly: step 0 uses 1 /
    warmup of it.
    """
    if step < schedule.warmup:
        base *= (step + 1) / schedule.warmup
    if isinstance(schedule, Milestones):
        place = step / epoch_steps if schedule.unit == "epochs" else step
        return base * float(schedule.factor ** sum(place >= point for point in schedule.at))
    if schedule.name == "cosine":
        return base * (1 + math.cos(math.pi * step / total_steps)) / 2
    if schedule.name == "step":
        return base * float(schedule.factor ** (step // schedule.period))
    if schedule.name == "inverse_sqrt":
        return base / math.sqrt(1 + step // schedule.period)
    return base
