"""Bad minima near the path of a good training: networks as points, and their distances.

A bad training starts from the weights that a good one had at an epoch. All weights and biases of a
network make one vector; running statistics are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from analysis import store
from analysis.figure import provenance, query
from analysis.figure.names import none_of, quantity
from analysis.landscape import minima, selection
from analysis.stats.embedding import tsne
from analysis.store import weights
from analysis.store.parts import FINAL

Array = NDArray[np.float64]

START_OF, START_EPOCH = "trainer.start_of", "trainer.start_epoch"
GOOD, END, BAD = "good", "end", "bad"
"""Kinds of networks: on the path of the good training, its end, and the bad trainings' ends."""

COMPONENTS = 50
"""Principal components that t-SNE sees, as in the published figure."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Minefield:
    """The networks of one good training and of the bad ones that start from its path.

    runs: the runs table of the bad trainings. networks: a row for each network, with cell, kind,
    epoch (of the good training: of the weights, or of those that a bad training starts from),
    train_accuracy and test_accuracy (0 to 1, NaN where they were not recorded), and distances in
    the norm of all weights: from_start, from_end (of the good training), step (from the network
    before on the path). vectors: (networks, weights). notes: on the choice of the bad trainings.
    """

    folder: str
    seed: int
    runs: pd.DataFrame
    networks: pd.DataFrame
    vectors: Array
    notes: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> pd.DataFrame:
        """The networks of one kind, by epoch."""
        return self.networks[self.networks["kind"] == kind].sort_values("epoch")


def load(folder: str, where: Sequence[str] = ()) -> Minefield:
    """The finished bad trainings of a folder, of the lowest seed, and the path that they start
    from.

    Raises StoreError without logs or weights, and FigureError if no training starts from another's
    path, none is done, or those of the seed differ in more than where they start.
    """
    runs = _bad_runs(folder, where)
    done = runs[runs["status"] == "done"]
    seed = int(done["seed"].min())
    of_seed = runs[runs["seed"] == seed]
    if of_seed[START_OF].nunique() > 1:
        raise query.FigureError(
            f"{folder}: the trainings of seed {seed} start from {of_seed[START_OF].nunique()} "
            f"others; choose one with --where {START_OF}={of_seed[START_OF].iloc[0]}"
        )
    notes = query.check_axes(of_seed, START_EPOCH)
    seeds = runs["seed"].nunique()
    if seeds > 1:
        notes.append(f"seed {seed} of {seeds} is drawn; --where seed=N draws another")
    bad = of_seed[of_seed["status"] == "done"].sort_values("cell", ignore_index=True)
    source = selection.present(folder, str(bad[selection.FOLDER].iloc[0]))
    good, path = _path(source, str(bad[START_OF].iloc[0]))
    ends = [_vector(weights.load(Path(folder), f"{cell}.npz")) for cell in bad["cell"]]
    networks = pd.concat([good, _bad(bad, good)], ignore_index=True)
    vectors = np.concatenate([path, np.stack(ends)])
    networks = networks.assign(**_distances(networks, vectors))
    return Minefield(folder, seed, runs, networks, vectors, tuple(notes))


def _bad_runs(folder: str, where: Sequence[str]) -> pd.DataFrame:
    """The chosen trainings that start from the weights of another; FigureError if none is done."""
    runs = store.runs(folder)
    if START_OF not in runs or runs[START_OF].isna().all():
        raise query.FigureError(
            f"{folder}: no training starts from the weights of another; expected a sweep with `of` "
            "and an axis trainer.start_epoch, such as minefield_bad"
        )
    runs = query.where(runs[runs[START_OF].notna()], where)
    if not (runs["status"] == "done").any():
        none = none_of(len(runs), "chosen training")
        reasons = [f"{none} is done", *missing(runs, folder)]
        raise query.FigureError("; ".join(reasons))
    return runs


def missing(runs: pd.DataFrame, folder: str) -> list[str]:
    """Lines on trainings that have no end: not done, with the command that completes them,
    or diverged.
    """
    unfinished = int((~runs["status"].isin(FINAL)).sum())
    diverged = len(provenance.diverged_cells(runs))
    lines = []
    if unfinished:
        lines = [provenance.unfinished_text(unfinished, len(runs)), provenance.fill(folder)]
    if diverged:
        lines.append(provenance.diverged_text(diverged))
    return lines


def _path(folder: Path, cell: str) -> tuple[pd.DataFrame, Array]:
    """The networks of the path of a good training and its end, and their vectors."""
    (run,) = store.runs(folder).query("cell == @cell").to_dict("records")
    path = weights.load(folder, f"{cell}.path.npz")
    end = weights.load(folder, f"{cell}.npz")
    last_epoch = int(np.asarray(end["__epoch__"]))
    epochs = np.asarray(path["__epochs__"], np.int64)
    before = np.flatnonzero(epochs < last_epoch)
    samples = float(run["final_train_eval_examples"])
    networks = pd.DataFrame({"cell": cell, "kind": GOOD, "epoch": epochs[before]})
    networks["train_accuracy"] = 1 - np.asarray(path["__wrongs__"], np.float64)[before] / samples
    last = {"cell": cell, "kind": END, "epoch": last_epoch,
            "train_accuracy": 1 - float(np.asarray(end["__wrong__"])) / samples,
            "test_accuracy": 1 - float(run["final_test_error"])}  # fmt: skip
    vectors = [_vector(path, int(index)) for index in before]
    table = pd.concat([networks, pd.DataFrame([last])], ignore_index=True)
    return table, np.stack([*vectors, _vector(end)])


def _bad(runs: pd.DataFrame, good: pd.DataFrame) -> pd.DataFrame:
    """The networks at the ends of the bad trainings."""
    last = int(good["epoch"].max())
    epochs = runs[START_EPOCH].astype(str).replace("final", str(last)).astype(float).astype(int)
    wrong = query.numbers(runs, "final_train_eval_wrong")
    examples = query.numbers(runs, "final_train_eval_examples")
    return pd.DataFrame({
        "cell": runs["cell"].astype(str), "kind": BAD, "epoch": epochs,
        "train_accuracy": 1 - wrong / examples,
        "test_accuracy": minima.test_accuracy(runs),
    })  # fmt: skip


def _vector(arrays: Mapping[str, NDArray[Any]], index: int | None = None) -> Array:
    """All weights and biases of a network, or of one snapshot of a path."""
    parts = []
    for name in sorted(arrays):
        if not name.startswith("__") and not name.endswith(STATISTICS):
            array = arrays[name] if index is None else arrays[name][index]
            parts.append(np.asarray(array, np.float64).ravel())
    return np.concatenate(parts)


def _distances(networks: pd.DataFrame, vectors: Array) -> dict[str, Array]:
    """The three distances of every network; NaN where there is none."""
    good = networks[networks["kind"] != BAD]
    place = dict(zip(good["epoch"], good.index, strict=True))
    end = good.index[-1]
    from_start, step = np.full((2, len(networks)), np.nan)
    previous = None
    for index, row in enumerate(networks.to_dict("records")):
        if row["kind"] == BAD:
            from_start[index] = np.linalg.norm(vectors[index] - vectors[place[row["epoch"]]])
        else:
            if previous is not None:
                step[index] = np.linalg.norm(vectors[index] - vectors[previous])
            previous = index
    from_end = np.linalg.norm(vectors - vectors[end], axis=1)
    return {"from_start": from_start, "from_end": from_end, "step": step}


def embedding(vectors: Array, perplexity: float) -> Array:
    """Vectors (networks, weights) -> places in the plane (networks, 2): PCA, then t-SNE.

    Raises FigureError for less than four networks.
    """
    count = len(vectors)
    components = min(COMPONENTS, *vectors.shape)
    if count < 4:
        are = quantity(count, "network is", "networks are")
        raise query.FigureError(f"{are} too few for t-SNE, expected at least 4")
    with threadpool_limits(1):  # threads cost more than they bring for so few points
        reduced = PCA(components, random_state=0).fit_transform(vectors)
    return tsne(reduced, perplexity, seed=0)
