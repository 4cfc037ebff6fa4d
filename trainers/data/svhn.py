"""Street View House Numbers as uint8 images, from the three .mat files or from Parquet files.

The .mat files (http://ufldl.stanford.edu/housenumbers) are MATLAB 5: `X` is uint8 (32, 32, 3, n),
`y` is (n, 1) with 10 for the digit 0. Parquet files hold `image`, a struct with the bytes of a PNG
file, and `label`, the digit itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from trainers.config import SVHN
from trainers.data import DataError, images32
from trainers.data.images32 import SHAPE, Split

Part = Literal["train", "test", "extra"]


def fingerprint(config: SVHN) -> str:
    """What the decoded images depend on: path, size and time of each file. Raises `DataError`."""
    files = [path for part in ("train", "test") for path in _files(config, part)]
    stats = [(path, path.stat()) for path in files]
    return " ".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)


def decode(config: SVHN, part: Part) -> Split:
    """Images, uint8 (n, 3, 32, 32), and labels 0 to 9 of one of the three sets.

    Raises `DataError` if its file is missing or has another layout.
    """
    files = _files(config, part)
    try:
        if files[0].suffix == ".mat":
            return _decode_matlab(files[0])
        parts = [images32.read_parquet(path) for path in files]
    except DataError:
        raise
    except Exception as error:  # damage can raise anything
        raise DataError(
            f"{files[0]}: cannot be read as SVHN ({type(error).__name__}: {error}); download it "
            "again"
        ) from error
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _files(config: SVHN, part: str) -> list[Path]:
    if config.root is None:
        raise DataError(
            "data.root: found null, expected the folder of SVHN; set data.root or the environment "
            "variable REDESCENT_SVHN"
        )
    root = Path(config.root).expanduser()
    matlab = root / f"{part}_32x32.mat"
    if matlab.exists():
        return [matlab]
    parquet = sorted(root.glob(f"{part}-*.parquet"))
    if not parquet:
        raise DataError(
            f"data.root: found neither {part}_32x32.mat nor {part}-*.parquet in {root}; download "
            f"http://ufldl.stanford.edu/housenumbers/{part}_32x32.mat into it"
        )
    return parquet


def _decode_matlab(path: Path) -> Split:
    from scipy import io  # half a second that other data sets do not need

    content = io.loadmat(path)
    if "X" not in content or "y" not in content:
        raise DataError(
            f"{path}: found {sorted(n for n in content if not n.startswith('_'))}, expected X and y"
        )
    images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
    labels = content["y"].ravel().astype(np.int64) % 10
    shape = (len(labels), *SHAPE)
    if images.shape != shape or images.dtype != np.uint8:
        raise DataError(
            f"{path}: found images {images.dtype} {images.shape}, expected uint8 {shape}"
        )
    return images32.checked(images, labels, str(path))
