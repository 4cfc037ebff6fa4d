"""Cells that are done with other code, or with other data, than those of the present."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import store
from launch.plan import result_code
from launch.plan.outcome import FINAL
from launch.plan.result_code import Sources
from launch.status.sweep_state import SweepState
from trainers import config as schema


def present_sources(state: SweepState, packages: Collection[str] = ()) -> Sources:
    """The sources that results would depend on now, with the user's packages of a sweep's plans,
    and other `packages`.
    """
    names = frozenset(packages)
    for plan in state.plans:
        names |= plan.own_packages
    return result_code.present_sources(sorted(names))


def planned_sources(state: SweepState, code: str) -> Sources:
    """The sources with the hash `code` that results depend on, from the sweep's archives."""
    return result_code.archived_sources(_archive(state, code))


def with_other_code(state: SweepState, sources: Sources) -> list[str]:
    """Ids of the cells whose result comes, in part at least, from code that differs from `sources`
    in what it says.

    Cells whose code is no longer in the sweep's archives are not among them: nothing is known.
    """
    if state.runs.empty:
        return []
    return _of_other_code(state, state.runs[state.runs["status"].isin(FINAL)], sources)


def continue_other_code(state: SweepState, cells: Collection[str], sources: Sources) -> list[str]:
    """Ids of those of `cells` that would continue a checkpoint of code that differs from `sources`
    in what it says.

    A done cell has a checkpoint if it trained again and was interrupted.
    """
    if state.runs.empty:
        return []
    checkpoints = (state.folder / "checkpoints").glob("*.pt")
    with_checkpoint = {path.name.partition(".")[0] for path in checkpoints}
    runs = state.runs[state.runs["cell"].astype(str).isin(with_checkpoint.intersection(cells))]
    is_done = runs["status"].isin(FINAL)
    interrupted = [store.records(state.folder, cell)[-1] for cell in runs[is_done]["cell"]]
    records = pd.concat([runs[~is_done], pd.DataFrame(interrupted)], ignore_index=True)
    return _of_other_code(state, records, sources)


def _of_other_code(state: SweepState, runs: pd.DataFrame, sources: Sources) -> list[str]:
    """The cells of these records of which some code differs from `sources`."""
    cells_of_codes: dict[str, set[str]] = {}
    for column in ("code", "earlier_code"):
        recorded = runs.reindex(columns=["cell", column]).dropna()
        for cell, codes in recorded.astype(str).itertuples(index=False):
            for code in codes.split():
                cells_of_codes.setdefault(code, set()).add(cell)
    others: set[str] = set()
    for code, cells in cells_of_codes.items():
        if not result_code.same_results(planned_sources(state, code), sources):
            others |= cells
    return [cell for cell in runs["cell"].astype(str) if cell in others]


def _archive(state: SweepState, code: str) -> Path:
    return state.folder / "code" / f"{code}.zip"


@dataclass(frozen=True)
class DataComparison:
    """Ids of the cells whose result comes from other data than those of the present, and of those
    of which that is unknown: their record, or the files here, lack a hash of the contents.
    """

    other: Sequence[str]
    unknown: Sequence[str]


def compare_data(
    runs: pd.DataFrame, configurations: Mapping[str, Mapping[str, Any]]
) -> DataComparison:
    """The results of a runs table beside the data that their configurations name now.

    `configurations` are flat, by id. Where files cannot be read here, the newest result tells what
    a job read last. Cells without a result, and data without files, are in neither list.
    """
    results = _results(runs, "source_hash")
    present: dict[tuple[str, str], str | None] = {}
    other, unknown = [], []
    for cell, flat in configurations.items():
        if cell not in results or flat.get("data.root") is None:
            continue
        place = _place(flat)
        if place not in present:
            present[place] = _source_hash(flat) or _newest(runs, configurations, place)
        if None in (present[place], results[cell]):
            unknown.append(cell)
        elif present[place] != results[cell]:
            other.append(cell)
    return DataComparison(other, unknown)


def _place(flat: Mapping[str, Any]) -> tuple[str, str]:
    return str(flat["data.name"]), str(flat["data.root"])


def _newest(
    runs: pd.DataFrame, configurations: Mapping[str, Mapping[str, Any]], place: tuple[str, str]
) -> str | None:
    """The hash of the newest result of data from a place that has one."""
    if "updated" not in runs or "source_hash" not in runs:
        return None
    hashes = runs[runs["source_hash"].notna()].sort_values("updated", ascending=False)
    for cell, source_hash in zip(hashes["cell"], hashes["source_hash"], strict=True):
        flat = configurations.get(str(cell))
        if flat is not None and flat.get("data.root") is not None and _place(flat) == place:
            return str(source_hash)
    return None


def _source_hash(flat: Mapping[str, Any]) -> str | None:
    try:
        return schema.source_hash(schema.parse(flat).data)
    except ValueError:  # a class that is not here any more
        return None


def _results(runs: pd.DataFrame, column: str) -> dict[str, str | None]:
    """A column of the records of all cells that have a result; None where it has no value."""
    if runs.empty:
        return {}
    finished = runs[runs["status"].isin(FINAL)]
    cells: Sequence[str] = finished["cell"].astype(str).tolist()
    if column not in finished:
        return dict.fromkeys(cells)
    values = finished[column].astype(object).where(finished[column].notna(), None)
    return dict(zip(cells, values.tolist(), strict=True))
