"""How many cells share a task, from what calibrations measured: `task.at_a_time=auto`. Pure.

`calibration` is always the table of `calibration_runs`, with one row per short run. In addition to
the columns of a runs table it has `measured_seconds` and `measured_epochs` (or `measured_steps`),
how many cells trained at the same time (`concurrency`, NaN for one per core), the task (`place`),
the time at which the run began to train (`began`) and the `resources`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from launch.cost import rates
from launch.errors import UserError, quantity
from launch.plan.outcome import FINAL
from launch.sweep.request import AUTO, Cell, Concurrency, Request

NEAR_BEST = 0.9
"""The smallest number with this share of the best throughput wins: fewer cells at a time end
sooner, leave memory to spare, and lose less when their task is preempted. Calibrations vary by a
few percent anyway."""

OVERLAP = 0.5
"""All copies must have trained at once for at least this share of the measured time; otherwise the
timing does not show what sharing costs."""

_MEASURED = {
    "measured_seconds": "seconds",
    "measured_epochs": "epochs",
    "measured_steps": "steps",
}


def measured_runs(calibration: pd.DataFrame) -> pd.DataFrame:
    """The calibration as a runs table of the measured part of each run."""
    whole_run = [column for column in _MEASURED.values() if column in calibration]
    return calibration.drop(columns=whole_run).rename(columns=_MEASURED)


def throughput_by_group(calibration: pd.DataFrame) -> pd.DataFrame:
    """Epochs (or steps) a second of all copies together: `group`, `concurrency`, `throughput`.

    One row per group of similar cells and number of copies, if every copy succeeded. The pace is
    the median over the copies that trained at the same time.
    """
    copies = pd.DataFrame(
        {
            "group": _speed_groups(calibration),
            "concurrency": calibration["concurrency"],
            "place": calibration["place"],
            "pace": rates.pace(measured_runs(calibration)),
        }
    )
    is_final = calibration["status"].isin(FINAL)
    all_ended = is_final.groupby([copies["group"], copies["concurrency"]]).transform("all").eq(True)
    comparable = all_ended & _trained_together(calibration, copies)
    pace = copies[comparable].groupby(["group", "concurrency"])["pace"].median().dropna()
    table = pace.reset_index()
    table["throughput"] = table["concurrency"] / table["pace"]
    return table[["group", "concurrency", "throughput"]]


def _trained_together(calibration: pd.DataFrame, copies: pd.DataFrame) -> pd.Series[bool]:
    """Whether the copies in the task of each row were complete and trained at the same time."""
    task = [copies["group"], copies["concurrency"], copies["place"]]
    first_end = calibration["updated"].groupby(task).transform("min")
    last_start = calibration["began"].groupby(task).transform("max")
    longest = calibration["measured_seconds"].groupby(task).transform("max")
    present = copies["group"].groupby(task).transform("size")
    return (first_end - last_start >= OVERLAP * longest) & (present >= copies["concurrency"])


def best_concurrency(calibration: pd.DataFrame) -> pd.Series[float]:
    """The best number of concurrent cells for each row of a calibration; NaN if none was measured.

    It is the smallest number with at least `NEAR_BEST` of the best throughput.
    """
    table = throughput_by_group(calibration)
    best = table.groupby("group")["throughput"].transform("max")
    near_best = table[table["throughput"] >= NEAR_BEST * best]
    winner = near_best.groupby("group")["concurrency"].min()
    groups = pd.Series(_speed_groups(calibration), calibration.index)
    return groups.map(winner).astype(float)


def concurrency_of(
    cells: pd.DataFrame, calibration: pd.DataFrame, *, across_families: bool = False
) -> pd.Series[float]:
    """How many of each of `cells` (flat configurations) train best at a time; NaN if not measured.

    Between two measured widths of otherwise equal cells, the number is interpolated, linearly in
    both logarithms, and rounded down. The logarithm of a cell's memory is convex in the logarithm
    of its width, so the total memory stays below that at one of the two ends, which was enough.
    With `across_families`, a cell that resembles no measured run gets the smallest number measured
    at its width, interpolated in the same way.
    """
    numbers = pd.Series(np.nan, cells.index)
    if calibration.empty or cells.empty:
        return numbers
    best = best_concurrency(calibration)
    width, measured_width = _log_width(cells), _log_width(calibration)
    families, measured_families = rates.speed_groups(cells, calibration, without=rates.WIDTH)
    for family in np.unique(families):
        rows, like = families == family, measured_families == family
        numbers[rows] = interpolate_over_width(width[rows], measured_width[like], best[like])
    if not across_families:
        return numbers
    least = interpolate_over_width(width, measured_width, best)
    return numbers.where(numbers.notna(), least)


def choose(
    request: Request,
    cells: Sequence[Cell],
    calibration: pd.DataFrame,
    *,
    across_families: bool,
    one_task: bool,
) -> list[Concurrency]:
    """How many cells train at a time in the task of each cell, by `task.at_a_time`.

    For "auto", the number comes from calibrations with the same resources; with `one_task` it is
    the smallest of all. Raises UserError if the number for a cell is not known.
    """
    if request.packing.at_a_time != AUTO:
        return [request.packing.at_a_time] * len(cells)
    like = with_resources(calibration, request.launcher.resources)
    flats = pd.DataFrame([dict(cell.flat) for cell in cells])
    numbers = concurrency_of(flats, like, across_families=across_families)
    unmeasured = [cell for cell, missing in zip(cells, numbers.isna(), strict=True) if missing]
    if unmeasured:
        raise UserError(_not_measured(request, unmeasured, len(cells)))
    if one_task:
        numbers = numbers.clip(upper=numbers.min())
    return [int(number) for number in numbers]


def _not_measured(request: Request, unmeasured: Sequence[Cell], total: int) -> str:
    flat = unmeasured[0].flat
    return (
        f"task.at_a_time={AUTO}: no calibration with this launcher covers {len(unmeasured)} of "
        f"{quantity(total, 'cell')}, for example model.name={flat.get('model.name')} with "
        f"model.width={flat.get('model.width')}. Run `redescent "
        f"calibrate {request.name} --side-by-side 1 --side-by-side 2 --side-by-side 4` with the "
        "same overrides, or give task.at_a_time a number"
    )


def with_resources(calibration: pd.DataFrame, resources: str) -> pd.DataFrame:
    """The rows of a calibration that ran with these resources."""
    if calibration.empty:
        return calibration
    return calibration[calibration["resources"] == resources]


def with_calibrations(
    runs: pd.DataFrame,
    calibration: pd.DataFrame,
    concurrency: int | Literal["auto"] | None,
    resources: str,
) -> pd.DataFrame:
    """A sweep's runs table with its calibration runs added, to estimate times from.

    In each group of similar cells, only the runs that trained `concurrency` (or the best number) at
    a time are used; if there are none, all are.
    """
    if calibration.empty:
        return runs
    final_runs = calibration[calibration["status"].isin(FINAL)]
    if final_runs.empty:
        return runs
    if concurrency == AUTO:
        best = best_concurrency(with_resources(calibration, resources)).reindex(final_runs.index)
    else:
        best = pd.Series(math.nan if concurrency is None else float(concurrency), final_runs.index)
    one_a_core = final_runs["concurrency"].isna() & best.isna()
    fits = (final_runs["concurrency"] == best) | one_a_core
    group_fits = fits.groupby(_speed_groups(final_runs)).transform("any")
    return pd.concat([runs, measured_runs(final_runs[fits | ~group_fits])], ignore_index=True)


def interpolate_over_width(
    width: pd.Series[float], measured_width: pd.Series[float], best: pd.Series[float]
) -> pd.Series[float]:
    """Numbers at logarithms of widths, from the smallest best number at each measured width.

    NaN beyond the measured widths.
    """
    least = best.groupby(measured_width).min().dropna()
    if least.empty:
        return pd.Series(np.nan, width.index)
    logs = np.interp(width, least.index, np.log(least), left=np.nan, right=np.nan)
    numbers = np.floor(np.exp(logs) + 1e-9)  # the logarithm of 8 comes back as 7.999...
    return pd.Series(numbers, width.index)


def _speed_groups(calibration: pd.DataFrame) -> np.ndarray[Any, Any]:
    return rates.speed_groups(calibration, calibration.iloc[:0])[0]


def _log_width(cells: pd.DataFrame) -> pd.Series[float]:
    if rates.WIDTH not in cells:
        return pd.Series(0.0, cells.index)
    width = pd.to_numeric(cells[rates.WIDTH]).astype(float)
    return width.fillna(1.0).map(math.log)
