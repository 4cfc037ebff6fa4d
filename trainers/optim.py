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
    Rated,
    RMSprop,
    Schedule,
    Shampoo,
    entry,
)
from trainers.config.kinds import check_returned


def build(
    config: Rated, parameters: Iterable[torch.Tensor], decay_weights_only: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of `config` for all parameters, including biases and norms (as in the published
    runs).

    With `decay_weights_only`, biases and norms (tensors of one dimension) do not decay. Decay
    towards the initial weights uses the values of the parameters at this call. Raises RuntimeError
    for Shampoo and SOAP if pytorch-optimizer is not installed, ConfigError for an entry of the
    user's that returns no optimiser.
    """
    optimiser: torch.optim.Optimizer = entry(config)(config, list(parameters))
    check_returned(config, optimiser, torch.optim.Optimizer, "a torch.optim.Optimizer")
    if decay_weights_only:
        _split_decay(optimiser)
    return optimiser


def sgd(config: SGD, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """SGD with momentum and coupled decay."""
    return _without_dynamo(torch.optim.SGD)(parameters, fused=True, **_arguments(config))


def nesterov(config: Nesterov, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum."""
    return _without_dynamo(torch.optim.SGD)(parameters, nesterov=True, **_arguments(config))


def rmsprop(config: RMSprop, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """RMSprop of torch.optim."""
    return _without_dynamo(torch.optim.RMSprop)(parameters, **_arguments(config))


def adam_like(config: AdamLike, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """AMSGrad or AdaMax of torch.optim."""
    betas = (config.beta1, config.beta2)
    if config.name == "adamax":
        kind = _without_dynamo(torch.optim.Adamax)
        return kind(parameters, betas=betas, **_arguments(config))
    kind = _without_dynamo(torch.optim.Adam)
    return kind(parameters, betas=betas, amsgrad=True, **_arguments(config))


def adagrad(config: Adagrad, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Adagrad of torch.optim."""
    return _without_dynamo(torch.optim.Adagrad)(parameters, **_arguments(config))


def adadelta(config: Adadelta, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Adadelta of torch.optim."""
    return _without_dynamo(torch.optim.Adadelta)(parameters, **_arguments(config))


def asgd(config: ASGD, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """ASGD of torch.optim."""
    return _without_dynamo(torch.optim.ASGD)(parameters, **_arguments(config))


def _arguments(config: Any) -> dict[str, Any]:
    """The keys of a configuration that are arguments of its optimiser in torch.optim."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("name", "schedule", "beta1", "beta2")
    }


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


def shampoo(config: Shampoo, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Shampoo with its matrices summed over all steps, and the package's other defaults."""
    optimiser = _pytorch_optimizer(config.name).Shampoo(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        preconditioning_compute_steps=config.every,
        matrix_eps=config.eps,
    )
    optimiser.cuda_graph = False  # its momentum can be the gradient itself
    return _diverges_to_nan(optimiser)


def soap(config: SOAP, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """SOAP with the package's other defaults."""
    optimiser = _pytorch_optimizer(config.name).SOAP(
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


def adam(config: Adam, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Adam or AdamW, with decay towards the initial weights and noise on the updates if the cell
    asks for them.
    """
    kind = _without_dynamo(torch.optim.Adam if config.name == "adam" else torch.optim.AdamW)
    to_zero = config.decay_towards == "zero"
    optimiser = kind(
        parameters,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay if to_zero else 0.0,
        fused=True,
    )
    if not to_zero:
        _decay_to_init(optimiser, parameters, config.weight_decay)
    if config.update_noise:
        _noise_updates(optimiser, parameters, config.update_noise)
    return optimiser


def _decay_to_init(
    optimiser: torch.optim.Optimizer, parameters: list[torch.Tensor], decay: float
) -> None:
    """Before each step, move weights by lr * decay of the way to the start (Power et al. 2022)."""
    start = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def move(optimiser: torch.optim.Optimizer, *_: object) -> None:
        if _is_skipped(optimiser):
            return
        torch._foreach_lerp_(parameters, start, optimiser.param_groups[0]["lr"] * decay)

    optimiser.register_step_pre_hook(move)


def _noise_updates(
    optimiser: torch.optim.Optimizer, parameters: list[torch.Tensor], size: float
) -> None:
    """Add normal noise of standard deviation `size` to each update (Power et al. 2022)."""

    @torch.no_grad()
    def add(optimiser: torch.optim.Optimizer, *_: object) -> None:
        if _is_skipped(optimiser):
            return
        deviation = optimiser.param_groups[0]["lr"] * size
        for parameter in parameters:
            if parameter.grad is not None:  # None if it is frozen or not used
                parameter.add_(torch.randn_like(parameter), alpha=deviation)

    optimiser.register_step_post_hook(add)


def _is_skipped(optimiser: torch.optim.Optimizer) -> bool:
    """Whether the present step is to change nothing, as a gradient overflowed in float16.

    The loss scaler calls the step of a fused optimiser also then, and tells it by `found_inf`.
    """
    found_inf = getattr(optimiser, "found_inf", None)
    return found_inf is not None and bool(found_inf)


def learning_rate(
    base: float,
    schedule: Schedule | Milestones,
    step: int,
    total_steps: int,
    epoch_steps: int,
) -> float:
    """Learning rate of 0-based step `step` out of `total_steps`.

    * constant: base
    * cosine: base (1 + cos(pi step / total_steps)) / 2
    * step: base factor^floor(step / period)
    * inverse_sqrt: base / sqrt(1 + floor(step / period)) (Nakkiran et al. 2019, with period 512)
    * milestones: base factor^m after m of the points, which can be epochs of `epoch_steps` steps

    During the first `warmup` steps the rate grows linearly: step 0 uses 1 / warmup of it.
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
