"""What the command line prints: tables of a draft, of a sweep's state, of one cell, and progress while waiting."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from launch import backend, observe, state, submit, worker

out = Console(highlight=False, soft_wrap=True)


def draft(made: submit.Draft) -> None:
    """What a submission sends, or would send."""
    table = Table(show_header=False)
    table.add_row("folder", str(made.request.folder))
    table.add_row("cells", str(len(made.request.cells)))
    for name, count in sorted(made.states.items()):
        table.add_row(f"  {name}", str(count))
    table.add_row("to run", str(len(made.todo)))
    table.add_row("tasks", _span("{} of {} cells each", len(made.tasks), [len(task) for task in made.tasks]))
    if backend.kind(made.request.launcher) == "slurm":
        table.add_row("arrays", str(made.arrays))
    table.add_row("hours", _hours(made))
    out.print(table)
    if made.held:
        more = f", and with them the {made.others} others" if made.others else ""
        out.print(
            f"[yellow]{len(made.held)} failed cells are held back{more}[/yellow]: they share the error "
            f"{escape(repr(made.error))} in this very code. Mend it, or send them with --retry-errors"
        )
    if made.starved:
        out.print(
            f"[yellow]{len(made.starved)} cells ran out of memory alone[/yellow] and need more of it: give "
            "hydra.launcher.mem_gb=GB, or a larger GPU, or send them as before with --retry-errors"
        )
    fewer = sorted({size for size in made.sizes if size and size < (made.request.packing.at_a_time or worker.cores())})
    if fewer:
        out.print(f"cells that were short of memory run with fewer beside them: {', '.join(map(str, fewer))} at a time")


def _span(text: str, count: int, sizes: Sequence[int]) -> str:
    if not sizes:
        return "0"
    return text.format(count, f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else sizes[0])


def _hours(made: submit.Draft) -> str:
    """GPU-hours (or hours of a task on a CPU) by measurement; without one the most that the time limits allow."""
    if not made.todo:
        return "0"
    kind = "GPU-hours" if _gpus(made.request.launcher) else "hours of a task"
    known = [s for s in made.seconds if s is not None]
    at_a_time = made.request.packing.at_a_time or worker.cores()
    if len(known) == len(made.todo):
        return f"{sum(known) / 3600 / at_a_time:.2f} {kind}, from the measured seconds per epoch of like cells"
    limit = made.request.launcher.get("timeout_min")
    if backend.kind(made.request.launcher) != "slurm" or not limit:
        return "unknown: no cell like these has been measured here"
    bound = len(made.tasks) * float(limit) / 60 * max(1, _gpus(made.request.launcher))
    return f"unknown: no cell like these has been measured here; at most {bound:.0f} {kind} for each turn of the tasks"


def _gpus(launcher: Any) -> int:
    count = launcher.get("gpus_per_node") or str(launcher.get("gres") or "gpu:0").rpartition(":")[2]
    return int(count) if str(count).isdigit() else 1


def status(seen: observe.Observation) -> None:
    """One table of the states of a sweep's cells, then the hours spent and the failures by error."""
    states = Counter(cell.state for cell in seen.cells.values())
    table = Table(
        "state", "cells", "meaning", title=f"{seen.folder.name}: {len(seen.cells)} cells", title_justify="left"
    )
    for name, meaning in state.STATES.items():
        if states[name]:
            table.add_row(name, str(states[name]), meaning)
    out.print(table)
    for label, column in (("GPU-hours", "gpu_seconds"), ("hours of training", "seconds")):
        spent = float(seen.runs[column].sum()) / 3600 if column in seen.runs else 0.0
        if spent > 0:
            out.print(f"{spent:.2f} {label} spent")
    _failures(seen)
    if seen.silent:
        out.print(
            f"[yellow]no answer from the scheduler of {len(seen.silent)} submissions[/yellow]; their cells may run"
        )


def cells(seen: observe.Observation) -> None:
    """Every cell on a line: id, state, epochs logged, and the configuration that varies between cells."""
    runs = seen.runs.set_index("cell").reindex(list(seen.cells))
    keys = [key for key in runs.columns if ("." in key or key == "seed") and not key.startswith("run.")]
    varying = [key for key in keys if runs[key].astype(str).nunique() > 1]
    epochs = runs["epochs"].fillna(0).astype(int) if "epochs" in runs else pd.Series(0, runs.index)
    table = Table(Column("cell", min_width=35), "state", "epochs", *varying)
    for cell_id, found in seen.cells.items():
        values = (str(runs.at[cell_id, key]) for key in varying)
        table.add_row(cell_id, found.state, str(epochs[cell_id]), *values)
    out.print(table)


def _failures(seen: observe.Observation) -> None:
    groups: dict[tuple[str, str], list[str]] = {}
    for cell in seen.cells.values():
        if cell.state == "failed" and cell.record:
            groups.setdefault((cell.record.error_class or "", observe.last_line(cell.record.error)), []).append(cell.id)
    for (kind, error), cells in sorted(groups.items(), key=lambda item: -len(item[1])):
        out.print(f"[red]{len(cells)} failed[/red] ({kind}): {escape(error)}; see `redescent logs {cells[0][:11]}`")


def cell(seen: observe.Observation, cell: state.CellState, flat: dict[str, Any]) -> None:
    """One cell: state, facts of its runs, configuration, traceback."""
    table = Table("cell", cell.id, title=f"{seen.folder.name}", title_justify="left")
    table.add_row("state", f"{cell.state}: {state.STATES[cell.state]}")
    row = seen.runs[seen.runs["cell"] == cell.id].iloc[0].dropna().to_dict()
    for key in ("attempts", "epochs", "seconds", "host", "gpu", "precision", "noise_rate", "code", "error_class"):
        if key in row:
            table.add_row(key, escape(str(row[key])))
    table.add_row("submission", f"{cell.placement.sid}, task {cell.placement.task}")
    table.add_row("configuration", escape("\n".join(f"{key}={value}" for key, value in flat.items())))
    out.print(table)
    if cell.record and cell.record.error:
        out.print(escape(cell.record.error))


@contextlib.contextmanager
def _leaving(name: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the jobs."""
    try:
        yield
    except KeyboardInterrupt:
        out.print(f"no longer watching; the jobs go on: `redescent status {name}`, `redescent cancel {name}`")
        sys.exit(130)


def watch(folder: Path) -> None:
    """Progress until no cell is under way: finished cells and the epochs that the parts hold."""
    epochs_column = TextColumn("{task.completed:.0f}/{task.total:.0f} epochs")
    columns = (TextColumn("{task.description}"), BarColumn(), epochs_column, TimeElapsedColumn(), TextColumn("left"))
    with _leaving(folder.name), Progress(*columns, TimeRemainingColumn(), console=out) as progress:
        bar = progress.add_task(folder.name, total=1.0)
        while True:
            seen = observe.observe(folder)
            states = Counter(cell.state for cell in seen.cells.values())
            epochs = float(seen.runs["epochs"].sum()) if "epochs" in seen.runs else 0.0
            total = float(seen.runs["trainer.epochs"].sum())
            ended = states["done"] + states["nonfinite"] + states["failed"]
            progress.update(bar, completed=epochs, total=total, description=f"{ended}/{len(seen.cells)} cells")
            if not any(states[name] for name in state.LIVE):
                break
            time.sleep(1.0)
    status(seen)
    if states["failed"] + states["interrupted"] + states["missing"]:
        out.print(f"not complete: `redescent resume {folder.name}` sends the rest")
        sys.exit(1)
