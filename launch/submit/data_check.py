"""Whether the data of cells is there, and whether a table has the columns that they name, before
anything is sent.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from launch.errors import UserError

_ROOT_VARIABLES = {
    "cifar10": "REDESCENT_CIFAR10",
    "svhn": "REDESCENT_SVHN",
    "table": "REDESCENT_TABLE",
}
"""Environment variables that configs/data/ reads the place of a data set from."""


def check_data(configurations: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError now if the data is missing, or a table lacks a column, rather than in every
    job after it has queued.

    `configurations` are flat.
    """
    sources, tables = {}, {}
    for flat in configurations:
        if "data.root" in flat:
            sources[flat["data.root"], flat.get("data.download", False)] = flat
        if flat.get("data.name") == "table":
            tables[flat["data.root"], flat["data.label"], repr(flat["data.features"])] = flat
    for (root, download), flat in sources.items():
        if root is None and not download:
            raise UserError(_no_root(flat))
        if root is not None and not Path(root).exists():
            raise UserError(
                f"data.root: {root} does not exist; expected the file, folder or archive with the "
                "data set"
            )
    for flat in tables.values():
        _check_columns(flat)


def _no_root(flat: Mapping[str, Any]) -> str:
    """What to do for a configuration whose data set has no place."""
    name = str(flat["data.name"])
    ways = ["set data.root=PATH"]
    if name in _ROOT_VARIABLES:
        ways.append(f"export {_ROOT_VARIABLES[name]}=PATH")
    if "data.download" in flat:
        ways.append("set data.download=true, which fetches the data")
    return f"data.root: not set; expected the place of data={name}: {', or '.join(ways)}"


def _check_columns(flat: Mapping[str, Any]) -> None:
    """Raise UserError for a label or a feature that is no column of the file of a configuration.

    A file that cannot be read is left to the cells, which say why.
    """
    root = Path(flat["data.root"])
    columns = _columns(root)
    if columns is None:
        return
    names = [("label", flat["data.label"])]
    names += [("features", name) for name in flat["data.features"] or ()]
    for key, name in names:
        if name not in columns:
            raise UserError(
                f"data.{key}: {root} has no column {name!r}; its columns: {', '.join(columns)}"
            )


def _columns(path: Path) -> list[str] | None:
    """The columns of a CSV or Parquet file, or the arrays of an npz file; None if it has none."""
    try:
        match path.suffix.lower():
            case ".csv":
                with pyarrow.csv.open_csv(path) as reader:
                    return list(reader.schema.names)
            case ".parquet":
                return list(pyarrow.parquet.read_schema(path).names)
            case ".npz":
                with zipfile.ZipFile(path) as arrays:
                    return [name.removesuffix(".npy") for name in arrays.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, pa.ArrowException):
        return None
    return None
