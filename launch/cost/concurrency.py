"""How many cells share a task, by what calibrations measured: `task.at_a_time=auto`. Pure.

`tried` is everywhere the table of `calibration_runs`: the calibrations' runs, with how many ran side
by side (`at_a_time`, NaN for one a core), in which task (`place`), since when (`began`) and through
which `resources`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from launch.cost import rates
from launch.errors import UserError
from launch.plan.outcome import FINAL
from launch.sweep.request import AUTO, Cell, Request

NEAR_BEST = 0.9
"""The smallest count with this share of the best throughput wins: fewer cells at a time end sooner,
leave memory to spare, and lose less when their task is preempted; a difference of some percent is
within what calibrations vary by."""

OVERLAP = 0.5
"""All copies must have trained at once for at least this share of the measured time; otherwise the
timing does not show what sharing costs."""


def throughput_by_group(tried: pd.DataFrame) -> pd.Series[float]:
    """Epochs (or steps) a second of all copies together, by kind of cell (its number) and count.

    Only for counts of which every copy ended well, by the median of those that trained at the same
    time.
    """
    kind, count = pd.Series(_groups(tried), tried.index, name="kind"), tried["at_a_time"]
    task = [kind, count, tried["place"]]
    overlap = tried["updated"].groupby(task).transform("min") - tried["began"].groupby(
        task
    ).transform("max")
    together = overlap >= OVERLAP * tried["seconds"].groupby(task).transform("max")
    enough = kind.groupby(task).transform("size") >= count
    ended = tried["status"].isin(FINAL).groupby([kind, count]).transform("all").eq(True)
    pace = (
        rates.pace(tried).where(together & enough & ended).groupby([kind, count]).median().dropna()
    )
    return pace.index.get_level_values("at_a_time") / pace


def best_concurrency(tried: pd.DataFrame) -> pd.Series[float]:
    """For every row of `tried` the count that wins for cells of its kind; NaN where none was
    measured.

    It is the smallest one whose throughput is within `NEAR_BEST` of the best.
    """
    found = throughput_by_group(tried)
    near = found[found >= NEAR_BEST * found.groupby("kind").transform("max")].reset_index()
    return (
        pd.Series(_groups(tried), tried.index)
        .map(near.groupby("kind")["at_a_time"].min())
        .astype(float)
    )


def counts(cells: pd.DataFrame, tried: pd.DataFrame, pooled: bool = False) -> pd.Series[float]:
    """How many of each of `cells` (flat configurations) train side by side best; NaN where that was
    not measured.

    Between two measured widths of cells that are alike otherwise the count is interpolated,
    linearly in both logarithms, and rounded down. The logarithm of a cell's memory is convex in
    that of its width, so that the memory of all together stays below that at one of the two ends,
    which was measured to suffice. With `pooled`, a cell of which nothing like it was measured takes
    the least count at its width among all others, interpolated likewise.
    """
    found = pd.Series(np.nan, cells.index)
    if tried.empty or cells.empty:
        return found
    won = best_concurrency(tried)
    families, known = rates.speed_groups(cells, tried, without=rates.WIDTH)
    width, measured_width = _log_width(cells), _log_width(tried)
    for family in np.unique(families):
        rows, like = families == family, known == family
        found[rows] = interpolate_over_width(width[rows], measured_width[like], won[like])
    return (
        found.where(found.notna(), interpolate_over_width(width, measured_width, won))
        if pooled
        else found
    )


def choose(
    request: Request,
    cells: Sequence[Cell],
    tried: pd.DataFrame,
    through: str,
    pooled: bool,
    one_task: bool,
) -> list[int | None]:
    """How many cells run side by side where each of `cells` does, by `task.at_a_time`; None for one
    a core.

    For "auto" these are `counts` by calibrations `through` like resources; in one task the least of
    them. Raises UserError where that of a cell is not known.
    """
    if request.packing.at_a_time != AUTO:
        return [request.packing.at_a_time] * len(cells)
    like = tried[tried["resources"] == through] if len(tried) else tried
    found = counts(pd.DataFrame([dict(cell.flat) for cell in cells]), like, pooled)
    if found.isna().any():
        flat = cells[int(found.isna().to_numpy().argmax())].flat
        raise UserError(
            f"task.at_a_time={AUTO}: how many cells pay side by side through this launcher was not "
            "measured for "
            f"{int(found.isna().sum())} of {len(cells)} cells, as "
            f"model.name={flat.get('model.name')} with "
            f"model.width={flat.get('model.width')}, nor for widths around. Run `redescent "
            f"calibrate {request.name} "
            "--side-by-side 1 --side-by-side 2 --side-by-side 4` with the same overrides, or give "
            "task.at_a_time a "
            "number"
        )
    return [int(count) for count in (found.clip(upper=found.min()) if one_task else found)]


def fewest(*counts: int | None) -> int | None:
    """The least of the counts that are given; None if none is."""
    return min((count for count in counts if count is not None), default=None)


def with_calibrations(
    runs: pd.DataFrame, tried: pd.DataFrame, at_a_time: int | Literal["auto"] | None, through: str
) -> pd.DataFrame:
    """A sweep's runs table with those of its calibrations, to take times from.

    Of every kind of cell those count that ran `at_a_time` side by side, or as many as win; where
    none did, all.
    """
    ended = tried[tried["status"].isin(FINAL)] if len(tried) else tried
    if ended.empty:
        return runs
    if at_a_time == AUTO:
        like = tried[tried["resources"] == through]
        wanted = best_concurrency(like).reindex(ended.index)
    else:
        wanted = pd.Series(np.nan if at_a_time is None else float(at_a_time), ended.index)
    fits = (ended["at_a_time"] == wanted) | (ended["at_a_time"].isna() & wanted.isna())
    known = fits.groupby(_groups(ended)).transform("any")
    return pd.concat([runs, ended[fits | ~known]], ignore_index=True)


def _groups(tried: pd.DataFrame) -> np.ndarray[Any, Any]:
    return rates.speed_groups(tried, tried.iloc[:0])[0]


def _log_width(cells: pd.DataFrame) -> pd.Series[float]:
    width = cells[rates.WIDTH] if rates.WIDTH in cells else pd.Series(np.nan, cells.index)
    return pd.to_numeric(width).astype(float).fillna(1.0).map(math.log)


def interpolate_over_width(
    width: pd.Series[float], measured: pd.Series[float], won: pd.Series[float]
) -> pd.Series[float]:
    """Counts at logarithms of widths, from the least that won at each measured one; NaN beyond
    these.
    """
    least = won.groupby(measured).min().dropna()
    if least.empty:
        return pd.Series(np.nan, width.index)
    logs = np.interp(width, least.index, np.log(least), left=np.nan, right=np.nan)
    return pd.Series(
        np.floor(np.exp(logs) + 1e-9), width.index
    )  # the logarithm of 8 comes back as 7.999...
