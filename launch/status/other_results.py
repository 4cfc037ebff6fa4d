"""Cells that are done with other code, or with other data, than those of the present."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from launch.errors import UserError
from launch.plan.outcome import FINAL
from launch.plan.snapshot import code_hash
from launch.status.sweep_state import SweepState
from trainers import config as schema


def present_codes(state: SweepState, packages: Iterable[frozenset[str]] = ()) -> frozenset[str]:
    """The hashes of the sources that jobs would import now, with the user's packages of each plan
    of a sweep, and with the `packages` of others.

    A package that cannot be imported here is left out: nothing is known about its code.
    """
    hashes = set()
    for group in {plan.own_packages for plan in state.plans} | set(packages):
        try:
            hashes.add(code_hash(group))
        except UserError:
            continue
    return frozenset(hashes)


def with_other_code(state: SweepState, codes: Collection[str]) -> list[str]:
    """Ids of the cells whose result comes from code with none of these hashes."""
    results = _results(state, "code")
    return [cell for cell, code in results.items() if codes and code not in codes]


def with_other_data(
    state: SweepState, configurations: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Ids of the cells whose result comes from other data than their configuration names now.

    `configurations` are flat, by id. Cells of data without files, with a record of an earlier
    version, or with files that cannot be read here, are not among them: nothing is known.
    """
    results = _results(state, "source_hash")
    present: dict[str, str | None] = {}
    cells = []
    for cell, flat in configurations.items():
        root = flat.get("data.root")
        if cell not in results or root is None:
            continue
        place = f"{flat['data.name']} {root}"
        if place not in present:
            present[place] = _source_hash(flat)
        if present[place] not in (None, results[cell]):
            cells.append(cell)
    return cells


def _source_hash(flat: Mapping[str, Any]) -> str | None:
    try:
        return schema.source_hash(schema.parse(flat).data)
    except ValueError:  # a class that is not here any more
        return None


def _results(state: SweepState, column: str) -> dict[str, str]:
    """A column of the records of all cells that have a result and a value there."""
    if column not in state.runs:
        return {}
    finished = state.runs[state.runs["status"].isin(FINAL) & state.runs[column].notna()]
    cells: Sequence[str] = finished["cell"].tolist()
    return dict(zip(cells, finished[column].tolist(), strict=True))
