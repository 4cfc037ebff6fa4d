"""The typed configuration of a cell. Imports neither torch nor hydra: login nodes read it too."""

from trainers.config.cell import (
    Absent,
    AlgorithmicCell,
    Cell,
    NoOpCell,
    VisionCell,
    columns,
    flatten,
    parse,
)
from trainers.config.data import CIFAR10, OPERATIONS, Arithmetic, Digits, LabelNoise
from trainers.config.model import CNN5, MLP, ResNet18, Transformer
from trainers.config.optim import SGD, Adam, Schedule
from trainers.config.reader import ConfigError
from trainers.config.trainer import Algorithmic, NoOp, RunSettings, Vision

__all__ = [
    "CIFAR10",
    "CNN5",
    "MLP",
    "OPERATIONS",
    "SGD",
    "Absent",
    "Adam",
    "Algorithmic",
    "AlgorithmicCell",
    "Arithmetic",
    "Cell",
    "ConfigError",
    "Digits",
    "LabelNoise",
    "NoOp",
    "NoOpCell",
    "ResNet18",
    "RunSettings",
    "Schedule",
    "Transformer",
    "Vision",
    "VisionCell",
    "columns",
    "flatten",
    "parse",
]
