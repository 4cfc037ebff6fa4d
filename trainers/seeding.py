"""Random streams: each use of randomness has its own, a pure function of (cell seed, purpose,
index).

Streams are created on the CPU and carry no state between epochs. So they are the same on every
device, and a resumed run needs only its epoch and step to continue with the same numbers. Dropout
and noise draw from torch's own generators instead, whose states are in the checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

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


def generator_states(device: torch.device) -> dict[str, torch.Tensor | None]:
    """The states of torch's own generators, as entries of a checkpoint: that of the CPU, and that
    of a GPU if the training runs there.
    """
    on_gpu = device.type == "cuda"
    return {
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if on_gpu else None,
    }


def restore_generators(state: Mapping[str, Any], device: torch.device) -> None:
    """Set torch's own generators to the states in a checkpoint.

    It has none of a GPU if it was made on a CPU, or by an earlier version.
    """
    torch.set_rng_state(state["torch_rng"])
    cuda = state.get("cuda_rng")
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
