"""A few epochs of the smallest and the largest cell, to know what a sweep will cost and whether it
starts well.

They run through the sweep's own launcher, as a sweep of their own in `logs/NAME/calibration`: they
are never a result of the sweep, and `cost` reads what was measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from analysis import store
from launch.cost import concurrency, rates
from launch.plan import identity, plan
from launch.plan.outcome import FINAL, LIVE
from launch.status import sweep_state
from launch.sweep.request import AUTO, CALIBRATION_EPOCHS, CALIBRATION_STEPS, Cell, Policy, Request

"""Length of a calibration, by what its trainer counts. Its second half is what counts: it begins
with loading and compiling, and with evaluations that grow rare only later."""

MOST = 16
"""Kinds of cells that are tried out: both ends of the widths, for every kind that is the same but
for its width.
"""


def calibration_request(
    asked: Request, epochs: int = EPOCHS, steps: int = STEPS, count: int | None = None
) -> Request:
    """The calibration of a sweep: of each of its extremes `count` copies, in one task that trains
    them side by side.

    Without a count as many as the packing says, and one where it leaves that open.
    """
    at_a_time = count or _counted(asked.packing.at_a_time)
    cells = [
        copy
        for cell in smallest_and_largest(asked.cells)
        for copy in _copies(cell, epochs, steps, at_a_time or 1)
    ]
    packing = replace(asked.packing, cells=at_a_time or 1, at_a_time=at_a_time)
    return replace(
        asked,
        name=plan.CALIBRATION,
        logs=asked.folder,
        cells=cells,
        packing=packing,
        policy=Policy(),
    )


def smallest_and_largest(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and the largest cell by `model.width`, of every kind that is the same but for
    it; at most MOST.
    """
    found = _ends(cells)
    kept = np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int))
    return [found[i] for i in kept]


def covers_all_families(cells: Sequence[Cell]) -> bool:
    """Whether no family of cells is left out of `smallest_and_largest`."""
    return len(_ends(cells)) <= MOST


def _ends(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and the largest cell of every family, by their width."""
    if not cells:
        return []
    flats = pd.DataFrame([dict(cell.flat) for cell in cells])
    families = rates.width_families(flats)
    widths = (
        pd.to_numeric(flats["model.width"]) if "model.width" in flats else pd.Series(0, flats.index)
    )
    groups = [widths[families == family] for family in np.unique(families)]
    found = list(dict.fromkeys(row for group in groups for row in (group.idxmin(), group.idxmax())))
    found.sort(key=lambda row: (widths[row], row))
    return [cells[row] for row in found]


def calibration_runs(sweep: Path) -> pd.DataFrame:
    """The calibrations of a sweep as a runs table, with how they ran; empty where there are none.

    `seconds`, `epochs` and `steps` of those that ended well are of their second half. `at_a_time`
    is how many cells their task ran side by side (NaN: one a core), `place` names this task and
    `resources` are those of its launcher; `began` is the Unix time at which they began to train.
    """
    folder = sweep / plan.CALIBRATION
    plans = plan.load_all(folder)
    if not plans:
        return pd.DataFrame()
    runs = store.runs(folder).set_index("cell")
    attempts = {
        cell: record.attempt for cell, record in sweep_state.records_of(runs.reset_index()).items()
    }
    ran = plan.ran_in(plans, dict.fromkeys(runs.index, np.inf) | attempts)
    if "updated" not in runs:  # nothing has begun
        return pd.DataFrame()
    runs = runs[runs.index.isin(list(ran))].copy()
    places = [ran[cell] for cell in runs.index]
    runs["at_a_time"] = pd.Series(
        [made.at_a_time(task) for made, task in places], runs.index, dtype=float
    )
    runs["place"] = [f"{made.sid}.{task}" for made, task in places]
    runs["began"] = runs["updated"] - runs["seconds"]
    runs["resources"] = [made.launcher.resources for made, _ in places]
    ended = list(runs.index[runs["status"].isin(FINAL)])
    rows = (
        store.curves(folder, columns=["step", "seconds"], cells=ended) if ended else pd.DataFrame()
    )
    for cell, group in rows[rows["step"] > 0].groupby("cell", observed=True) if ended else ():
        first, last = group[group["step"] >= group["step"].iloc[-1] / 2].iloc[0], group.iloc[-1]
        if first["step"] < last["step"]:
            runs.loc[cell, "seconds"] = last["seconds"] - first["seconds"]
            runs.loc[cell, "epochs"] = last["epoch"] - first["epoch"]
            runs.loc[cell, "steps"] = last["step"] - first["step"]
    return runs.reset_index()


@dataclass(frozen=True)
class Measurement:
    """What a calibration found for one cell: medians over the copies that trained side by side.

    Seconds of an epoch (or step) and of the whole run, bytes of the largest process. NaN and 0
    where a copy did not end well; `failure` then says how. `count` is None for one a core. Where
    `compared` is False the copies hardly trained at the same time, so that nothing follows for the
    count.
    """

    cell: Cell
    unit: str
    count: int | None
    seconds: float
    whole: float
    memory: int
    compared: bool
    wins: bool
    failure: str | None


def measurements(asked: Request) -> list[Measurement]:
    """What was measured of a sweep's smallest and largest cells through this launcher, for every
    count of copies.
    """
    found, through = (
        calibration_runs(asked.folder),
        asked.launcher.resources,
    )
    found = found[found["resources"] == through] if len(found) else found
    if found.empty:
        return []
    ends = smallest_and_largest(asked.cells)
    kinds, known = rates.speed_groups(pd.DataFrame([dict(cell.flat) for cell in ends]), found)
    tried_counts = pd.Series(found["at_a_time"]).groupby(known).transform("nunique")
    won = concurrency.best_concurrency(found).where(tried_counts > 1)  # over nothing, none wins
    return [
        _measurement(
            cell,
            None if count != count else int(count),
            runs,
            bool((won[runs.index] == count).all()),
        )
        for cell, kind in zip(ends, kinds, strict=True)
        for count, runs in found[known == kind].groupby("at_a_time", dropna=False)
    ]


def _measurement(cell: Cell, count: int | None, runs: pd.DataFrame, wins: bool) -> Measurement:
    unit = "epoch" if cell.flat.get("trainer.steps") is None else "step"
    others = runs[~runs["status"].isin(FINAL)]
    if len(others):
        how = others.get("error_class", pd.Series(dtype=str)).dropna()
        return Measurement(
            cell,
            unit,
            count,
            np.nan,
            np.nan,
            0,
            False,
            False,
            how.iloc[0] if len(how) else "did not end",
        )
    seconds = float(rates.pace(runs).median())
    length = float(rates.planned(pd.DataFrame([dict(cell.flat)])).iloc[0])
    memory, compared = (
        int(runs["peak_memory_bytes"].max()),
        not concurrency.throughput_by_group(runs).empty,
    )
    return Measurement(cell, unit, count, seconds, seconds * length, memory, compared, wins, None)


def still_to_measure(asked: Request, code: str) -> Request:
    """Of a calibration's request the cells to run: all copies of those of which not all ended well,
    side by side, in this code and through a like launcher."""
    found, copies = calibration_runs(asked.logs), asked.packing.cells or 1
    found = found[found["status"].isin(FINAL)] if len(found) else found
    if found.empty:
        return asked
    count = found["at_a_time"].fillna(0) == (asked.packing.at_a_time or 0)
    like = found["resources"] == asked.launcher.resources
    good = set(found["cell"][(found["code"] == code) & count & like])
    groups = [asked.cells[start : start + copies] for start in range(0, len(asked.cells), copies)]
    return replace(
        asked,
        cells=[c for group in groups for c in group if not all(copy.id in good for copy in group)],
    )


def failed_cells(sweep: Path, at_a_time: int | Literal["auto"] | None) -> list[tuple[str, str]]:
    """Id and traceback of the cells that failed in a sweep's newest calibration for this
    `task.at_a_time`.
    """
    folder = sweep / plan.CALIBRATION
    plans = [
        made for made in plan.load_all(folder) if made.packing["at_a_time"] == _counted(at_a_time)
    ]
    if not plans:
        return []
    runs = store.runs(folder)
    runs = runs[
        runs["cell"].isin([cell.id for cell in plans[-1].cells]) & (runs["status"] == "failed")
    ]
    return [(row["cell"], row["error"] or "") for row in runs.to_dict("records")]


def running_jobs(asked: Request) -> list[str]:
    """SLURM jobs of a calibration that are still to end."""
    seen = sweep_state.load_sweep_state(asked.folder)
    wanted = {cell.id for cell in asked.cells}
    live = [
        cell.placement for cell in seen.cells.values() if cell.id in wanted and cell.state in LIVE
    ]
    ids = (seen.job_id(place.sid, place.task) for place in live)
    return sorted({job.partition("_")[0] for job in ids if job})


def _counted(at_a_time: int | Literal["auto"] | None) -> int | None:
    """How many copies a calibration without a count trains side by side; None leaves it to the
    cores.
    """
    return 1 if at_a_time == AUTO else at_a_time


def _copies(cell: Cell, epochs: int, steps: int, count: int) -> list[Cell]:
    """The short runs of a cell that train side by side. Their seeds are those of no other count: 0;
    1, 2; 3, 4, 5.
    """
    short = {**cell.flat, **_short(cell, epochs, steps)}
    first = count * (count - 1) // 2
    flats = [{**short, "seed": seed} for seed in range(first, first + count)]
    return [Cell(identity.cell_id(flat), flat) for flat in flats]


def _short(cell: Cell, epochs: int, steps: int) -> dict[str, int]:
    if cell.flat.get("trainer.steps") is not None:
        return {"trainer.steps": min(steps, cell.flat["trainer.steps"])}
    return {"trainer.epochs": min(epochs, cell.flat["trainer.epochs"])}
