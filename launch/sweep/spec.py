"""The keys of a sweep, checked and ready to expand: axes, zip, where, seeds, search, of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.errors import UserError
from launch.plan.identity import RESULT_FREE
from launch.sweep import search, trained
from launch.sweep.condition import Condition, UnknownKey, check_types, column_types, remembered
from launch.sweep.grid import Grid, axis_values

KEYS = ("seeds", "axes", "zip", "where", "search", "of", "to")


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked."""

    grid: Grid
    conditions: Sequence[Condition]
    """What a cell must meet."""
    texts: Sequence[str]
    """The conditions as they are written."""
    search: search.SearchRule | None = None
    """With a search, the points of the grid have no seeds: the search gives them."""
    trained: trained.TrainedRule | None = None
    """With this, each trained cell is read at every point, and has the seed."""

    def accepts(self, flat: Mapping[str, Any]) -> bool:
        """Whether a flat configuration meets every condition.

        Raises UserError for a condition on a key that only the search decides.
        """
        if self.search is None:
            return all(condition(flat) for condition in self.conditions)
        decided = (self.search.axis, "seed")
        point = {key: value for key, value in flat.items() if key not in decided}
        try:
            return all(condition(point) for condition in self.conditions)
        except UnknownKey as error:
            raise UserError(f"where: {error}; the search decides {decided[0]} and seed") from None


def read(
    described: Mapping[str, Any],
    seed: Any,
    overrides: Sequence[str],
    columns: Mapping[str, type],
) -> Sweep:
    """The sweep described by the keys in `KEYS`; `seed` is used if no seeds are given. `columns`
    has the keys of a cell with their types.

    Raises UserError for a key of the wrong shape, a key that cannot be an axis, or an override that
    an axis would undo.
    """
    axes = _shaped(described, "axes", dict, "a mapping of configuration keys to values")
    texts = _shaped(described, "where", list, "a list of conditions")
    zipped = _shaped(described, "zip", list, "a list of lists of axes")
    seeds = described.get("seeds")
    check_where(texts)
    for text in texts:
        check_types(text, column_types(columns))
    check_zip(zipped)
    check_axes(axes)
    source = _source(described, list(axes), overrides)
    rule = None
    if described.get("search") is not None:
        rule = search.read(described["search"], axes, seeds, columns)
    _refuse_undone(overrides, [*axes, *([rule.axis] if rule else [])], seeds)
    values = {axis: axis_values(axis, spec) for axis, spec in axes.items()}
    if rule is None and source is None:
        values["seed"] = _seed_values(seed, seeds)
    return Sweep(Grid(values, zipped), [remembered(text) for text in texts], texts, rule, source)


def _source(
    described: Mapping[str, Any], axes: Sequence[str], overrides: Sequence[str]
) -> trained.TrainedRule | None:
    """The trained cells that the cells of the sweep read, if it names any."""
    rule = trained.read(described.get("of"), described.get("to"), described.get("seeds"))
    if rule is None:
        return None
    if described.get("search") is not None:
        raise UserError("search: a sweep with `of` reads the cells of another, and searches none")
    trained.check_axes(axes)
    trained.check_overrides(overrides)
    return rule


def _seed_values(seed: Any, seeds: Any) -> list[Any]:
    if isinstance(seed, Sequence | Mapping) and not isinstance(seed, str):
        raise UserError(
            f"seed: found {seed!r}, expected an integer; several are `seeds: [0, 1, 2]`"
        )
    try:
        return axis_values("seed", [seed] if seeds is None else seeds)
    except UserError as error:
        raise UserError(str(error).replace("axes.seed", "seeds")) from None


def check_where(texts: Sequence[Any]) -> None:
    """Raise UserError for a condition that is not text."""
    for text in texts:
        if not isinstance(text, str):
            raise UserError(
                f"where: found {text!r}, expected a quoted condition such as 'model.width <= 16'"
            )


def check_zip(groups: Sequence[Any]) -> None:
    """Raise UserError for a group that is not a list."""
    for group in groups:
        if not isinstance(group, list):
            raise UserError(f"zip: found {group!r}, expected a list of axes that advance together")
        for axis in group:
            if not isinstance(axis, str):
                raise UserError(f"zip: found {axis!r} in a group, expected the name of an axis")


def check_axes(axes: Mapping[str, Any]) -> None:
    """Raise UserError for a key that cannot be an axis."""
    for axis in axes:
        if not isinstance(axis, str):
            raise UserError(
                f"axes: found the key {axis!r} ({type(axis).__name__}), expected a configuration "
                "key such as model.width"
            )
        if axis == "seed":
            raise UserError(
                "axes.seed: seeds are an axis of their own; write them as `seeds: [0, 1, 2]`"
            )
        if axis.startswith(RESULT_FREE):
            raise UserError(
                f"axes.{axis}: it does not change a cell's result, so it cannot be an axis"
            )


def _shaped(described: Mapping[str, Any], key: str, kind: type, expected: str) -> Any:
    value = described.get(key)
    if value is not None and not isinstance(value, kind):
        raise UserError(f"{key}: found {value!r}, expected {expected}")
    return value or kind()


def _refuse_undone(overrides: Sequence[str], axes: Sequence[str], seeds: Any) -> None:
    """Refuse an override of a key that an axis sets: it would be silently lost."""
    for text in overrides:
        key, sign, _ = text.lstrip("+").partition("=")
        if sign and key in axes:
            advice = "replace the axes as a whole with '~axes' '+axes={...}'"
            raise UserError(
                f"{key}: the sweep has an axis of that name, which would undo {text}; {advice}"
            )
        if sign and key == "seed" and seeds is not None:
            raise UserError(
                f"seed: the sweep has seeds {seeds}, which would undo {text}; set seeds=[...]"
            )
