"""The command line: one function per command.

Each function imports what it needs, so that `redescent --help` loads neither pandas nor Hydra.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from launch.cli import options
from launch.cli.exits import Commands, fail, shows_errors
from launch.errors import FAILED, UserError, quantity
from launch.sweep.request import CALIBRATION_EPOCHS, CALIBRATION_STEPS


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="redescent")
def main() -> None:
    """Run sweeps over width, training time, regularisation and label noise, on SLURM or here.

    NAME is a file in configs/sweep/ and a folder in logs/. OVERRIDES use Hydra's grammar, such as
    'seeds=[0,1]' trainer.epochs=200 hydra/launcher=v100.
    """
    from launch.plan import project

    try:
        project.make_importable()
    except UserError as error:
        fail(str(error))


@main.command(short_help="Show what `submit` would send. Changes nothing.")
@options.name
@options.overrides
@options.retry_errors
@click.option("--sbatch", "script", is_flag=True, help="Print the sbatch scripts, not the preview.")
@options.as_json
@shows_errors
def plan(
    name: str, overrides: Sequence[str], retry_errors: bool, script: bool, as_json: bool
) -> None:
    """Show what `submit` would send: cells, tasks, arrays, hours. Changes nothing."""
    from launch.cli import sending
    from launch.cli.preview import print_preview, print_scripts, write_preview
    from launch.plan.folder import check_folder
    from launch.scheduler import sbatch
    from launch.submit.preview import check_canary, load_preview

    request = sending.expand(name, overrides)
    sbatch.check(request.launcher)
    check_folder(request.folder, request.launcher.kind)
    preview = load_preview(request, retry_errors=retry_errors)
    check_canary(preview)
    if script:
        print_scripts(preview)
    elif as_json:
        write_preview(preview)
    else:
        print_preview(preview)


@main.command(short_help="Send every cell that is not done, running or waiting.")
@options.name
@options.overrides
@options.retry_errors
@options.wait
@click.option(
    "--again",
    is_flag=True,
    help="Also train done cells again, from the start. Conditions among the "
    "OVERRIDES, such as 'model.width <= 16' or 'seed == 4', choose which of them.",
)
@shows_errors
def submit(
    name: str, overrides: Sequence[str], retry_errors: bool, wait: bool, again: bool
) -> None:
    """Send every cell that is not done, running or waiting.

    Returns at once unless --wait is given.
    """
    from dataclasses import replace

    from launch.cli import sending
    from launch.cli.words import conditions_and_overrides

    conditions, others = conditions_and_overrides(overrides) if again else ([], overrides)
    request = replace(sending.expand(name, others), again=conditions)
    sending.send(request, wait, others, retry_errors=retry_errors, rerun=again)


@main.command(short_help="Train a few cells briefly and show how long they take.")
@options.name
@options.overrides
@click.option(
    "--epochs",
    type=click.IntRange(2),
    default=CALIBRATION_EPOCHS,
    show_default=True,
    help="Epochs to train.",
)
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=CALIBRATION_STEPS,
    show_default=True,
    help="Steps to train, for trainers that count steps.",
)
@click.option(
    "--side-by-side",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Copies of each cell per task; repeat the option to measure several numbers.",
)
@shows_errors
def calibrate(
    name: str, overrides: Sequence[str], epochs: int, steps: int, counts: Sequence[int]
) -> None:
    """Train the smallest and largest cells briefly, through the launcher; show how long they take.

    The runs are kept in logs/NAME/calibration and are not results of the sweep; `plan` and `status`
    use their times. If you measure several numbers side by side, task.at_a_time=auto uses the best
    number for each cell.
    """
    from launch.cli import sending

    sending.calibrate(name, overrides, epochs, steps, counts)


@main.command(short_help="Send cells that failed, were interrupted or are missing.")
@options.sent_name
@options.launch_overrides
@options.retry_errors
@click.option(
    "--abandon-completing",
    is_flag=True,
    help="Also send the cells of tasks that SLURM has been completing for more than five minutes. "
    "If their processes are still alive, two attempts train the same cells at once: that costs "
    "time, and the store keeps one of them.",
)
@options.wait
@shows_errors
def resume(
    name: str, overrides: Sequence[str], retry_errors: bool, abandon_completing: bool, wait: bool
) -> None:
    """Send cells that failed, were interrupted or are missing; they resume from checkpoints.

    The cells come from earlier submissions, not from the sweep file. OVERRIDES may only change the
    launcher (hydra/launcher=..., hydra.launcher.KEY=..., task.KEY=...).
    """
    from launch.cli import sending
    from launch.cli.lookup import sweep_folder
    from launch.submit.resume import resume_request

    request = resume_request(sweep_folder(name), overrides)
    sending.send(request, wait, retry_errors=retry_errors, abandon_completing=abandon_completing)


@main.command(short_help="Show cells by state, a metric, hours and failures.")
@options.sent_name
@click.option(
    "--cells",
    is_flag=True,
    help="List every cell: id, state, progress, and the settings that vary.",
)
@click.option(
    "--failed", is_flag=True, help="Group the failures by the last line of their traceback."
)
@click.option(
    "--watch",
    is_flag=False,
    flag_value=30.0,
    type=options.Seconds(),
    help="Refresh every SECONDS (30 by default).",
)
@click.option("--metric", help="Metric to show, such as test_error, the default if it is logged.")
@options.as_json
@shows_errors
def status(
    name: str, watch: float | None, metric: str | None, as_json: bool, **choices: bool
) -> None:
    """Show the cells by state, a metric, what runs, hours, the expected end, and failures."""
    from launch.cli import status as views
    from launch.cli import tables
    from launch.cli.lookup import sweep_folder
    from launch.status import sweep_state

    folder = sweep_folder(name)
    if as_json and watch is not None:
        raise UserError("--json writes one object: found --watch too, expected one of the two")
    _check_views(choices, watch, metric if choices["failed"] or not as_json else None)
    if as_json and choices["failed"]:
        views.write_failures(folder)
    elif as_json:
        views.write_status(folder, metric, cells=choices["cells"])
    elif choices["cells"]:
        tables.print_cells(sweep_state.load_sweep_state(folder))
    elif choices["failed"]:
        views.print_failures(folder)
    elif watch is not None:
        views.watch(folder, watch, metric)
    else:
        views.print_status(folder, metric)


@main.command(short_help="Write a sweep as one HTML page.")
@click.argument("name", required=False, shell_complete=options.complete("sweep_folders"))
@click.option(
    "--watch",
    is_flag=False,
    flag_value=30.0,
    type=options.Seconds(),
    help="Write the page again every SECONDS (30 by default) until no cell runs or waits.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, as for a log folder that you may only read.",
)
@shows_errors
def report(name: str | None, watch: float | None, show: bool, out: Path | None) -> None:
    """Write a sweep as one HTML page, logs/NAME/report.html; without NAME an index of all sweeps.

    The page needs no network and no server. While it is rewritten, an open page follows.
    """
    from launch.cli import report as pages
    from launch.cli.lookup import sweep_folder
    from launch.plan.project import logs_folder

    if name is not None:
        pages.report(sweep_folder(name), watch, out=out, show=show)
    elif watch is None and out is None:
        pages.report_index(logs_folder(), show=show)
    else:
        raise UserError("--watch and --out are for the page of one sweep: expected NAME")


@main.command(name="list", short_help="Show all sweeps, one line each.")
@options.as_json
@shows_errors
def list_sweeps(as_json: bool) -> None:
    """Show all sweeps, one line each: cells by state, hours spent and left."""
    from launch.cli import report as pages
    from launch.plan.project import logs_folder

    pages.print_sweeps(logs_folder(), as_json=as_json)


@main.command(short_help="End the jobs of a sweep, or of some of its cells.")
@options.sent_name
@click.argument("where", nargs=-1)
@shows_errors
def cancel(name: str, where: Sequence[str]) -> None:
    """End the jobs of a sweep, or only the cells that meet every condition of WHERE.

    A condition looks like model.width=64; quote one with < or >. Conditions also choose cells
    that ended without a result, and the sweep is complete without them. Logged rows are kept;
    `resume` and `submit` send the cells again. Done cells that train again keep their result;
    `submit --again` sends them.
    """
    from launch.cli import cancel as cancellation

    cancellation.cancel(name, where)


@main.command(short_help="Explain the state of a cell and what to do.")
@options.cell
@options.sweep_of_cell
@options.as_json
@shows_errors
def why(cell: str, sweep: str, as_json: bool) -> None:
    """Explain the state of a cell: attempts, last rows, traceback, what to do.

    CELL is an id or its beginning.
    """
    from launch.cli import why as explanation
    from launch.cli.lookup import find_cell

    explanation.why(*find_cell(cell, sweep), as_json=as_json)


@main.command(short_help="Show the end of the output of a cell's job.")
@options.cell
@options.sweep_of_cell
@click.option(
    "--lines",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Lines of the job's output to show.",
)
@click.option("--follow", is_flag=True, help="Keep printing the output until the cell ends.")
@shows_errors
def logs(cell: str, sweep: str, lines: int, follow: bool) -> None:
    """Show the end of the output of a cell's job; `why` shows its state and traceback.

    CELL is an id or its beginning.
    """
    from launch.cli import logs as output
    from launch.cli.lookup import find_cell

    output.logs(*find_cell(cell, sweep), lines, follow)


@main.command(short_help="Merge the parts of a sweep into its store.")
@options.sent_name
@shows_errors
def compact(name: str) -> None:
    """Merge the parts of a sweep into its store: a few shards, a runs table, a manifest."""
    from analysis.store.compact import compact as merge_parts
    from launch.cli.console import console, styled
    from launch.cli.lookup import sweep_folder

    result = merge_parts(sweep_folder(name))
    console.print(
        f"{quantity(result.cells, 'cell')}, {quantity(result.rows, 'row')} in "
        f"{quantity(result.shards, 'shard')}; "
        f"{quantity(result.files_before, 'file')} became {result.files_after}"
    )
    if len(result.mismatches):
        count = f"{quantity(len(result.mismatches), 'value')} differed when computed twice"
        console.print(styled((count, "yellow"), " (the newest attempt is kept):"))
        console.print(result.mismatches.head(10).to_string())


@main.command(short_help="Write a project of your own into FOLDER.")
@click.argument("folder", type=click.Path(path_type=Path))
@shows_errors
def init(folder: Path) -> None:
    """Write a project into FOLDER: a model, a data set, a sweep and a figure of your own.

    All commands work inside it; its README.md explains each part.
    """
    from launch.cli import init as example

    example.init(folder)


@main.command(short_help="Check this machine and the launcher before you send jobs.")
@options.overrides
@options.as_json
@shows_errors
def doctor(overrides: Sequence[str], as_json: bool) -> None:
    """Check Python, torch, SLURM, the launcher's settings and the disk before you send jobs."""
    from launch.cli import doctor as checks

    findings = checks.examine(overrides)
    if as_json:
        checks.write_findings(findings)
    else:
        checks.print_findings(findings)
    sys.exit(FAILED if any(finding.verdict == "problem" for finding in findings) else 0)


@main.command(short_help="Print what lets your shell complete commands and keys.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@shows_errors
def completion(shell: str) -> None:
    """Print what lets your shell complete commands, sweeps, cells and keys.

    For bash, add `eval "$(redescent completion bash)"` to ~/.bashrc.
    """
    from launch.cli.completion import script

    print(script(shell, main))


@main.command(name="import-published", short_help="Write the published arrays as a store.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@shows_errors
def import_published(source: Path, target: Path) -> None:
    """Write the published arrays (four .npy files in SOURCE) as a store at TARGET.

    TARGET is a folder such as logs/published.
    """
    from analysis.double_descent import published
    from launch.cli.console import console

    published.import_published(source, target)
    console.print(f"wrote a store to {target}; draw it with `python analysis/fig2_ab.py {target}`")


if "_REDESCENT_COMPLETE" in os.environ:  # the shell asks
    from launch.cli.completion import register

    register()


def _check_views(choices: Mapping[str, bool], watch: float | None, metric: str | None) -> None:
    """Raise UserError for options of `status` of which one would be ignored."""
    views = [f"--{name}" for name, is_chosen in choices.items() if is_chosen]
    if views and metric is not None:
        raise UserError(f"{views[0]} shows no metric: found --metric too, expected one of the two")
    if watch is not None:
        views.append("--watch")
    if len(views) > 1:
        raise UserError(f"found {' and '.join(views)}, expected one of them")
