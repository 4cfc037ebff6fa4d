"""The command line, one function a command: redescent plan, submit, status, why, logs, resume,
cancel and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from launch.cli import doctor, tables, why
from launch.cli import logs as follow_
from launch.cli import status as status_
from launch.cli.lookup import cell_of, folder_of
from launch.errors import UserError
from launch.plan import PlanError
from launch.plan.plan import CALIBRATION
from launch.plan.snapshot import code_hash
from launch.scheduler import backend, sbatch
from launch.status import sweep_state
from launch.submit import calibration, cancel, submission
from launch.submit.preview import draft
from launch.sweep import compose
from launch.sweep.request import Request


def _errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show what the user can mend in one message, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from analysis.store import CompactionRunning, StoreError

        try:
            return command(*args, **kwargs)
        except (UserError, PlanError, StoreError, CompactionRunning) as error:
            tables.out.print(f"[red]error:[/red] {escape(str(error))}")
            sys.exit(2)
        except OSError as error:
            tables.out.print(
                f"[red]error:[/red] {escape(str(error))}. Nothing that was computed is lost; mend "
                "it and run this again"
            )
            sys.exit(2)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="redescent")
def main() -> None:
    """Sweeps over width, training time, regularisation and label noise: send them, resume them, see
    how they stand.

    NAME is a file in configs/sweep/ and a folder in logs/. OVERRIDES are in Hydra's grammar, as
    seeds=[0,1] trainer.epochs=200 hydra/launcher=v100.
    """


_name = click.argument("name")
_overrides = click.argument("overrides", nargs=-1)
_retry = click.option(
    "--retry-errors", is_flag=True, help="Send cells again whose shared error stopped the sweep."
)
_wait = click.option(
    "--wait", is_flag=True, help="Stay and show progress; Ctrl-C leaves the jobs running."
)


@main.command()
@_name
@_overrides
@_retry
@_errors
def plan(name: str, overrides: Sequence[str], retry_errors: bool) -> None:
    """Show what `submit` would send: cells, tasks, arrays, hours. Changes nothing."""
    request = _expand(name, overrides)
    sbatch.check(request.launcher)
    tables.draft(draft(request, retry_errors))


@main.command(name="submit")
@_name
@_overrides
@_retry
@_wait
@_errors
def submit_(name: str, overrides: Sequence[str], retry_errors: bool, wait: bool) -> None:
    """Send every cell that is neither done nor under way, and return."""
    _send(_expand(name, overrides), retry_errors, wait)


@main.command(name="calibrate")
@_name
@_overrides
@click.option(
    "--epochs",
    type=click.IntRange(2),
    default=calibration.EPOCHS,
    show_default=True,
    help="Epochs to train.",
)
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=calibration.STEPS,
    show_default=True,
    help="Or steps, likewise.",
)
@click.option(
    "--side-by-side", "counts", type=click.IntRange(1), multiple=True, metavar="N",
    help="Copies of each that share a task; given several times, one number is measured after the "
         "other.",
)  # fmt: skip
@_errors
def calibrate_(
    name: str, overrides: Sequence[str], epochs: int, steps: int, counts: Sequence[int]
) -> None:
    """Train the smallest and the largest cell for a moment, through the launcher, and tell what
    they take.

    The results stay in logs/NAME/calibration, for `plan` and `status` to count with; they are none
    of the sweep's. Of several numbers side by side, task.at_a_time=auto takes for each cell the one
    that wins.
    """
    asked = _expand(name, overrides)
    each: Sequence[int | None] = sorted(set(counts)) or [None]
    for count in each:
        small = calibration.outdated(calibration.request(asked, epochs, steps, count), code_hash())
        _, frozen = submission.submit(small, retry_errors=True, again=True)
        status_.until_end(small.folder, frozen.sid if frozen else None)
    found = calibration.report(asked)
    tables.calibration(found)
    if {cell.id for cell in calibration.extremes(asked.cells)} - {
        m.cell.id for m in found if not m.failure
    }:
        status_.once(asked.folder / CALIBRATION)
        sys.exit(1)
    tables.out.print(f"the sweep: {tables.hours(draft(asked))}")


@main.command()
@_name
@_overrides
@_retry
@_wait
@_errors
def resume(name: str, overrides: Sequence[str], retry_errors: bool, wait: bool) -> None:
    """Send what failed, was interrupted or is missing, from its checkpoints.

    The cells are those of the earlier plans, not of the sweep file; OVERRIDES may change the
    launcher alone (hydra/launcher=..., hydra.launcher.KEY=..., task.KEY=...).
    """
    _send(submission.resumed(folder_of(name), overrides), retry_errors, wait)


class _Seconds(click.ParamType[float]):
    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(
                f"found {value!r}, expected seconds; write NAME before --watch", param, context
            )
        if seconds < status_.LEAST_SECONDS:
            self.fail(
                f"found {value} s, expected at least {status_.LEAST_SECONDS:.0f}", param, context
            )
        return seconds


@main.command()
@_name
@click.option(
    "--cells",
    is_flag=True,
    help="List every cell: id, state, how far it is, and what varies between them.",
)
@click.option(
    "--failed", is_flag=True, help="Group the failures by the last line of their traceback."
)
@click.option(
    "--watch",
    is_flag=False,
    flag_value=30.0,
    type=_Seconds(),
    help="Refresh every SECONDS, 30 if none are given.",
)
@_errors
def status(name: str, cells: bool, failed: bool, watch: float | None) -> None:
    """Show one table: how many cells are in which state, hours spent and left, expected end,
    failures.
    """
    folder = folder_of(name)
    if cells:
        tables.cells(sweep_state.observe(folder))
    elif failed:
        status_.failed(folder)
    elif watch is not None:
        status_.watch(folder, watch)
    else:
        status_.once(folder)


@main.command(name="cancel")
@_name
@click.argument("where", nargs=-1)
@_errors
def cancel_(name: str, where: Sequence[str]) -> None:
    """End the jobs of a sweep, or only the cells that meet every condition of WHERE, as
    model.width=64.

    What they computed stays; `resume` and `submit` bring them back.
    """
    done = cancel.cancel(folder_of(name), where)
    if not done.cells:
        tables.out.print(
            f"{name}: nothing {'that meets this ' if where else ''}was running or waiting"
        )
    else:
        tables.out.print(
            f"cancelled {done.cells} cells, {done.tasks} whole tasks; running cells save first"
        )
    for complaint in done.complaints:
        tables.out.print(
            f"[yellow]not confirmed:[/yellow] {escape(complaint)}. The cells are marked: a task "
            "that runs or starts "
            "leaves them out; to take waiting tasks out of the queue, run this again"
        )


_cell = click.argument("cell")
_sweep = click.option(
    "--sweep", default="*", help="Name of the sweep, where several hold the cell."
)


@main.command(name="why")
@_cell
@_sweep
@_errors
def why_(cell: str, sweep: str) -> None:
    """Show why a cell stands as it does: state, attempts, last rows, traceback, what to do. CELL
    may be shortened.
    """
    why.why(*cell_of(cell, sweep))


@main.command()
@_cell
@_sweep
@click.option("--lines", default=20, show_default=True, help="Lines of the job's output to show.")
@click.option(
    "--follow", is_flag=True, help="Go on showing what the job writes, until the cell is over."
)
@_errors
def logs(cell: str, sweep: str, lines: int, follow: bool) -> None:
    """Show the end of the output of a cell's job; its state and traceback are in `why`. CELL may be
    shortened.
    """
    follow_.logs(*cell_of(cell, sweep), lines, follow)


@main.command()
@_name
@_errors
def compact(name: str) -> None:
    """Fold the parts of a sweep into its store: few shards, a runs table, a manifest."""
    from analysis.store.compact import compact as fold

    done = fold(folder_of(name))
    tables.out.print(
        f"{done.cells} cells, {done.rows} rows in {done.shards} shards; "
        f"{done.files_before} files became {done.files_after}"
    )
    if len(done.mismatches):
        tables.out.print(
            f"[yellow]{len(done.mismatches)} values were computed twice and differ[/yellow] "
            "(newest attempt kept):"
        )
        tables.out.print(escape(done.mismatches.head(10).to_string()))


@main.command(name="doctor")
@click.argument("overrides", nargs=-1)
@_errors
def doctor_(overrides: Sequence[str]) -> None:
    """Check this machine, its torch, SLURM, and the launcher's settings before anything is sent."""
    table = Table("check", "", "found")
    findings = doctor.examine(overrides)
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    for finding in findings:
        table.add_row(
            finding.check,
            f"[{colours[finding.verdict]}]{finding.verdict}[/]",
            escape(finding.found),
        )
    tables.out.print(table)
    sys.exit(1 if any(finding.verdict == "problem" for finding in findings) else 0)


@main.command(name="import-published")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@_errors
def import_published(source: Path, target: Path) -> None:
    """Turn the published arrays (four .npy files in SOURCE) into a store at TARGET, as
    logs/published.
    """
    from analysis.double_descent.published import import_published as fold

    fold(source, target)
    tables.out.print(
        f"{target}: a store like any other now; draw it with `python analysis/fig2_ab.py {target}`"
    )


def _expand(name: str, overrides: Sequence[str]) -> Request:
    return compose.expand_sweep(name, backend.with_launcher(overrides))


def _send(request: Request, retry_errors: bool, wait: bool) -> None:
    made, frozen = submission.submit(request, retry_errors)
    tables.draft(made)
    name = request.name
    if frozen is None:
        tables.out.print("nothing to send")
    else:
        tables.out.print(
            f"sent {len(made.todo)} cells as submission {frozen.sid}; `redescent status {name}` "
            "shows how they stand"
        )
        if request.policy.canary:
            tables.out.print(
                "they start when the smallest and the largest cells have ended well in "
                f"{name}/{CALIBRATION}; SLURM "
                "takes them out of the queue if one of those fails"
            )
    if wait:
        complete = status_.until_end(request.folder)
        status_.once(request.folder)
        sys.exit(0 if complete else 1)
