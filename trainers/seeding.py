"""Random streams: each use of randomness has its own, a pure function of (cell seed, purpose,
index).

Streams are created on the CPU and carry no state between epochs. So they are the same on every
device, and a resumed run needs only its epoch and step to continue with the same numbers.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch

Purpose = Literal[
    "init",
    "label noise",
    "random labels",
    "inputs",
    "train subset",
    "test subset",
    "order",
    "augment",
    "dropout",
    "split",
    "outliers",
    "sharpness",
    "eigenvalues",
    "train points",
    "test points",
    "poison",
    "poison labels",
    "poison order",
    "images",
    "direction",
    "probe",
    "lanczos",
    "ascent",
    "recalibration",
]


def stream_seed(seed: int, purpose: Purpose, index: int = 0) -> int:
    """A 63-bit seed for the stream `purpose` of a cell; `index` is the epoch or the
    sample, if it has one.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """A numpy generator (PCG64) for the stream."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, purpose, index)))


def torch_stream(seed: int, purpose: Purpose, index: int = 0) -> torch.Generator:
    """A CPU torch generator for the stream."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, index))
