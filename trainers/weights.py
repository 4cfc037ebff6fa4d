"""The weights that trainings keep: plain npz files, checked when they are read.

    logs/NAME/weights/CELL.npz         the final weights of a cell
    logs/NAME/weights/CELL.path.npz    its snapshots, every array with the snapshots first
    logs/NAME/weights/shard-000001.zip  whole files of both kinds, packed by a compaction

A file holds parameters and running statistics by their names in the state dictionary, and what
they belong to under names with two underscores. `__checksum__` covers all other arrays. Files are
read without unpickling. The algorithmic trainer of earlier versions wrote the arrays alone.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainers.checkpoint import replacing

FORMAT = 1
LARGEST_PATH = 256 * 2**20
"""Bytes of the snapshots of one cell above which a training refuses to keep them."""

_FACTS = ("__cell__", "__data_hash__", "__format__", "__checksum__")
_FINAL_FACTS = (*_FACTS, "__epoch__", "__loss__", "__wrong__")
_PATH_FACTS = (*_FACTS, "__epochs__", "__losses__", "__wrongs__")

Arrays = Mapping[str, NDArray[Any]]


class WeightsError(RuntimeError):
    """Weights that cannot be used; the message says which file, what was found and what to do."""


class NotTrainedError(WeightsError):
    """Weights that are not there yet, because their cell has not finished."""


@dataclass(frozen=True)
class Evaluated:
    """What a network answered on the clean training samples in evaluation mode: mean loss in
    nats, and wrong answers.
    """

    loss: float
    wrong: int


@dataclass(frozen=True)
class Snapshot:
    """The weights of a cell after `epoch` (a step for the algorithmic trainer)."""

    epoch: int
    result: Evaluated
    arrays: Arrays


@dataclass(frozen=True)
class Owner:
    """The cell that weights belong to, the hash of the data that it was trained on, and the
    fingerprint of the code that trained it.
    """

    cell: str
    data_hash: str
    code: str | None = None


def write_final(folder: Path, owner: Owner, snapshot: Snapshot) -> None:
    """Write `folder`/CELL.npz, whole or not at all. Raises OSError."""
    facts = {
        "__epoch__": np.array(snapshot.epoch, np.int64),
        "__loss__": np.array(snapshot.result.loss, np.float64),
        "__wrong__": np.array(snapshot.result.wrong, np.int64),
    }
    _write(folder / f"{owner.cell}.npz", owner, {**snapshot.arrays, **facts})


def write_path(folder: Path, owner: Owner, snapshots: Sequence[Snapshot]) -> None:
    """Write `folder`/CELL.path.npz, whole or not at all. Raises OSError."""
    names = snapshots[0].arrays
    arrays = {name: np.stack([s.arrays[name] for s in snapshots]) for name in names}
    facts = {
        "__epochs__": np.array([s.epoch for s in snapshots], np.int64),
        "__losses__": np.array([s.result.loss for s in snapshots], np.float64),
        "__wrongs__": np.array([s.result.wrong for s in snapshots], np.int64),
    }
    _write(folder / f"{owner.cell}.path.npz", owner, {**arrays, **facts})


def check_size(cell: str, arrays: Arrays, snapshots: int) -> None:
    """Raise WeightsError if `snapshots` of these arrays would take more than LARGEST_PATH."""
    size = sum(array.nbytes for array in arrays.values()) * snapshots
    if size > LARGEST_PATH:
        raise WeightsError(
            f"trainer.weights_at: {snapshots} snapshots of cell {cell} would take "
            f"{size / 2**20:.0f} MB, expected at most {LARGEST_PATH // 2**20}; list fewer epochs, "
            "or lower trainer.evals_per_decade"
        )


def read(folder: Path, cell: str, weights: Literal["final"] | int) -> tuple[Owner, Snapshot]:
    """The final weights of a cell, or those of a snapshot, from the weights of its sweep.

    Raises NotTrainedError if there is no file, and WeightsError for one that is damaged, belongs
    to another cell, or has no snapshot of that epoch.
    """
    if weights == "final":
        return _read_final(folder, cell)
    owner, snapshots = read_path(folder, cell)
    by_epoch = {snapshot.epoch: snapshot for snapshot in snapshots}
    if weights not in by_epoch:
        raise WeightsError(
            f"{folder / f'{cell}.path.npz'}: found snapshots of the epochs {sorted(by_epoch)}, "
            f"expected one of epoch {weights}; choose one of these, or train with another "
            "trainer.weights_at"
        )
    return owner, by_epoch[weights]


def _read_final(folder: Path, cell: str) -> tuple[Owner, Snapshot]:
    arrays = _read(folder, f"{cell}.npz", cell, _FINAL_FACTS)
    result = Evaluated(float(arrays["__loss__"]), int(arrays["__wrong__"]))
    snapshot = Snapshot(int(arrays["__epoch__"]), result, _weights(arrays))
    return _owner(arrays), snapshot


def read_path(folder: Path, cell: str) -> tuple[Owner, list[Snapshot]]:
    """The snapshots of a cell in the order of their epochs. Raises as `read` does."""
    arrays = _read(folder, f"{cell}.path.npz", cell, _PATH_FACTS)
    epochs = arrays["__epochs__"].tolist()
    losses, wrongs = arrays["__losses__"].tolist(), arrays["__wrongs__"].tolist()
    weights = _weights(arrays)
    if {len(array) for array in weights.values()} | {len(losses), len(wrongs)} != {len(epochs)}:
        raise _damaged(folder / f"{cell}.path.npz", "its arrays have different lengths")
    snapshots = []
    for i, epoch in enumerate(epochs):
        at_epoch = {name: array[i] for name, array in weights.items()}
        snapshots.append(Snapshot(epoch, Evaluated(losses[i], wrongs[i]), at_epoch))
    return _owner(arrays), snapshots


def check_data(owner: Owner, data_hash: str) -> None:
    """Raise WeightsError unless the weights were trained on the data of this hash."""
    if owner.data_hash != data_hash:
        raise WeightsError(
            f"the weights of cell {owner.cell} were trained on data with the hash "
            f"{owner.data_hash}, and this cell has {data_hash}; set data.root to the same source, "
            "or use the version of redescent that trained it"
        )


def check_same_data(owner: Owner, cell: str, data_hash: str) -> None:
    """Raise WeightsError unless the other end of a line, `owner`, was trained on the samples of
    `cell`, whose data has this hash.
    """
    if owner.data_hash != data_hash:
        raise WeightsError(
            f"the two ends have different training data: cell {owner.cell} was trained on data "
            f"with the hash {owner.data_hash}, and cell {cell} on {data_hash}. A data set that is "
            "split by the seed, or has label noise, differs between seeds; choose another `to`, or "
            "a data set that is the same for all seeds"
        )


def load_into(model: nn.Module, snapshot: Snapshot, cell: str) -> None:
    """Give `model` the weights of a snapshot of `cell`.

    Raises WeightsError if they are those of another network.
    """
    state = {name: torch.from_numpy(np.array(value)) for name, value in snapshot.arrays.items()}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if shapes != expected:
        both = expected.keys() | shapes.keys()
        name = min(name for name in both if expected.get(name) != shapes.get(name))
        raise WeightsError(
            f"the weights of cell {cell} are those of another network: {name} is "
            f"{shapes.get(name, 'absent')}, expected {expected.get(name, 'none')}; the model of "
            "this cell and that of the trained one differ"
        )
    model.load_state_dict(state)


def _write(path: Path, owner: Owner, arrays: Arrays) -> None:
    everything = {
        **arrays,
        "__cell__": np.array(owner.cell),
        "__data_hash__": np.array(owner.data_hash),
        "__format__": np.array(FORMAT, np.int64),
        "__code__": np.array(owner.code or ""),
    }
    everything["__checksum__"] = np.array(_checksum(everything))
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **everything)  # type: ignore[arg-type]


def _checksum(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of every array but the checksum itself."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name != "__checksum__":
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _read(folder: Path, file: str, cell: str, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a file of this cell, from the folder or from a shard."""
    path, content = _content(folder, file)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # damage can raise anything
        raise _damaged(path, f"numpy cannot read it ({type(error).__name__})") from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise WeightsError(
            f"{path}: found no {missing[0]}, expected weights of format {FORMAT} with cell, epoch, "
            "loss and data; train the cell again with trainer.weights_at"
        )
    if int(arrays["__format__"]) != FORMAT:
        raise WeightsError(
            f"{path}: found format {int(arrays['__format__'])}, expected {FORMAT}; use the version "
            "of redescent that wrote it"
        )
    if str(arrays["__checksum__"]) != _checksum(arrays):
        raise _damaged(path, "its checksum is not that of its content")
    if str(arrays["__cell__"]) != cell:
        raise WeightsError(
            f"{path}: found weights of cell {arrays['__cell__']}, expected those of {cell}; the "
            "file was renamed or replaced: remove it and train the cell again"
        )
    return arrays


def _content(folder: Path, file: str) -> tuple[Path, bytes]:
    """The bytes of a file of weights, and where they were found."""
    for _ in range(2):  # a compaction can move the file between the two looks
        path = folder / file
        if path.exists() and not path.is_file():
            raise _damaged(path, "it is no regular file")
        if path.exists():
            try:
                return path, path.read_bytes()
            except FileNotFoundError:
                continue
        for shard in sorted(folder.glob("shard-*.zip"), reverse=True):
            content = _member(shard, file)
            if content is not None:
                return shard, content
    raise NotTrainedError(
        f"{folder / file} does not exist: its cell has not finished, keeps no weights "
        "(trainer.weights_at), or they were removed; train it, then resume this sweep"
    )


def _member(shard: Path, file: str) -> bytes | None:
    try:
        with zipfile.ZipFile(shard) as archive:
            return archive.read(file) if file in archive.namelist() else None
    except Exception as error:  # damage can raise anything
        raise _damaged(shard, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path}: found a damaged file ({reason}), expected the weights of a cell; remove it and "
        "train the cell again"
    )


def _owner(arrays: Arrays) -> Owner:
    code = str(arrays["__code__"]) if "__code__" in arrays else ""
    return Owner(str(arrays["__cell__"]), str(arrays["__data_hash__"]), code or None)


def _weights(arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in arrays.items() if not name.startswith("__")}
