"""Straight lines between trained cells: loss and accuracy along them, over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.figure import query
from analysis.figure.names import quantity
from analysis.landscape import labels
from analysis.landscape.selection import OF, TO, Measures
from analysis.landscape.surfaces import FLOOR

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """The lines of several seeds between cells that are called the same.

    t: (points,), 0 is the first cell and 1 the second. loss: (seeds, points), nats, on the clean
    training set. train, test: (seeds, points), accuracies, 0 to 1; NaN without a test set.
    barriers, distances: (seeds,).
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    t: Array
    loss: Array
    train: Array
    test: Array
    barriers: Array
    distances: Array

    @property
    def label(self) -> str:
        """The two ends."""
        return f"{self.first} to {self.second}"

    def sentence(self) -> str:
        """What happens along the line, in numbers."""
        inside = (self.t >= 0) & (self.t <= 1)
        wrong = 1 - self.train[:, inside].min()
        return (
            f"{self.label}: barrier {_span(self.barriers)} nats, loss between the ends at most "
            f"{self.loss[:, inside].max():.3g} nats, at most {100 * wrong:.1f} % of the training "
            f"set wrong; distance {_span(self.distances)}; {quantity(len(self.seeds), 'seed')}"
        )


def _span(values: Array) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def walks(measures: Measures) -> list[Walk]:
    """The finished lines, those of all seeds between the same two points together."""
    rows = measures.rows("t", "loss", "wrong", "examples", "test_wrong", "test_examples")
    lines = measures.finished.assign(
        first=[measures.label(cell) for cell in measures.finished[OF]],
        second=_second_labels(measures),
    )
    result = []
    for (first, second), cells in lines.groupby(["first", "second"], sort=False):
        by_seed = cells.sort_values("seed")
        curves = []
        for cell in by_seed["cell"].astype(str):
            curves.append(rows[rows["cell"] == cell].sort_values("t"))
        result.append(_walk((str(first), str(second)), by_seed, curves))
    return result


def _second_labels(measures: Measures) -> list[str]:
    """The other ends; with the seed, if the seed is what differs."""
    ends = {row["cell"]: row for row in measures.ends.to_dict("records")}
    texts = []
    for row in measures.finished.to_dict("records"):
        end = ends[row[TO]]
        text = labels.point(end, measures.telling_axes)
        texts.append(text if end["seed"] == row["seed"] else f"{text}, seed {end['seed']}")
    return texts


def _walk(ends: tuple[str, str], cells: pd.DataFrame, curves: list[pd.DataFrame]) -> Walk:
    columns: dict[str, list[Array]] = {"loss": [], "train": [], "test": []}
    for curve in curves:
        columns["loss"].append(np.maximum(curve["loss"].to_numpy(np.float64), FLOOR))
        columns["train"].append(_accuracy(curve, "wrong", "examples"))
        columns["test"].append(_accuracy(curve, "test_wrong", "test_examples"))
    first, second = ends
    return Walk(
        first=first,
        second=second,
        seeds=tuple(int(seed) for seed in cells["seed"]),
        t=curves[0]["t"].to_numpy(np.float64),
        barriers=query.numbers(cells, "barrier").to_numpy(),
        distances=query.numbers(cells, "distance").to_numpy(),
        **{name: np.stack(values) for name, values in columns.items()},
    )


def _accuracy(curve: pd.DataFrame, wrong: str, examples: str) -> Array:
    values: Array = (1 - curve[wrong] / curve[examples]).to_numpy(np.float64)
    return values


def table(walks: list[Walk]) -> pd.DataFrame:
    """A row for each point of each line."""
    frames: list[dict[str, Any]] = []
    for walk in walks:
        for index, seed in enumerate(walk.seeds):
            for place, t in enumerate(walk.t):
                frames.append({
                    "first": walk.first, "second": walk.second, "seed": seed, "t": t,
                    "loss": walk.loss[index, place],
                    "train_accuracy": walk.train[index, place],
                    "test_accuracy": walk.test[index, place],
                })  # fmt: skip
    return pd.DataFrame(frames)
