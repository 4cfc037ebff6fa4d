"""The content of plan.json, checked key by key, and the checksum that finds other changes.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from launch.errors import quantity
from launch.plan.identity import ids_of
from launch.plan.launcher import Launcher
from launch.plan.reader import (
    Damaged,
    Fields,
    NewerCode,
    as_indices,
    as_object,
    each,
    without,
    wrong,
)
from launch.plan.search import SETTINGS, Search

BACKENDS = ("slurm", "local", "debug")
"""Where the tasks of a plan can run."""

NOT_IN_CHECKSUM = ("checksum", "created")
"""The time can be corrected by hand, as after a clock that was wrong."""

CellFields = tuple[str, int, Mapping[str, Any], int]
"""Id, base, values and attempts of a planned cell."""


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a plan, without `NOT_IN_CHECKSUM`."""
    kept = without(content, *NOT_IN_CHECKSUM)
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_checksum(content: Mapping[str, Any]) -> None:
    """Raise Damaged if the content has another checksum than it states; one without is accepted."""
    digest = content.get("checksum")
    if digest is not None and digest != checksum(content):
        raise Damaged(
            "checksum: found one of other content, so the file was changed or damaged after it was "
            "written"
        )


def plan_fields(content: Any) -> dict[str, Any]:
    """The arguments of Plan, from the JSON of a plan; cells as `CellFields`. Raises Damaged."""
    fields = Fields(content)
    bases = [as_object(base, key) for key, base in each(fields.list("bases"), "bases")]
    cells = cell_fields(fields.list("cells"), "cells", len(bases))
    tasks = _tasks(fields.list("tasks"), len(cells))
    searches = [_search(one, key) for key, one in each(fields.list("searches", []), "searches")]
    task_searches = _task_searches(fields.list("task_searches", []), len(tasks), len(searches))
    arguments = {
        "sid": fields.text("sid"),
        "name": fields.text("name"),
        "created": fields.number("created"),
        "user": fields.text("user"),
        "host": fields.text("host"),
        "backend": fields.choice("backend", BACKENDS),
        "bases": bases,
        "cells": cells,
        "tasks": tasks,
        "packing": packing(fields.object("packing")),
        "launcher": _launcher(fields.object("launcher")),
        "chosen": fields.texts("chosen"),
        "python": fields.text("python"),
        "code": fields.text("code"),
        "code_archive": fields.text("code_archive"),
        "environment": fields.text("environment"),
        "packages": fields.object("packages"),
        "commit": fields.text("commit"),
        "policy": policy(fields.object("policy", {})),
        "sizes": _sizes(fields.list("sizes", []), len(tasks)),
        "excluded": fields.texts("excluded", []),
        "retry_errors": fields.flag("retry_errors", False),
        "rerun": fields.flag("rerun", False),
        "searches": searches,
        "task_searches": task_searches,
    }
    fields.any("checksum", None)
    fields.finish()
    return arguments


def cell_fields(content: Sequence[Any], key: str, bases: int) -> list[CellFields]:
    """The planned cells of a JSON list; `bases` is the number of bases that they can name."""
    cells: list[CellFields] = []
    for place, cell in each(content, key):
        fields = Fields(cell, place)
        base = fields.count("base")
        if base >= bases:
            raise fields.wrong("base", f"an index below {bases}")
        cells.append((fields.text("id"), base, fields.object("values"), fields.count("attempts")))
        fields.finish()
    return cells


def check_ids(
    bases: Sequence[Mapping[str, Any]], cells: Sequence[CellFields], numbers: Collection[int]
) -> None:
    """Raise Damaged if one of the cells with these numbers has another id than its configuration.

    A cell of newer code can have a configuration that this code hashes otherwise.
    """
    selection = [cells[number] for number in numbers]
    pairs = [(cell[1], cell[2]) for cell in selection]
    try:
        ids = ids_of(bases, pairs)
    except ValueError as error:
        raise Damaged(f"cells: {error}") from None
    for cell, digest in zip(selection, ids, strict=True):
        if cell[0] != digest:
            raise Damaged(
                f"cells: found {cell[0]} with a configuration whose id is {digest}, so the file "
                "was changed or damaged after it was written, or newer code wrote it"
            )


def _tasks(content: Sequence[Any], cells: int) -> list[list[int]]:
    """The tasks, which hold every cell once."""
    tasks = [as_indices(task, key, cells) for key, task in each(content, "tasks")]
    places = [0] * cells
    for task in tasks:
        for index in task:
            places[index] += 1
    for index, count in enumerate(places):
        if count != 1:
            raise Damaged(f"tasks: found cell {index} {count} times, expected every cell once")
    return tasks


def _sizes(content: Sequence[Any], tasks: int) -> list[int | None]:
    _check_length("sizes", content, tasks)
    for key, size in each(content, "sizes"):
        if size is not None and (type(size) is not int or size < 1):
            raise wrong(key, size, "an integer of at least 1 or null")
    return list(content)


def _task_searches(content: Sequence[Any], tasks: int, searches: int) -> list[list[int]]:
    _check_length("task_searches", content, tasks)
    return [as_indices(indices, key, searches) for key, indices in each(content, "task_searches")]


def _check_length(key: str, content: Sequence[Any], tasks: int) -> None:
    if content and len(content) != tasks:
        found = quantity(len(content), "entry", "entries")
        raise Damaged(f"{key}: found {found}, expected one for each of {tasks}")


def packing(content: dict[str, Any]) -> dict[str, Any]:
    """Checks the fields of launch.sweep.request.Packing."""
    fields = Fields(content, "packing")
    fields.count_or_null("cells", 1, None)
    if fields.any("at_a_time") != "auto":
        fields.count_or_null("at_a_time", 1)
    fields.number("minutes", 1, 60)
    fields.count("most", 1, 1000)
    fields.count("slots", 1, 100)
    if fields.any("search", None) not in (None, "inside"):
        raise NewerCode(str(fields.wrong("search", "inside or null")))
    fields.finish()
    return content


def policy(content: dict[str, Any]) -> dict[str, Any]:
    """Checks the fields of launch.sweep.request.Policy."""
    fields = Fields(content, "policy")
    fields.number_or_null("gpu_hours", 0, None)
    fields.flag("canary", False)
    fields.flag("compact", False)
    fields.text_or_null("notify", None)
    fields.finish()
    return content


def _launcher(content: dict[str, Any]) -> Launcher:
    """The launcher, with the types of the settings that we read; others are for sbatch to judge."""
    fields = Fields(content, "launcher")
    fields.text("_target_")
    fields.text_or_null("partition", None)
    fields.count_or_null("cpus_per_task", 1, None)
    for name in ("timeout_min", "signal_delay_s", "mem_gb"):
        fields.number_or_null(name, 0, None)
    if fields.any("setup", None) is not None:
        fields.texts("setup")
    if fields.any("additional_parameters", None) is not None:
        fields.object("additional_parameters")
    return Launcher(content)


def _search(content: Any, key: str) -> Search:
    fields = Fields(content, key)
    settings = Fields(fields.object("settings"), f"{key}.settings")
    for name in SETTINGS:
        settings.any(name)
    settings.finish()
    advance: Any = fields.choice("advance", ("auto", "manual"))
    search = Search(
        axis=fields.text("axis"),
        success=fields.text("success"),
        settings=fields.object("settings"),
        seeds=_integers(fields.list("seeds"), f"{key}.seeds"),
        budget=fields.texts("budget"),
        advance=advance,
        point=fields.object("point"),
    )
    fields.finish()
    return search


def _integers(content: Sequence[Any], key: str) -> list[int]:
    for place, number in each(content, key):
        if type(number) is not int:
            raise wrong(place, number, "an integer")
    return list(content)
