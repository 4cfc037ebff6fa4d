"""A few epochs of the smallest and the largest cell, to know what a sweep will cost and whether it starts well.

They run through the sweep's own launcher, as a sweep of their own in `logs/NAME/calibration`: they are never a result
of the sweep, and `cost` reads what was measured there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import store
from launch import cost, identity, observe, plan, state
from launch.compose import Cell, Policy, Request

EPOCHS, STEPS = 5, 1000
"""Length of a calibration, by what its trainer counts. Its second half is what counts: it begins with loading and
compiling, and with evaluations that grow rare only later."""

MOST = 16
"""Kinds of cells that are tried out: both ends of the widths, for every kind that is the same but for its width."""


def request(asked: Request, epochs: int = EPOCHS, steps: int = STEPS) -> Request:
    """The calibration of a sweep. As many copies as train side by side go into one task, to feel each other."""
    cells = [copy for cell in extremes(asked.cells) for copy in _copies(asked, cell, epochs, steps)]
    packing = replace(asked.packing, cells=asked.packing.at_a_time or 1)
    return replace(asked, name=plan.CALIBRATION, logs=asked.folder, cells=cells, packing=packing, policy=Policy())


def extremes(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and the largest cell by `model.width`, of every kind that is the same but for it; at most MOST."""
    flats = pd.DataFrame([dict(cell.flat) for cell in cells])
    families = cost.families(flats)
    widths = pd.to_numeric(flats["model.width"]) if "model.width" in flats else pd.Series(0, flats.index)
    groups = [widths[families == family] for family in np.unique(families)]
    found = list(dict.fromkeys(row for group in groups for row in (group.idxmin(), group.idxmax())))
    found.sort(key=lambda row: (widths[row], row))
    kept = np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int))
    return [cells[found[i]] for i in kept]


def measured(sweep: Path) -> pd.DataFrame:
    """The calibrations of a sweep as a runs table whose `seconds`, `epochs` and `steps` are of their second half."""
    folder = sweep / plan.CALIBRATION
    if not any((folder / "runs").glob("*.parquet")):
        return pd.DataFrame()
    runs = store.runs(folder)
    runs = runs[runs["status"].isin(state.FINAL)].set_index("cell")
    if runs.empty:
        return pd.DataFrame()
    rows = store.curves(folder, columns=["step", "seconds"], cells=list(runs.index))
    for cell, group in rows[rows["step"] > 0].groupby("cell", observed=True):
        first, last = group[group["step"] >= group["step"].iloc[-1] / 2].iloc[0], group.iloc[-1]
        if first["step"] < last["step"]:
            runs.loc[cell, "seconds"] = last["seconds"] - first["seconds"]
            runs.loc[cell, "epochs"] = last["epoch"] - first["epoch"]
            runs.loc[cell, "steps"] = last["step"] - first["step"]
    return runs.reset_index()


@dataclass(frozen=True)
class Measurement:
    """What a calibration found for one cell: seconds of an epoch (or step), of the whole run, bytes of its process."""

    cell: Cell
    unit: str
    seconds: float
    whole: float
    memory: int


def report(asked: Request, epochs: int = EPOCHS, steps: int = STEPS) -> list[Measurement]:
    """What was measured of a sweep's smallest and largest cells: medians over their copies, and the largest memory."""
    found = measured(asked.folder)
    rows = []
    for cell in extremes(asked.cells):
        ids = [copy.id for copy in _copies(asked, cell, epochs, steps)]
        runs = found[found["cell"].isin(ids)] if len(found) else found
        if len(runs):
            seconds = float((runs["seconds"] / cost.logged(runs)).median())
            length = float(cost.planned(pd.DataFrame([dict(cell.flat)])).iloc[0])
            unit = "epoch" if cell.flat.get("trainer.steps") is None else "step"
            rows.append(Measurement(cell, unit, seconds, seconds * length, int(runs["peak_memory_bytes"].max())))
    return rows


def with_calibrations(sweep: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """A sweep's runs table with the rows of its calibrations, to take times from."""
    found = measured(sweep)
    return runs if found.empty else pd.concat([runs, found], ignore_index=True)


def stale(asked: Request, code: str) -> bool:
    """Whether the cells of a calibration were measured by other code than that which stands now."""
    folder = asked.folder
    if not any((folder / "runs").glob("*.parquet")):
        return False
    runs = store.runs(folder)
    ours = runs[runs["cell"].isin([cell.id for cell in asked.cells])]
    return bool((ours["code"].dropna() != code).any())


def failed(sweep: Path) -> list[tuple[str, str]]:
    """Id and traceback of the cells of a sweep's newest calibration that failed."""
    folder = sweep / plan.CALIBRATION
    plans = plan.load_all(folder)
    if not plans:
        return []
    runs = store.runs(folder)
    runs = runs[runs["cell"].isin([cell.id for cell in plans[-1].cells]) & (runs["status"] == "failed")]
    return [(row["cell"], row["error"] or "") for row in runs.to_dict("records")]


def jobs(asked: Request) -> list[str]:
    """SLURM jobs of a calibration that are still to end."""
    seen = observe.observe(asked.folder)
    wanted = {cell.id for cell in asked.cells}
    live = [cell.placement for cell in seen.cells.values() if cell.id in wanted and cell.state in state.LIVE]
    ids = (observe.job_of(seen, place.sid, place.task) for place in live)
    return sorted({job.partition("_")[0] for job in ids if job})


def _copies(asked: Request, cell: Cell, epochs: int, steps: int) -> list[Cell]:
    """The short runs of a cell, one for every cell that trains at a time; they differ by their seed."""
    short = {**cell.flat, **_short(cell, epochs, steps)}
    flats = [{**short, "seed": seed} for seed in range(asked.packing.at_a_time or 1)]
    return [Cell(identity.cell_id(flat), flat) for flat in flats]


def _short(cell: Cell, epochs: int, steps: int) -> dict[str, int]:
    if cell.flat.get("trainer.steps") is not None:
        return {"trainer.steps": min(steps, cell.flat["trainer.steps"])}
    return {"trainer.epochs": min(epochs, cell.flat["trainer.epochs"])}
