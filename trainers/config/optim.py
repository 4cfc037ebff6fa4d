"""The optimisers of a cell and their learning-rate schedules."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, below_one, between


@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule; `learning_rate` in trainers/optim.py has the formulas."""

    name: Literal["constant", "cosine", "step", "inverse_sqrt"]
    period: int
    factor: float
    warmup: int

    def __post_init__(self) -> None:
        at_least("optim.schedule.period", self.period, 1)
        at_least("optim.schedule.factor", self.factor, 0)
        at_least("optim.schedule.warmup", self.warmup, 0)


@dataclass(frozen=True)
class Milestones:
    """Schedule that multiplies the rate by `factor` at each point of `at`, in epochs or steps."""

    name: Literal["milestones"]
    at: tuple[float, ...]
    factor: float
    unit: Literal["epochs", "steps"]
    warmup: int

    def __post_init__(self) -> None:
        is_increasing = all(low < high for low, high in itertools.pairwise(self.at))
        if not self.at or not is_increasing or not 0 <= self.at[0] <= self.at[-1] < math.inf:
            raise ConfigError(
                f"optim.schedule.at: found {list(self.at)}, expected increasing numbers of at "
                "least 0"
            )
        at_least("optim.schedule.factor", self.factor, 0)
        at_least("optim.schedule.warmup", self.warmup, 0)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; `weight_decay` is the coupled L2 coefficient."""

    entry = "trainers.optim:sgd"

    name: Literal["sgd"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        between("optim.momentum", self.momentum, 0.0, 1.0)


@dataclass(frozen=True)
class Adam:
    """Adam with L2 in the gradient, or AdamW with decoupled decay (Loshchilov & Hutter 2019)."""

    entry = "trainers.optim:adam"

    name: Literal["adam", "adamw"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    decay_towards: Literal["zero", "init"]
    update_noise: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)
        if self.decay_towards == "init" and self.name == "adam":
            raise ConfigError(
                "optim.decay_towards: found 'init' with adam, expected adamw, whose decay is its "
                "own step"
            )
        at_least("optim.update_noise", self.update_noise, 0)
        below_one("optim.beta1", self.beta1)
        below_one("optim.beta2", self.beta2)


@dataclass(frozen=True)
class Shampoo:
    """Shampoo (Gupta, Koren & Singer 2018): gradients between inverse roots of their summed
    products, renewed every `every` steps.
    """

    entry = "trainers.optim:shampoo"

    name: Literal["shampoo"]
    lr: float
    momentum: float
    eps: float
    weight_decay: float
    every: int
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        between("optim.momentum", self.momentum, 0.0, 1.0)
        at_least("optim.eps", self.eps, 0)
        at_least("optim.every", self.every, 1)


@dataclass(frozen=True)
class SOAP:
    """SOAP (Vyas et al. 2024): Adam in the eigenbases of Shampoo's matrices, renewed every `every`
    steps.
    """

    entry = "trainers.optim:soap"

    name: Literal["soap"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    every: int
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)
        below_one("optim.beta1", self.beta1)
        below_one("optim.beta2", self.beta2)
        at_least("optim.every", self.every, 1)


@dataclass(frozen=True)
class Nesterov:
    """Stochastic gradient descent with Nesterov momentum."""

    entry = "trainers.optim:nesterov"

    name: Literal["nesterov"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        between("optim.momentum", self.momentum, 0.0, 1.0)
        if self.momentum == 0:
            raise ConfigError(
                "optim.momentum: found 0 with nesterov, expected more; optim=sgd has no momentum"
            )


@dataclass(frozen=True)
class RMSprop:
    """RMSprop; `alpha` is the decay of the mean of squared gradients."""

    entry = "trainers.optim:rmsprop"

    name: Literal["rmsprop"]
    lr: float
    alpha: float
    eps: float
    momentum: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)
        between("optim.alpha", self.alpha, 0.0, 1.0)
        between("optim.momentum", self.momentum, 0.0, 1.0)


@dataclass(frozen=True)
class AdamLike:
    """AMSGrad (Reddi, Kale & Kumar 2018) or AdaMax (Kingma & Ba 2015), decay in the gradient."""

    entry = "trainers.optim:adam_like"

    name: Literal["amsgrad", "adamax"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)
        below_one("optim.beta1", self.beta1)
        below_one("optim.beta2", self.beta2)


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi, Hazan & Singer 2011)."""

    entry = "trainers.optim:adagrad"

    name: Literal["adagrad"]
    lr: float
    eps: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)


@dataclass(frozen=True)
class Adadelta:
    """Adadelta (Zeiler 2012); `rho` is the decay of its means of squares."""

    entry = "trainers.optim:adadelta"

    name: Literal["adadelta"]
    lr: float
    rho: float
    eps: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.eps", self.eps, 0)
        between("optim.rho", self.rho, 0.0, 1.0)


@dataclass(frozen=True)
class ASGD:
    """Averaged SGD (Polyak & Juditsky 1992) with PyTorch's decay of the rate; its average is not
    used.
    """

    entry = "trainers.optim:asgd"

    name: Literal["asgd"]
    lr: float
    lambd: float
    alpha: float
    weight_decay: float
    schedule: Schedule | Milestones

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        at_least("optim.lambd", self.lambd, 0)
        at_least("optim.alpha", self.alpha, 0)


def _check_rates(lr: float, weight_decay: float) -> None:
    at_least("optim.lr", lr, 0)
    at_least("optim.weight_decay", weight_decay, 0)
