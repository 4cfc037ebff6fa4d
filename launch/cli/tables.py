"""What the command line prints of a submission and of the cells of a sweep, and where it prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from launch.cost import rates
from launch.status import sweep_state
from launch.submit.calibration import Measurement
from launch.submit.preview import Draft, beyond_limit
from launch.sweep.request import AUTO

out = Console(highlight=False, soft_wrap=True)


def draft(made: Draft) -> None:
    """What a submission sends, or would send."""
    table = Table(show_header=False)
    table.add_row("folder", str(made.request.folder))
    table.add_row("cells", str(len(made.request.cells)))
    for name, count in sorted(made.states.items()):
        table.add_row(f"  {name}", str(count))
    table.add_row("to run", str(len(made.todo)))
    table.add_row(
        "tasks", _span("{} of {} cells each", len(made.tasks), [len(task) for task in made.tasks])
    )
    sizes = [size for size in made.sizes if size]
    if made.request.packing.at_a_time == AUTO and sizes:
        table.add_row("side by side", _span("{1} at a time, as measured", 0, sizes))
    if made.request.launcher.kind == "slurm":
        table.add_row("arrays", str(made.arrays))
    table.add_row("hours", hours(made))
    if made.request.policy.gpu_hours is not None:
        beyond = beyond_limit(made)
        table.add_row(
            "limit",
            escape(beyond)
            if beyond
            else f"within limits.gpu_hours={made.request.policy.gpu_hours:g}",
        )
    out.print(table)
    if made.held:
        more = f", and with them the {made.others} others" if made.others else ""
        out.print(
            f"[yellow]{len(made.held)} failed cells are held back{more}[/yellow]: they share the "
            "error "
            f"{escape(repr(made.error))} in this very code. Mend it, or "
            "send them with --retry-errors, as where a setting was wrong and is right now"
        )
    if made.starved:
        out.print(
            f"[yellow]{len(made.starved)} cells ran out of memory alone[/yellow] and need more of "
            "it: give "
            "hydra.launcher.mem_gb=GB, or a larger GPU, or send them as before with --retry-errors"
        )
    if made.fewer:
        at_a_time = ", ".join(map(str, made.fewer))
        out.print(
            f"cells that were short of memory run with fewer beside them: {at_a_time} at a time"
        )


def _span(text: str, count: int, sizes: Sequence[int]) -> str:
    if not sizes:
        return "0"
    return text.format(
        count, f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else sizes[0]
    )


def hours(made: Draft) -> str:
    """Hours by measurement; without one the most that the time limits allow."""
    if not made.todo:
        return "0"
    known = [s for s in made.seconds if s is not None]
    measured = f"{made.hours:.2f} {made.unit}"
    if len(known) == len(made.todo):
        return f"{measured}, from the measured seconds per epoch or step of cells like them"
    lacking = f"{len(made.todo) - len(known)} cells are like none that was measured here"
    hint = f"`redescent calibrate {made.request.name}` measures the smallest and the largest"
    if known:
        return f"unknown: {lacking}; the others take {measured}. {hint}"
    limit = made.request.launcher.limit_minutes
    if made.request.launcher.kind != "slurm" or not limit:
        return f"unknown: {lacking}. {hint}"
    cores = made.request.launcher.cores or 1
    tasks = (made.request.launcher.occupancy(size).amount * (size or cores) for size in made.sizes)
    most = float(limit) / 60 * sum(tasks)
    return f"unknown: {lacking}; at most {most:.0f} {made.unit} for each turn of the tasks. {hint}"


def calibration(found: Sequence[Measurement]) -> None:
    """What a calibration measured, a line for each cell and count of copies side by side."""
    keys = sorted(
        {key for m in found for key in m.cell.flat if _differs(key, found)}
        | {"model.name", "model.width"}
    )
    table = Table(*keys, "side by side", "seconds", "whole run", "peak memory", "cells an hour", "")
    for m in found:
        values = [*(str(m.cell.flat.get(key, "")) for key in keys), str(m.count or "one a core")]
        if m.failure:
            table.add_row(*values, f"[red]failed:[/red] {escape(m.failure)}")
            continue
        throughput = f"{m.count * 3600 / m.whole:.4g}" if m.count and m.compared else ""
        word = "wins" if m.wins else "" if m.compared or not m.count else "too short to tell"
        table.add_row(*values, f"{m.seconds:.4g} an {m.unit}".replace("an step", "a step"), f"{m.whole:.0f} s",
                      f"{m.memory / 1e9:.2f} GB", throughput, word)  # fmt: skip
    out.print(table)


def _differs(key: str, found: Sequence[Measurement]) -> bool:
    return not key.startswith("run.") and len({repr(m.cell.flat.get(key)) for m in found}) > 1


def cells(seen: sweep_state.Observation) -> None:
    """Every cell on a line: id, state, epochs or steps logged of those planned, and what varies
    between the cells.
    """
    runs = seen.runs.set_index("cell").reindex(list(seen.cells))
    keys = [
        key for key in runs.columns if ("." in key or key == "seed") and not key.startswith("run.")
    ]
    varying = [key for key in keys if runs[key].astype(str).nunique() > 1]
    reached, planned = rates.logged(runs), rates.planned(runs)
    table = Table(Column("cell", min_width=35), "state", "epochs or steps", *varying)
    for cell_id, found in seen.cells.items():
        values = (str(runs.at[cell_id, key]) for key in varying)
        table.add_row(
            cell_id, found.state, f"{reached[cell_id]:.0f}/{planned[cell_id]:.0f}", *values
        )
    out.print(table)


@contextlib.contextmanager
def leaving(name: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the jobs."""
    try:
        yield
    except KeyboardInterrupt:
        out.print(
            f"no longer watching; the jobs go on: `redescent status {name}`, `redescent cancel "
            f"{name}`"
        )
        sys.exit(130)
