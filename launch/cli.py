"""The command line: redescent plan | submit | status | resume | cancel | logs | compact | doctor | import-published."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from launch import backend, compose, doctor, state, submit
from launch.errors import UserError

out = Console(highlight=False, soft_wrap=True)


def _errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show what the user can mend in one message, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from analysis.store import StoreError

        try:
            return command(*args, **kwargs)
        except (UserError, StoreError) as error:
            out.print(f"[red]error:[/red] {escape(str(error))}")
            sys.exit(2)
        except OSError as error:
            out.print(
                f"[red]error:[/red] {escape(str(error))}. Nothing that was computed is lost; mend it and run this again"
            )
            sys.exit(2)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="redescent")
def main() -> None:
    """Sweeps over width, training time, regularisation and label noise: send them, resume them, see how they stand.

    NAME is a file in configs/sweep/ and a folder in logs/. OVERRIDES are in Hydra's grammar, as seeds=[0,1]
    trainer.epochs=200 hydra/launcher=v100.
    """


_name = click.argument("name")
_overrides = click.argument("overrides", nargs=-1)
_retry = click.option("--retry-errors", is_flag=True, help="Send cells again whose shared error stopped the sweep.")
_wait = click.option("--wait", is_flag=True, help="Stay and show progress; Ctrl-C leaves the jobs running.")


@main.command()
@_name
@_overrides
@_retry
@_errors
def plan(name: str, overrides: Sequence[str], retry_errors: bool) -> None:
    """Show what `submit` would send: cells, tasks, arrays, hours. Changes nothing."""
    request = compose.request(name, overrides)
    backend.check(request.launcher)
    _show_draft(submit.draft(request, retry_errors))


@main.command(name="submit")
@_name
@_overrides
@_retry
@_wait
@_errors
def submit_(name: str, overrides: Sequence[str], retry_errors: bool, wait: bool) -> None:
    """Send every cell that is neither done nor under way, and return."""
    _send(compose.request(name, overrides), retry_errors, wait)


@main.command()
@_name
@_overrides
@_retry
@_wait
@_errors
def resume(name: str, overrides: Sequence[str], retry_errors: bool, wait: bool) -> None:
    """Send what failed, was interrupted or is missing, from its checkpoints.

    The cells are those of the earlier plans, not of the sweep file; OVERRIDES may change the launcher alone
    (hydra/launcher=..., hydra.launcher.KEY=..., task.KEY=...).
    """
    allowed = ("hydra/launcher=", "hydra.launcher.", "task.", "logs=")
    wrong = [text for text in overrides if not text.lstrip("+").startswith(allowed)]
    if wrong:
        raise UserError(
            f"{wrong[0]}: resume runs the cells as planned; it takes {', '.join(allowed)} (use submit for new cells)"
        )
    folder = _folder(name)
    packing, launcher, _ = compose.launcher(overrides) if overrides else (None, None, None)
    _send(submit.resumed(folder, packing, launcher), retry_errors, wait)


@main.command()
@_name
@_errors
def status(name: str) -> None:
    """Show one table: how many cells are in which state, hours spent, failures by class."""
    _show_status(submit.observe(_folder(name)))


@main.command()
@_name
@_errors
def cancel(name: str) -> None:
    """End all jobs of a sweep; what they computed stays, and `resume` goes on from it."""
    count, complaints = submit.cancel(_folder(name))
    for complaint in complaints:
        out.print(f"[yellow]{escape(complaint)}[/yellow]")
    out.print(f"cancelled {count} submissions of {name}" if count else f"{name}: nothing was running or waiting")


@main.command()
@click.argument("cell")
@click.option("--lines", default=20, show_default=True, help="Lines of the job's output to show.")
@_errors
def logs(cell: str, lines: int) -> None:
    """Show a cell: its state, configuration, traceback, and the end of its job's output. CELL may be shortened."""
    folder, found = _find(cell)
    seen = submit.observe(folder)
    made = next(p for p in seen.plans if p.sid == seen.cells[found].placement.sid)
    _show_cell(seen, seen.cells[found], made.flat(next(c for c in made.cells if c.id == found)))
    pattern = f"*_{seen.cells[found].placement.task}_*" if made.backend == "slurm" else "*"
    for path in sorted((made.folder(folder) / "output").glob(pattern), key=lambda p: p.stat().st_mtime)[-1:]:
        out.print(f"\n[bold]{path}[/bold], last {lines} lines:")
        out.print(escape("\n".join(path.read_text(errors="replace").splitlines()[-lines:])))


@main.command()
@_name
@_errors
def compact(name: str) -> None:
    """Fold the parts of a sweep into its store: few shards, a runs table, a manifest."""
    from analysis.compact import compact as fold

    done = fold(_folder(name))
    out.print(
        f"{done.cells} cells, {done.rows} rows in {done.shards} shards; "
        f"{done.files_before} files became {done.files_after}"
    )
    if len(done.mismatches):
        out.print(
            f"[yellow]{len(done.mismatches)} values were computed twice and differ[/yellow] (newest attempt kept):"
        )
        out.print(escape(done.mismatches.head(10).to_string()))


@main.command(name="doctor")
@click.argument("overrides", nargs=-1)
@_errors
def doctor_(overrides: Sequence[str]) -> None:
    """Check this machine, its torch, SLURM, and the launcher's settings before anything is sent."""
    table = Table("check", "", "found")
    findings = doctor.examine(overrides)
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    for finding in findings:
        table.add_row(finding.check, f"[{colours[finding.verdict]}]{finding.verdict}[/]", escape(finding.found))
    out.print(table)
    sys.exit(1 if any(finding.verdict == "problem" for finding in findings) else 0)


@main.command(name="import-published")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@_errors
def import_published(source: Path, target: Path) -> None:
    """Turn the published arrays (four .npy files in SOURCE) into a store at TARGET, as logs/published."""
    from analysis.published import import_published as fold

    fold(source, target)
    out.print(f"{target}: a store like any other now; draw it with `python analysis/fig2_ab.py {target}`")


def _send(request: compose.Request, retry_errors: bool, wait: bool) -> None:
    made, frozen = submit.submit(request, retry_errors)
    _show_draft(made)
    name = request.name
    if frozen is None:
        out.print("nothing to send")
    else:
        out.print(
            f"sent {len(made.todo)} cells as submission {frozen.sid}; `redescent status {name}` shows how they stand"
        )
    if wait:
        _watch(request.folder)


def _folder(name: str) -> Path:
    compose.check_name(name)
    return Path(os.environ.get("REDESCENT_LOGS", "logs")) / name


def _find(cell: str) -> tuple[Path, str]:
    """The sweep and whole id of the one cell whose id begins with `cell` (the scheme's prefix may be left out)."""
    from launch import plan as plans

    found = {
        (folder, known.id)
        for folder in sorted(Path(os.environ.get("REDESCENT_LOGS", "logs")).glob("*"))
        for made in plans.load_all(folder)
        for known in made.cells
        if known.id.startswith(cell) or known.id.partition("-")[2].startswith(cell)
    }
    if len(found) != 1:
        what = (
            "no cell"
            if not found
            else f"{len(found)} cells, as {', '.join(f'{c} ({f.name})' for f, c in sorted(found)[:3])}"
        )
        raise UserError(
            f"{cell}: {what} in logs/ with an id that begins so; expected one (`redescent status NAME` lists ids)"
        )
    return found.pop()


def _show_draft(made: submit.Draft) -> None:
    table = Table(show_header=False)
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
        out.print(
            f"[yellow]{len(made.held)} failed cells are held back[/yellow]: they share the error "
            f"{escape(repr(made.error))} in this very code. Mend it, or send them with --retry-errors"
        )


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
    at_a_time = made.request.packing.at_a_time or 1
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


def _show_status(seen: submit.Observation) -> None:
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
    _show_failures(seen)
    if seen.silent:
        out.print(
            f"[yellow]no answer from the scheduler of {len(seen.silent)} submissions[/yellow]; their cells may run"
        )


def _show_failures(seen: submit.Observation) -> None:
    groups: dict[tuple[str, str], list[str]] = {}
    for cell in seen.cells.values():
        if cell.state == "failed" and cell.record:
            groups.setdefault((cell.record.error_class or "", submit.last_line(cell.record.error)), []).append(cell.id)
    if groups:
        table = Table("failed", "class", "error", "more")
        for (kind, error), cells in sorted(groups.items(), key=lambda item: -len(item[1])):
            table.add_row(str(len(cells)), kind, escape(error), f"redescent logs {cells[0][:11]}")
        out.print(table)


def _show_cell(seen: submit.Observation, cell: state.CellState, flat: dict[str, Any]) -> None:
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


def _watch(folder: Path) -> None:
    """Progress until no cell is under way: finished cells and the epochs that the parts hold."""
    epochs_column = TextColumn("{task.completed:.0f}/{task.total:.0f} epochs")
    columns = (TextColumn("{task.description}"), BarColumn(), epochs_column, TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=out) as progress:
        bar = progress.add_task(folder.name, total=1.0)
        while True:
            seen = submit.observe(folder)
            states = Counter(cell.state for cell in seen.cells.values())
            epochs = float(seen.runs["epochs"].sum()) if "epochs" in seen.runs else 0.0
            total = float(seen.runs["trainer.epochs"].sum())
            ended = states["done"] + states["nonfinite"] + states["failed"]
            progress.update(bar, completed=epochs, total=total, description=f"{ended}/{len(seen.cells)} cells")
            if not any(states[name] for name in state.LIVE):
                break
            time.sleep(1.0)
    _show_status(seen)
    if states["failed"] + states["interrupted"] + states["missing"]:
        out.print(f"not complete: `redescent resume {folder.name}` sends the rest")
        sys.exit(1)
