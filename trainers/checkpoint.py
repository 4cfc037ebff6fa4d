"""Checkpoints: written atomically, one per cell and attempt, and read without running code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file next to `path`. On exit, sync it and rename it to `path`; on an error,
    remove it.

    The temporary name starts with a dot, so that no reader mistakes it for a part or checkpoint. It
    contains the process id, so two attempts that run at once never share it.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
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
        import torch  # imported here, so that cells that save nothing start without it

        own_file = self.folder / f"{self.cell}.{self.attempt:05d}.{self.writer}.pt"
        buffer = io.BytesIO()  # torch's own writer reports a full disk as a broken archive
        torch.save(state, buffer)
        self.present = True
        with replacing(own_file) as file:
            file.write(buffer.getbuffer())
        for path in self._files():
            if path != own_file and _attempt(path) < self.attempt:
                path.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest complete checkpoint on the CPU, or None; warns about unreadable ones."""
        files = self._files(half_written=True)
        self.present = bool(files)
        complete_files = [path for path in files if path.suffix == ".pt"]
        for path in sorted(complete_files, key=_age, reverse=True):
            import torch

            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
            except FileNotFoundError:
                continue
            except Exception as error:
                log.warning(
                    "checkpoint %s (%d bytes) cannot be read: %s; resuming from the one before it, "
                    "or from the start",
                    path,
                    path.stat().st_size if path.exists() else 0,
                    type(error).__name__,
                )
        return None

    def clear(self) -> None:
        """Remove this cell's checkpoints and the partial files of killed attempts."""
        for path in self._files(half_written=True):
            if path.suffix == ".pt" or _attempt(path) <= self.attempt:
                path.unlink(missing_ok=True)

    def _files(self, half_written: bool = False) -> list[Path]:
        """Checkpoints of the cell, from one listing of the folder that all cells share."""
        begins = (f"{self.cell}.", f".{self.cell}.") if half_written else (f"{self.cell}.",)
        return [
            self.folder / n
            for n in os.listdir(self.folder)
            if n.startswith(begins) and n.endswith((".pt", ".tmp"))
        ]


def _attempt(path: Path) -> int:
    return int(path.name.lstrip(".").split(".")[1])


def _age(path: Path) -> list[tuple[int, str]]:
    """Sort key: attempt first, then the number of the child that wrote the checkpoint."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in path.name.split(".")[1:]]
