"""Checkpoints: written atomically, one per cell and attempt, verified, read without running code.

A file is one line, `redescent checkpoint 1 SHA256`, followed by what torch.save wrote: torch does
not verify the checksums of its own format. Checkpoints of earlier versions lack the line. A process
that never imported torch has no tensors: it writes and reads JSON, and need not import it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HEADER = b"redescent checkpoint 1 "
HEADER_LENGTH = len(HEADER) + 64 + 1  # with the checksum and the end of the line
TORCH_MAGIC = b"PK"  # begins what torch.save writes
JSON_BEGINS = b"{"

_CONTENT: Mapping[str, tuple[type, ...]] = {
    "state": (dict,), "rows": (list,), "seconds": (int, float), "attempt": (int,), "step": (int,),
}  # fmt: skip
"""What a checkpoint holds, with the types of the values."""

_NAME = re.compile(r"\.?[^.]+\.\d+\..+\.(pt|tmp)")
"""CELL.ATTEMPT.WRITER.pt, or the hidden name of a half-written file."""

log = logging.getLogger(__name__)


def _remove(path: Path) -> None:
    """Remove a file that nobody needs; one that cannot be removed is no reason to fail."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("checkpoint %s cannot be removed: %s", path, error)


class DamagedCheckpoint(ValueError):
    """A file that is not a whole checkpoint of its cell; the message says why."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file next to `path`. On exit, sync it and rename it to `path`; on an error,
    remove it.

    The temporary name starts with a dot, so that no reader mistakes it for a part or checkpoint. It
    contains the process id, so two attempts that run at once never share it.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process with the same number that was killed
        with open(temporary, "xb") as file:  # never through a link that somebody put there
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@dataclass
class Checkpoints:
    """The checkpoints of one cell, as seen by one attempt.

    Each attempt writes its own file, named by cell, attempt and writer; readers use the newest
    complete one.
    """

    folder: Path
    cell: str
    attempt: int
    writer: str
    present: bool = False
    """Whether this attempt found or wrote files of this cell, half-written ones included."""

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` (tensors and plain values) as this attempt's checkpoint, then remove
        earlier ones.

        Raises OSError, for example if the disk is full, and keeps the previous checkpoint.
        """
        own_file = self.folder / f"{self.cell}.{self.attempt:05d}.{self.writer}.pt"
        payload = _encode({**state, "cell": self.cell})
        self.present = True
        with replacing(own_file) as file:
            file.write(_header(payload))
            file.write(payload)
        for path in self._files():
            if path != own_file and _attempt(path) < self.attempt:
                _remove(path)

    def load(self) -> dict[str, Any] | None:
        """The newest complete checkpoint on the CPU, or None; names and passes over damaged ones.

        A file is damaged if its checksum differs, or if its content is that of another cell or not
        that of a checkpoint.
        """
        files = self._files(half_written=True)
        self.present = bool(files)
        complete_files = [path for path in files if path.suffix == ".pt"]
        for path in sorted(complete_files, key=_age, reverse=True):
            try:
                return self._read(path)
            except FileNotFoundError:
                continue
            except (DamagedCheckpoint, OSError) as error:
                log.warning(
                    "checkpoint %s (%d bytes) cannot be used: %s; resuming from the one before it, "
                    "or from the start",
                    path,
                    path.stat().st_size if path.exists() else 0,
                    error,
                )
        return None

    def _read(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint file of this cell. Raises DamagedCheckpoint or OSError."""
        content = _decode(path.read_bytes())
        check_content(content, self.cell)
        return dict(content)

    def clear(self) -> None:
        """Remove this cell's checkpoints and the partial files of killed attempts."""
        for path in self._files(half_written=True):
            if path.suffix == ".pt" or _attempt(path) <= self.attempt:
                _remove(path)

    def _files(self, half_written: bool = False) -> list[Path]:
        """Checkpoints of the cell, from one listing of the folder that all cells share."""
        begins = (f"{self.cell}.", f".{self.cell}.") if half_written else (f"{self.cell}.",)
        paths = []
        for name in os.listdir(self.folder):
            if name.startswith(begins) and _NAME.fullmatch(name):
                paths.append(self.folder / name)
        return paths


def _encode(content: dict[str, Any]) -> bytes | memoryview:
    """The payload of a checkpoint file: JSON where torch was never imported."""
    if "torch" not in sys.modules:
        return json.dumps(content).encode()
    import torch

    buffer = io.BytesIO()  # torch's own writer reports a full disk as a broken archive
    torch.save(content, buffer)
    return buffer.getbuffer()


def _decode(file: bytes) -> Any:
    """The content of a checkpoint file, tensors on the CPU. Raises DamagedCheckpoint.

    A file whose checksum is right is not damaged: what else fails, such as memory, is raised.
    """
    payload = verified_payload(file)
    if payload.startswith(JSON_BEGINS):
        return json.loads(payload)
    import torch

    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:
        if payload is not file:
            raise
        # without a checksum, and damage can raise anything
        raise DamagedCheckpoint(f"torch cannot read it ({type(error).__name__})") from error


def _header(payload: bytes | memoryview) -> bytes:
    return HEADER + hashlib.sha256(payload).hexdigest().encode() + b"\n"


def verified_payload(content: bytes) -> bytes:
    """What torch.save wrote into a checkpoint file. Raises DamagedCheckpoint if it was changed."""
    if content.startswith(TORCH_MAGIC):  # of an earlier version, without a checksum
        return content
    payload = content[HEADER_LENGTH:]
    if content[:HEADER_LENGTH] != _header(payload):
        raise DamagedCheckpoint("its checksum is not that of its content")
    return payload


def check_content(content: Any, cell: str) -> None:
    """Raise DamagedCheckpoint unless `content` is a checkpoint of `cell`."""
    if not isinstance(content, dict):
        raise DamagedCheckpoint(f"it holds a {type(content).__name__}, expected a dictionary")
    for key, kinds in _CONTENT.items():
        if not isinstance(content.get(key), kinds):
            raise DamagedCheckpoint(
                f"{key}: found {type(content.get(key)).__name__}, expected what a run saves"
            )
    rows = content["rows"]
    owner = content.get("cell", rows[0].get("cell") if rows else cell)
    if owner != cell:
        raise DamagedCheckpoint(f"it belongs to cell {owner}")


def _attempt(path: Path) -> int:
    return int(path.name.lstrip(".").split(".")[1])


def _age(path: Path) -> list[tuple[int, str]]:
    """Sort key: attempt first, then the number of the child that wrote the checkpoint."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in path.name.split(".")[1:]]
