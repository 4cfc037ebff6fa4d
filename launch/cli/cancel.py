"""`redescent cancel`: what was cancelled, in words."""

from __future__ import annotations

from collections.abc import Sequence

from launch.cli import layout
from launch.cli.console import console, styled
from launch.cli.lookup import sweep_folder
from launch.errors import quantity
from launch.submit import cancel as cancellation
from launch.submit.cancel import Cancellation


def cancel(name: str, where: Sequence[str]) -> None:
    """Cancel the cells of a sweep that meet all conditions, and say how many there were."""
    result = cancellation.cancel(sweep_folder(name), where)
    if result.ended:
        layout.print_paragraph(_ended_text(result.ended))
    if result.cells or result.tasks:
        layout.print_paragraph(_stopped_text(result))
    elif not result.complaints and not result.ended:
        matches = " matches" if where else ""
        console.print(f"{name}: no running or waiting cell{matches}")
    for complaint in result.complaints:
        console.print(styled(("not confirmed:", "yellow"), f" {complaint}"))


def _ended_text(count: int) -> str:
    """That cells which had ended before are left out of the sweep."""
    them = "it" if count == 1 else "them"
    return (
        f"cancelled {quantity(count, 'cell')} that ended without a result; the sweep is complete "
        f"without {them}"
    )


def _stopped_text(result: Cancellation) -> str:
    """How many cells and tasks stop, and how many of the cells keep an earlier result."""
    cells, tasks = quantity(result.cells, "cell"), quantity(result.tasks, "whole task")
    text = f"cancelled {cells}, {tasks}; running cells save first"
    if not result.done:
        return text
    one, several = "of them was done and keeps its", "of them were done and keep their"
    return f"{text}; {quantity(result.done, one, several)} result"
