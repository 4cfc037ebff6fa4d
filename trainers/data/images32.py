"""What CIFAR-10 and SVHN share: images of 32x32 pixels in ten classes, and Parquet files of them
as Hugging Face writes them: a column `img` or `image` of PNG or JPEG images, and a column `label`.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data import DataError

CLASSES = 10
SHAPE = (3, 32, 32)
REMEDY = "fetch the file again, or name another place with data.root=DIR"

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_parquet(path: Path) -> Split:
    """The images of a file, uint8 (n, 3, 32, 32), and their labels, 0 to 9.

    Raises DataError for other columns, images or labels, and for a damaged file.
    """
    import pyarrow as pa  # pyarrow and pillow are needed only when the cache is empty
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            image = next((name for name in ("img", "image") if name in names), None)
            if image is None or "label" not in names:
                raise DataError(
                    f"{path}: found columns {', '.join(names)}, expected img and label; {REMEDY}"
                )
            images = np.empty((file.metadata.num_rows, *SHAPE), dtype=np.uint8)
            labels: list[Any] = []
            # batches limit the memory: one row group can contain all images
            for batch in file.iter_batches(1000, columns=[image, "label"]):
                for row, cell in enumerate(batch.column(image).to_pylist(), start=len(labels)):
                    images[row] = _decode_png(cell, path, row)
                labels += batch.column("label").to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: found {error}, expected a complete Parquet file; {REMEDY}"
        ) from error
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < CLASSES:
            raise DataError(
                f"{path}: found label {label!r} in row {row}, expected an integer 0 to 9; {REMEDY}"
            )
    return checked(images, np.array(labels, dtype=np.int64), str(path))


def checked(images: NDArray[Any], labels: NDArray[Any], name: str) -> Split:
    """The images and labels in our types. Raises DataError for a label that is not 0 to 9."""
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if len(wrong):
        raise DataError(
            f"{name}: found label {labels[wrong[0]]} in row {wrong[0]}, expected 0 to 9; {REMEDY}"
        )
    return np.ascontiguousarray(images, dtype=np.uint8), labels.astype(np.int64)


def _decode_png(cell: Any, path: Path, row: int) -> NDArray[np.uint8]:
    from PIL import Image

    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise DataError(
            f"{path}: found no image bytes in row {row}, expected a PNG or JPEG; {REMEDY}"
        )
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (32, 32) else None
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: found {error} in row {row}, expected a PNG or JPEG image; {REMEDY}"
        ) from error
    if pixels is None:
        raise DataError(
            f"{path}: found an image of {size[0]}x{size[1]} in row {row}, expected 32x32; {REMEDY}"
        )
    return pixels.transpose(2, 0, 1)
