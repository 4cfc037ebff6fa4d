"""`redescent logs CELL`: the output of a cell's newest job; `--follow` keeps printing it."""

from __future__ import annotations

import codecs
import re
import sys
import time
from pathlib import Path

from rich.text import Text

from launch.cli.console import console, styled, visible
from launch.cli.exits import leave_on_interrupt
from launch.cli.wait import LOOK_SECONDS, POLL_SECONDS
from launch.errors import UserError
from launch.plan.identity import cell_arguments, short_id
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.status import sweep_state
from launch.status.attempts import placements_of
from launch.status.silent_ends import newest_output
from launch.status.sweep_state import SweepState, trained_again

_NEW_ENTRY = re.compile(r"\[\d{4}-\d\d-\d\d ")
"""How an entry of the log begins: with its time."""

_BYTES_PER_LINE = 400


def logs(folder: Path, cell: str, lines: int, follow: bool) -> None:
    """Print the last lines of the output; with `follow`, keep printing until the cell ends.

    The output of a cell that has a result or failed stops where the cell ended: its task may have
    trained others since.
    """
    state = sweep_state.load_sweep_state(folder)
    path = output(state, cell)
    hint = f"`redescent why {cell_arguments(cell, name_of(folder))}` explains the cell"
    if path is None and not (follow and _is_live(state, cell)):
        raise UserError(
            f"{cell}: {state.cells[cell].state}, and none of its jobs has written output; {hint}"
        )
    position = 0
    if path is not None:
        ended = state.cells[cell].state in (*FINAL, "failed") and not _is_live(state, cell)
        output_lines, position = _lines_of(path, None if ended else lines * _BYTES_PER_LINE)
        if ended:
            output_lines = _until_its_end(output_lines, cell)
        text = "".join(output_lines[-lines:])
        console.print(styled((str(path), "bold"), f"\n{text}"), end="")
    if follow:
        with leave_on_interrupt(name_of(folder)):
            state = _follow(state, cell, path, position)
    console.print(styled((f"{short_id(cell)} is {state.cells[cell].state}", "bold"), f"; {hint}"))


def output(state: SweepState, cell: str) -> Path | None:
    """The output file of the cell's newest job that has one; None if no job has started."""
    for place in reversed(placements_of(state, cell)):
        path = newest_output(state.plan_by_sid[place.sid], state.folder, place.job or None)
        if path is not None:
            return path
    return None


def _is_live(state: SweepState, cell: str) -> bool:
    return state.cells[cell].state in LIVE or cell in trained_again(state).may_run


def _follow(state: SweepState, cell: str, path: Path | None, position: int) -> SweepState:
    """Print new output, also of the cell's next job, until the cell no longer runs or waits."""
    last_poll = time.monotonic()
    while True:
        if path is not None:
            position = _print_from(path, position)
        if not _is_live(state, cell):
            return state
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - last_poll < POLL_SECONDS:
            continue
        state, last_poll = sweep_state.load_sweep_state(state.folder), time.monotonic()
        newest = output(state, cell)
        if newest is not None and newest != path:
            console.print(Text(str(newest), "bold"))
            path, position = newest, 0


def _print_from(path: Path, position: int) -> int:
    with open(path, "rb") as file:
        file.seek(position)
        output = _whole(file.read())
    sys.stdout.write(_lines(output))
    sys.stdout.flush()
    return position + len(output)


def _whole(output: bytes) -> bytes:
    """Without the beginning of a character or of "\\r\\n" at its end, whose rest is not written."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(output)
    begun, _ = decoder.getstate()
    return output[: len(output) - len(begun)].removesuffix(b"\r")


def _lines(output: bytes) -> str:
    """Output of a job as text: what a progress bar overwrites becomes a line of its own."""
    text = output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return visible(text)


def _lines_of(path: Path, most: int | None) -> tuple[list[str], int]:
    """The lines of a file, those in its last `most` bytes if a number is given, and its size."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0 if most is None else max(0, size - most))
        text = _lines(file.read(size))
    return text.splitlines(keepends=True), size


def _until_its_end(lines: list[str], cell: str) -> list[str]:
    """The lines up to the last one about a cell, with the traceback that follows it if it failed;
    all of them if none names it.
    """
    about = [number for number, line in enumerate(lines) if cell in line]
    if not about:
        return lines
    end = about[-1] + 1
    if "failed" not in lines[end - 1]:
        return lines[:end]
    while end < len(lines) and not _NEW_ENTRY.match(lines[end]):
        end += 1
    return lines[:end]
