"""A table of measurements: its settings, and the samples of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainers.config import ConfigError, LabelNoise
from trainers.data import DataError

if TYPE_CHECKING:
    from trainers.data.labelled import Labelled


@dataclass(frozen=True)
class Measurements:
    """Rows of a CSV with a header; the last column is the class: 0, 1, ..., without a gap."""

    entry = "tabular.measurements:load"

    name: str
    root: str
    test_share: float
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise ConfigError(
                f"data.test_share: found {self.test_share}, expected a share between 0 and 1"
            )


def load(settings: Measurements, seed: int) -> Labelled:
    """The samples of a cell with this seed, standardised; the trainer adds the label noise.

    Raises DataError for labels that are no classes.
    """
    from trainers.data.labelled import Labelled
    from trainers.seeding import numpy_stream

    table = np.loadtxt(settings.root, delimiter=",", skiprows=1)
    labels = classes_of(table[:, -1], settings.root)
    order = numpy_stream(seed, "split").permutation(len(table))
    tested = round(len(table) * settings.test_share)
    test, train = table[order[:tested]], table[order[tested:]]
    mean, deviation = train[:, :-1].mean(axis=0), train[:, :-1].std(axis=0)
    return Labelled(
        train_inputs=(train[:, :-1] - mean) / deviation,
        train_labels=labels[order[tested:]],
        test_inputs=(test[:, :-1] - mean) / deviation,
        test_labels=labels[order[:tested]],
        classes=int(labels.max()) + 1,
    )


def classes_of(column: NDArray[np.float64], path: str) -> NDArray[np.int64]:
    """The labels of all rows as integers; DataError unless they are 0, 1, ... without a gap."""
    found = np.unique(column)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        values = ", ".join(f"{value:g}" for value in found[:10])
        raise DataError(
            f"{path}: the last column has the labels {values}; expected 0, 1, ... without a gap"
        )
    return column.astype(np.int64)
