"""The published ResNet-18 arrays (92 weight decays, 1001 epochs, five seeds) as frames or a store.

The four files are aggregates: a mean and a population standard deviation over five seeds, so each
"run" read from them stands for five trainings. **The published mean of the test error is not such a
mean.** Five error counts on 10,000 images can only average to a multiple of 1/50,000, and fewer
than one value in a hundred is one; they carry an undocumented additive offset, the sum of a
piecewise-linear function of the epoch and one of the weight decay. The means of the training error
and both standard deviations pass the same kind of test. The test means therefore serve to redraw
the published figure and for nothing else: with the offset the second descent ends below the first
minimum, without it, it does not.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.store.errors import StoreError
from analysis.store.generation import switch, write_curves, write_runs
from analysis.store.listing import read_manifest
from analysis.store.merge import newest_curves, newest_runs
from analysis.store.parts import CELL_TYPE, SCHEMA_KEY, SCHEMA_VERSION

EPOCHS, COLUMNS, SEEDS = 1001, 92, 5
LAMBDAS: NDArray[np.float64] = 10.0 ** -np.linspace(0.1, 8.0, 100)[8:]
"""Weight decays, falling; the eight largest of the hundred were never published."""
FILES = {
    "train_error": "resnet-train-errors_mean.npy",
    "train_error_std": "resnet-train-errors_std.npy",
    "test_error": "resnet-test-errors_mean.npy",
    "test_error_std": "resnet-test-errors_std.npy",
}
PREFIX = "published-"
NOTE = (
    "published aggregate of five seeds: the means of the test error carry an undocumented additive "
    "offset in epoch and weight decay (means of five error counts are multiples of 1/50000, these "
    "are not); for redrawing only"
)
CONFIG: dict[str, Any] = {
    "model.name": "resnet18",
    "model.variant": "postactivation",
    "model.width": 64,
    "optim.name": "adam",
    "optim.lr": 1e-4,
    "data.name": "cifar10",
    "data.label_noise.kind": "permute",
    "data.label_noise.rate": 0.2,
    "trainer.name": "vision",
    "trainer.epochs": EPOCHS,
    "trainer.batch_size": 128,
}
MEANINGS = {
    "train_error": "mean over five seeds of the running error in training, augmented images and "
    "noisy labels",
    "test_error": "published mean over five seeds of the clean test error; carries an offset, see "
    "the runs' note",
    "train_error_std": "population standard deviation of train_error over five seeds",
    "test_error_std": "population standard deviation of the test error over five seeds",
}


def read(folder: str | os.PathLike[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs (92 rows) and curves (92,092 rows) from the four `resnet-*.npy` in `folder`.

    Runs: cell ("published-000" ... in the order of falling weight decay), status, the known
    configuration, `seeds` = 5 (how many trainings a row stands for) and `note`. Curves: cell,
    attempt, epoch (1..1001) and the columns of MEANINGS in float64, so that tests for exact counts
    remain possible. Raises StoreError naming every file that is missing or has another shape than
    (1001, 92).
    """
    arrays = _load(Path(folder))
    cells = [f"{PREFIX}{i:03d}" for i in range(COLUMNS)]
    runs = pd.DataFrame(
        {
            "cell": cells,
            "status": "done",
            "attempt": np.int16(1),
            "updated": 0.0,
            **CONFIG,
            "optim.weight_decay": LAMBDAS,
            "epochs": np.int32(EPOCHS),
            "seeds": np.int16(SEEDS),
            "note": NOTE,
            "attempts": np.int32(1),
        }
    )
    column_of_row = np.repeat(np.arange(COLUMNS), EPOCHS)
    curves = pd.DataFrame(
        {
            "cell": pd.Categorical.from_codes(column_of_row, pd.Index(cells)),
            "attempt": np.ones(COLUMNS * EPOCHS, np.int16),
            "epoch": np.tile(np.arange(1, EPOCHS + 1, dtype=np.int32), COLUMNS),
            **{name: array.T.ravel() for name, array in arrays.items()},
        }
    )
    return runs, curves


def is_published(runs: pd.DataFrame) -> bool:
    """Whether all of these runs are the published aggregates."""
    return len(runs) > 0 and bool(runs["cell"].astype(str).str.startswith(PREFIX).all())


def import_published(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Writes the arrays in `source` as the store of the log folder `target`; returns that folder.

    Raises StoreError if the arrays are not as expected, or if `target` already has a store.
    """
    root = Path(target)
    if read_manifest(root):
        raise StoreError(f"{root}: has a store already; expected a new folder, give another name")
    runs, curves = read(source)
    root.mkdir(parents=True, exist_ok=True)
    records = [
        write_curves(root, 1, 0, newest_curves(_table(curves))),
        write_runs(root, 1, newest_runs(_table(runs))),
    ]
    switch(root, records)
    return root


def _table(frame: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table in the layout of a part, with the meanings of its metrics."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [_field(table.schema.field(name)) for name in table.schema.names]
    return table.cast(pa.schema(fields, metadata={SCHEMA_KEY: str(SCHEMA_VERSION).encode()}))


def _field(field: pa.Field) -> pa.Field:
    """One column's field: the type of a cell id, or unit and meaning of a metric."""
    if field.name == "cell":
        return pa.field("cell", CELL_TYPE)
    if field.name in MEANINGS:
        return field.with_metadata({"unit": "1", "meaning": MEANINGS[field.name]})
    return field


def _load(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The four arrays by column name, each (1001, 92)."""
    problems = {name: _problem(folder / file) for name, file in FILES.items()}
    if any(problems.values()):
        raise StoreError(
            f"{folder}: {'; '.join(filter(None, problems.values()))}; expected "
            f"{', '.join(FILES.values())}, each ({EPOCHS}, {COLUMNS}): copy all four from the "
            "repository NNdoubledescent/doubledescent into one folder"
        )
    return {name: np.load(folder / file, mmap_mode="r") for name, file in FILES.items()}


def _problem(path: Path) -> str:
    """What is wrong with one of the four files; empty if nothing is."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # reads the header alone
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, ValueError, EOFError, MemoryError, OverflowError, zipfile.BadZipFile) as error:
        return f"{path.name} is no npy array ({error})"
    if not isinstance(array, np.ndarray):
        return f"{path.name} is an archive of arrays"
    if array.shape != (EPOCHS, COLUMNS):
        return f"{path.name} has shape {array.shape}"
    if array.dtype.kind != "f":
        return f"{path.name} has values of type {array.dtype}, expected floats"
    return "" if np.isfinite(array).all() else f"{path.name} has values that are not finite"
