"""The typed configuration of a cell. Imports neither torch nor hydra: login nodes read it too."""

from trainers.config.batches import check_last_batch
from trainers.config.cell import (
    Absent,
    AlgorithmicCell,
    Cell,
    NoOpCell,
    VisionCell,
    columns,
    flatten,
    parse,
    resolve_section,
)
from trainers.config.data import CIFAR10, OPERATIONS, Arithmetic, Digits, LabelNoise
from trainers.config.model import CNN5, MLP, Activation, ConvNet, ResNet18, Transformer, ViT
from trainers.config.optim import SGD, SOAP, Adam, Schedule, Shampoo
from trainers.config.reader import ConfigError
from trainers.config.trainer import Algorithmic, NoOp, RunSettings, Vision

__all__ = [
    "CIFAR10",
    "CNN5",
    "MLP",
    "OPERATIONS",
    "SGD",
    "SOAP",
    "Absent",
    "Activation",
    "Adam",
    "Algorithmic",
    "AlgorithmicCell",
    "Arithmetic",
    "Cell",
    "ConfigError",
    "ConvNet",
    "Digits",
    "LabelNoise",
    "NoOp",
    "NoOpCell",
    "ResNet18",
    "RunSettings",
    "Schedule",
    "Shampoo",
    "Transformer",
    "ViT",
    "Vision",
    "VisionCell",
    "check_last_batch",
    "columns",
    "flatten",
    "parse",
    "resolve_section",
]
