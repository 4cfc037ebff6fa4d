"""Whether the columns that `data=table` names are in its file, told from the head of the file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from launch.errors import UserError


def check_columns(flat: Mapping[str, Any]) -> None:
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
