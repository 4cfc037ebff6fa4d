"""What a submission would send, as the terminal shows it: facts, warnings and scripts."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from rich.text import Text

from launch.cli import layout, machine
from launch.cli.console import console
from launch.cli.words import as_conditions
from launch.errors import UserError, quantity
from launch.plan.plan import CALIBRATION, name_of
from launch.report.drawing import shown_path
from launch.report.searches import expectation_rows
from launch.submit.data_check import check_data
from launch.submit.preview import Preview, beyond_limit
from launch.submit.selection import Selection
from launch.submit.submission import array_scripts
from launch.sweep.request import AUTO, Request


def write_preview(preview: Preview) -> None:
    """Write what a submission would send as JSON."""
    machine.write("plan", machine.plan(preview, preview_warnings(preview)))


def print_preview(preview: Preview) -> None:
    """Show what a submission sends, or would send: its facts, then its warnings."""
    layout.print_pairs(preview_rows(preview))
    for warning in preview_warnings(preview):
        layout.print_paragraph(Text(warning, "yellow"))


def print_meant_as_conditions(preview: Preview, overrides: Sequence[str]) -> None:
    """Say how a condition of --again is written, where it chose no done cell and an override of a
    key of the cells may have been meant as one.
    """
    request, selection = preview.request, preview.selection
    if selection.done_again or selection.training_again or request.again or not request.cells:
        return
    if not selection.states["new"]:  # cells of before, which are not done yet
        return
    conditions = as_conditions(overrides, request.cells[0].flat)
    if not conditions:
        return
    written = " ".join(shlex.quote(condition) for condition in conditions)
    text = (
        "--again found no done cell: an override with = changes the cells; a condition that "
        f"chooses among the done ones has ==, as in {written}"
    )
    layout.print_paragraph(Text(text, "yellow"))


def print_scripts(preview: Preview) -> None:
    """Print the script of each array that a submission sends, with a comment above each."""
    scripts = array_scripts(preview)
    for number, script in enumerate(scripts, 1):
        console.out(f"# array {number} of {len(scripts)}\n{script.rstrip()}", highlight=False)


def preview_rows(preview: Preview) -> list[tuple[str, str]]:
    """The facts of a submission as (name, value)."""
    request, selection = preview.request, preview.selection
    rows = [("folder", shown_path(request.folder)), ("launcher", launcher_text(request))]
    rows += expectation_rows(preview.searches)
    rows.append(("cells of the round" if preview.searches else "cells", str(len(request.cells))))
    rows += _rows_by_state(selection)
    rows.append(("to run", str(len(preview.cells))))
    if selection.done_again:
        kept = "earlier results stay until new ones are complete"
        rows.append(("  of them done", f"{selection.done_again}; {kept}"))
    if selection.continued_code:
        advice = f"remove {shown_path(request.folder)}/checkpoints/CELL.* to start a cell anew"
        rows.append(("  of other code so far", f"{selection.continued_code}; {advice}"))
    if selection.weights.jobs:
        rows.append(("  wait for weights", str(len(selection.weights.jobs))))
    if selection.weights.absent:
        rows.append(("  left out", str(len(selection.weights.absent))))
    rows.append(("tasks", _tasks(preview)))
    concurrencies = [task.concurrency for task in preview.tasks if task.concurrency]
    if request.packing.at_a_time == AUTO and concurrencies:
        rows.append(("side by side", f"{_span(concurrencies)} at a time, as measured"))
    if request.launcher.kind == "slurm":
        rows.append(("arrays", str(preview.arrays)))
    if not _is_first_here(preview):
        rows.append(("hours", hours(preview)))
    return [*rows, *_policy_rows(preview)]


def _rows_by_state(selection: Selection) -> list[tuple[str, str]]:
    """How many cells of the request are in each state, and what that leaves open."""
    rows = [(f"  {state}", str(count)) for state, count in sorted(selection.states.items())]
    advice = "--again trains them again"
    if selection.other_code:
        rows.append(("  done with other code", f"{selection.other_code}; {advice}"))
    if selection.training_again:
        rows.append(("  of the done, training again", str(selection.training_again)))
    if selection.unknown_data:
        rows.append(("  data not compared", f"{selection.unknown_data}; {advice}"))
    return rows


def _policy_rows(preview: Preview) -> list[tuple[str, str]]:
    """The canary and the limit of hours, if the request has them."""
    policy = preview.request.policy
    rows = []
    if policy.canary:
        order = (
            "the smallest and largest cells run first, unless they succeeded with this code "
            "before; the others start if these succeed"
        )
        rows.append(("canary", order))
    if policy.gpu_hours is not None:
        within = f"within limits.gpu_hours={policy.gpu_hours:g}"
        rows.append(("limit", beyond_limit(preview) or within))
    return rows


def launcher_text(request: Request) -> str:
    """The launcher with its resources, and why it was chosen."""
    launcher = request.launcher
    reason = f" ({request.why_launcher})" if request.why_launcher else ""
    if launcher.kind != "slurm":
        place = "in this process" if launcher.kind == "debug" else "on this machine"
        return f"{request.launcher_name}{reason}: cells train {place}"
    parts = [_partition(request)]
    if launcher.gpus:
        parts.append(quantity(launcher.gpus, "GPU"))
    if launcher.cores:
        parts.append(quantity(launcher.cores, "core"))
    if launcher.memory_gb:
        parts.append(f"{launcher.memory_gb:g} GB")
    if launcher.limit_minutes:
        noun = "minute" if launcher.limit_minutes == 1 else "minutes"
        parts.append(f"{launcher.limit_minutes:g} {noun}")
    return f"{request.launcher_name}{reason}: for each task {', '.join(parts)}"


def _partition(request: Request) -> str:
    """The partition, and where it comes from if the user did not name it."""
    partition = request.launcher.partition
    if not partition:
        return "the default partition"
    is_named = any("partition=" in text for text in request.chosen)
    is_variable = not is_named and partition == os.environ.get("SBATCH_PARTITION")
    return f"partition {partition}" + (", from SBATCH_PARTITION" if is_variable else "")


def _is_first_here(preview: Preview) -> bool:
    """Whether nothing like these cells was measured and no cluster has to grant their hours."""
    is_here = preview.request.launcher.kind != "slurm"
    return is_here and preview.unmeasured == len(preview.cells) and bool(preview.cells)


def _missing_data(preview: Preview) -> list[str]:
    """That `submit` will refuse the request, if its data is not here."""
    try:
        check_data([cell.flat for cell in preview.request.cells])
    except UserError as error:
        return [f"`redescent submit` will refuse this: {error}"]
    return []


def preview_warnings(preview: Preview) -> list[str]:
    """Warnings to show before sending, one sentence each."""
    selection = preview.selection
    warnings = [*_missing_data(preview), *selection.left_out]
    if selection.other_data:
        warnings.append(_other_data(preview))
    if selection.earlier_weights:
        warnings.append(_earlier_weights(preview))
    if selection.held_back.cells:
        warnings.append(_held_back(selection))
    if selection.needs_more_memory:
        warnings.append(
            f"{quantity(len(selection.needs_more_memory), 'cell')} ran out of memory although no "
            "other cell shared the task; request more memory with hydra.launcher.mem_gb=GB or a "
            "larger GPU, or pass --retry-errors"
        )
    if preview.reduced_concurrency:
        numbers = ", ".join(str(number) for number in preview.reduced_concurrency)
        warnings.append(
            f"cells that ran out of memory will train with fewer at the same time: {numbers}"
        )
    return warnings


def _other_data(preview: Preview) -> str:
    """That cells have results from other data, and the command that trains them on this one."""
    name, count = preview.request.name, len(preview.selection.other_data)
    have, are, them = ("has", "is", "it") if count == 1 else ("have", "are", "them")
    return (
        f"{quantity(count, 'cell')} of {name} {have} results from other data than data.root has "
        f"now, and {are} not sent: `redescent submit {name} --again` with the same overrides "
        f"trains {them} again, and name=OTHER keeps both"
    )


def _earlier_weights(preview: Preview) -> str:
    """That cells read weights of before a retraining, and the command that takes them again."""
    name, count = preview.request.name, len(preview.selection.earlier_weights)
    have, are, them = ("has", "is", "it") if count == 1 else ("have", "are", "them")
    return (
        f"{quantity(count, 'cell')} of {name} {have} results of weights that were trained again "
        f"since, and {are} not sent: `redescent submit {name} --again` with the same overrides "
        f"takes {them} again, and other done cells too unless conditions choose"
    )


def _held_back(selection: Selection) -> str:
    """That cells are held back because several failed with the same error, and what to do."""
    failed, others = len(selection.held_back.cells), selection.held_back_with_them
    are = "is" if failed == 1 else "are"
    rest = f", and {quantity(others, 'other')} with them" if others else ""
    return (
        f"{quantity(failed, 'failed cell')} {are} held back{rest}: several cells share the error "
        f"{selection.held_back.error!r} and the code has not changed. Fix it, or pass "
        "--retry-errors if the cause was outside the code"
    )


def hours(preview: Preview) -> str:
    """Measured hours; without a measurement, the most that the time limits allow."""
    if not preview.cells:
        return "0"
    unit = preview.estimate.unit
    estimate = f"{preview.estimate.hours:.2f} {unit}"
    if not preview.unmeasured:
        return f"{estimate}, from the measured seconds per epoch or step of similar cells"
    reason = f"unknown: no similar run was measured for {quantity(preview.unmeasured, 'cell')}"
    sweep = name_of(preview.request.folder).removesuffix(f"/{CALIBRATION}")
    hint = f"`redescent calibrate {sweep}` measures the smallest and largest"
    if preview.unmeasured < len(preview.cells):
        return f"{reason}; the others take {estimate}. {hint}"
    most = _most_hours(preview)
    if most is None:
        return f"{reason}. {hint}"
    limit = f"at most {_whole_hours(most, unit)} until the tasks reach their time limit"
    return f"{reason}; {limit}. {hint}"


def _whole_hours(hours: float, unit: str) -> str:
    """Rounded hours with their unit, such as "1 core-hour"; less than one as a fraction."""
    return f"{hours:.2g} {unit}" if hours < 1 else quantity(round(hours), unit.removesuffix("s"))


def _most_hours(preview: Preview) -> float | None:
    """Hours if every task runs until its time limit; None without a limit."""
    launcher = preview.request.launcher
    if launcher.kind != "slurm" or not launcher.limit_minutes:
        return None
    cores = launcher.cores or 1
    occupied = 0.0
    for task in preview.tasks:
        occupied += launcher.occupancy(task.concurrency).amount * (task.concurrency or cores)
    return float(launcher.limit_minutes) / 60 * occupied


def _tasks(preview: Preview) -> str:
    """How many tasks there are, and how many cells each has."""
    if not preview.tasks:
        return "0"
    sizes = [len(task.cells) for task in preview.tasks]
    noun = "cell" if set(sizes) == {1} else "cells"
    each = " each" if len(sizes) > 1 else ""
    return f"{len(sizes)} ({_span(sizes)} {noun}{each})"


def _span(numbers: Sequence[int]) -> str:
    """One number, or the smallest and the largest."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
