"""Rows of a file of the user's: real features and a label, split by the seed.

CSV and Parquet files have a column for each feature and one for the label; npz files have arrays
(n,) or (n, d) in their place. Shapes: n rows, d features.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from trainers.config import ConfigError, Table
from trainers.config.reader import quantity
from trainers.data import DataError
from trainers.data.labelled import Labelled
from trainers.seeding import numpy_stream

Columns = Mapping[str, NDArray[Any]]

_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""Names that pandas gives an index: in CSV, in CSV read and written again, in Parquet."""


def dataset(config: Table, seed: int) -> Labelled:
    """The rows that a cell trains and is tested on; labels are numbered in the order of their
    sorted values.

    The test rows and the order from which training rows are taken depend on `split_seed`, or on
    `seed` where that is null; more training rows contain fewer. Standardised features have mean 0
    and deviation 1 over the training rows; a constant one is only shifted. Raises `DataError` for
    a file that cannot be used.
    """
    if config.root is None:
        raise DataError(
            "data.root: found null, expected a .csv, .parquet or .npz file; set data.root or the "
            "environment variable REDESCENT_TABLE"
        )
    used = (*config.features, config.label) if config.features else None
    columns = read(Path(config.root), used)
    _check_rows(columns, config)
    classes, labels_n = np.unique(_labels(columns, config), return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"data.label: all rows of {config.root} have the label {classes[0]!s}, expected at "
            "least two classes"
        )
    features_nd = _features(columns, config)
    train, test = _split(config, len(labels_n), seed)
    if config.standardise and len(train):
        features_nd = _standardised(features_nd, features_nd[train])
    return Labelled(
        features_nd[train],
        labels_n[train],
        features_nd[test],
        labels_n[test],
        len(classes),
        source_index=_tensor(train),
    )


def _standardised(features_nd: NDArray[np.float64], of: NDArray[np.float64]) -> Any:
    """The features, with mean 0 and deviation 1 over the rows `of`; a constant one is shifted.

    Whether one is constant is seen from its values: the deviation of equal values can be 1e-16.
    Raises `DataError` for values too large for a deviation.
    """
    is_constant = (of == of[:1]).all(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(is_constant, of[0], of.mean(axis=0))
        deviation = np.where(is_constant, 1.0, of.std(axis=0))
    if not np.isfinite(deviation).all():
        raise DataError(
            f"a feature has values up to {np.abs(of).max():.3g}, which are too large to be "
            "standardised; scale them in the file"
        )
    return (features_nd - mean) / deviation


def _tensor(index: NDArray[np.int64]) -> Any:
    import torch

    return torch.from_numpy(index)


def read(path: Path, used: Sequence[str] | None = None) -> Columns:
    """The columns of a file by name. Raises `DataError` if it cannot be read, or if a column of
    `used`, or any where that is None, has missing values or a name twice.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"data.root: found {path}, expected a file that ends in .csv, .parquet, .npz"
        )
    if path.exists() and not path.is_file():
        raise DataError(f"data.root: {path} is no regular file, expected a {path.suffix[1:]} file")
    try:
        return reader(path, used)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error


def _read_csv(path: Path, used: Sequence[str] | None) -> Columns:
    return _columns(path, pyarrow.csv.read_csv(path), used)


def _read_parquet(path: Path, used: Sequence[str] | None) -> Columns:
    return _columns(path, pyarrow.parquet.read_table(path), used)


def _read_npz(path: Path, used: Sequence[str] | None) -> Columns:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip archive, which numpy.savez writes")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _columns(path: Path, table: pa.Table, used: Sequence[str] | None) -> Columns:
    counts = Counter(table.column_names)
    for name in counts if used is None else [name for name in used if name in counts]:
        if counts[name] > 1:
            raise DataError(f"{path}: {counts[name]} columns have the name {name!r}; rename them")
        if table[name].null_count:
            raise DataError(
                f"{path}: column {name} has missing values; fill them, or list the columns to use "
                "in data.features"
            )
    once = [name for name, count in counts.items() if count == 1]
    return {name: table[name].to_numpy(zero_copy_only=False) for name in once}


def _check_rows(columns: Columns, config: Table) -> None:
    """Raise `DataError` unless the label and the features have equally many rows, at least two."""
    label = _column(columns, config.label, "label", config)
    rows = len(label) if label.ndim else 0
    for name in _feature_names(columns, config):
        feature = _column(columns, name, "features", config)
        length = len(feature) if feature.ndim else 0
        if length != rows:
            raise DataError(
                f"{config.root}: {name} has {quantity(length, 'row')} and the label "
                f"{config.label} {rows}, expected equally many; list the features to use in "
                "data.features"
            )
    if rows < 2:
        raise DataError(f"{config.root}: found {quantity(rows, 'row')}, expected at least 2")


def _feature_names(columns: Columns, config: Table) -> Sequence[str]:
    """The features of the configuration, or all columns but the label. An index that pandas wrote
    with them is refused: rows are often sorted, and their numbers would give the label away.
    """
    if config.features:
        return config.features
    names = tuple(name for name in columns if name != config.label)
    for name in names:
        if _INDEX.fullmatch(name):
            raise DataError(
                f"{config.root}: column {name!r} looks like an index that pandas wrote; write the "
                "file with index=False, or list the columns to use in data.features"
            )
    return names


def _features(columns: Columns, config: Table) -> NDArray[np.float64]:
    """The features (n, d), in the order of the configuration or of the file."""
    arrays = []
    for name in _feature_names(columns, config):
        array = _column(columns, name, "features", config)
        if array.dtype.kind not in "fiub":
            raise DataError(
                f"data.features: column {name} of {config.root} holds {array.dtype}, expected "
                "numbers; list the columns to use in data.features"
            )
        arrays.append(array.reshape(len(array), -1).astype(np.float64))
    if not arrays:
        raise DataError(f"{config.root}: has no columns besides the label {config.label}")
    return np.concatenate(arrays, axis=1)


def _labels(columns: Columns, config: Table) -> NDArray[Any]:
    labels_n = _column(columns, config.label, "label", config)
    if labels_n.ndim != 1 or labels_n.dtype.kind == "f":
        raise DataError(
            f"data.label: column {config.label} of {config.root} holds {labels_n.dtype} of the "
            f"shape {labels_n.shape}, expected one integer or text for each row"
        )
    if labels_n.dtype.kind != "O":
        return labels_n
    texts_n = labels_n.astype(str)
    if "" in texts_n:  # of CSV, where a text that is missing is an empty one
        raise DataError(f"{config.root}: column {config.label} has missing values; fill them")
    return texts_n


def _column(columns: Columns, name: str, key: str, config: Table) -> NDArray[Any]:
    if name not in columns:
        raise DataError(
            f"data.{key}: {config.root} has no column {name!r}; its columns: {', '.join(columns)}"
        )
    return columns[name]


def _split(config: Table, rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the training and of the test rows, in the order of the file."""
    split_seed = seed if config.split_seed is None else config.split_seed
    order = numpy_stream(split_seed, "split").permutation(rows)
    tested = round(rows * config.test_share)
    train = order[tested:]
    count = len(train) if config.train_samples is None else config.train_samples
    if count > len(train):
        raise ConfigError(
            f"data.train_samples: found {count}, expected at most {len(train)}, which "
            f"data.test_share leaves of {quantity(rows, 'row')}"
        )
    return np.sort(train[:count]), np.sort(order[:tested])
