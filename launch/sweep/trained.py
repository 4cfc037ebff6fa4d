"""The keys `of` and `to` of a sweep, checked: the trained cells that its cells read. Pure.

    of: {sweep: minima_small, where: ["trainer.poison.samples in [0, 699]"]}
    to: {trainer.poison.samples: 0}

`to` names the other end of a line: the trained cell that differs in these keys alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.errors import UserError, none_of
from launch.plan.identity import RESULT_FREE
from launch.sweep.condition import conditions_on, names
from launch.sweep.reading import COPIED, needs_trained_cell
from launch.sweep.request import Cell, check_name, leaves, resolved_cell
from trainers.config.later import fill_in
from trainers.config.spelling import nearest_key

KEYS = ("sweep", "where")


@dataclass(frozen=True)
class TrainedRule:
    """What a sweep file says about the trained cells that its cells read."""

    sweep: str
    """The name of the trained sweep."""
    texts: Sequence[str]
    """The conditions for its cells."""
    partner: Mapping[str, Any]
    """The keys of `to` and their values; empty if there are none."""

    def select(self, cells: Collection[Cell]) -> list[Cell]:
        """The cells of the trained sweep that meet every condition.

        Raises UserError if there are none, or if they measure trained cells themselves.
        """
        complete = [Cell(cell.id, fill_in(cell.flat)) for cell in cells]
        conditions = conditions_on(self.texts, [cell.flat for cell in complete])
        selected = [cell for cell in complete if all(meets(cell.flat) for meets in conditions)]
        if not selected:
            raise UserError(
                f"of.where: {none_of(len(cells), 'cell')} of {self.sweep} meets {list(self.texts)}"
            )
        if needs_trained_cell(selected[0].flat):
            raise UserError(
                f"of.sweep: the cells of {self.sweep} are measures of other cells; name the sweep "
                "that trained those"
            )
        return selected

    def pairs(self, cells: Collection[Cell]) -> Iterator[tuple[Cell, Cell | None]]:
        """Each trained cell that is read, with its partner; None without `to`.

        A cell that would be its own partner is left out. Raises UserError if a partner is no cell
        of the trained sweep.
        """
        ids = {cell.id for cell in cells}
        for cell in self.select(cells):
            if not self.partner:
                yield cell, None
                continue
            partner = self._partner_of(cell)
            if partner.id not in ids:
                raise UserError(
                    f"to: no cell of {self.sweep} differs from {cell.id} in "
                    f"{self._partner_text()} alone; leave it out with of.where, or train that cell"
                )
            if partner.id != cell.id:
                yield cell, partner

    def _partner_of(self, cell: Cell) -> Cell:
        for key in self.partner:
            if key not in cell.flat:
                near = nearest_key(key, cell.flat)
                all_keys = f"known: {', '.join(sorted(cell.flat))}"
                hint = f"did you mean {near}?" if near else all_keys
                raise UserError(f"to.{key}: no key of the cells of {self.sweep}; {hint}")
        return resolved_cell({**cell.flat, **self.partner})

    def _partner_text(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.partner.items())


def read(of: Any, to: Any, seeds: Any) -> TrainedRule | None:
    """The rule that `of` and `to` describe; None if the sweep has neither.

    Raises UserError for an unknown key, a value of the wrong type, or a sweep that also has
    `seeds`: each cell has the seed of the trained cell that it reads.
    """
    if of is None:
        if to is not None:
            raise UserError("to: it needs `of`, which names the sweep of the trained cells")
        return None
    texts = _conditions(_mapping(of))
    if seeds is not None:
        raise UserError(
            f"seeds: found {seeds}, but each cell has the seed of the trained cell that it reads; "
            "choose among those with of.where, for example 'seed < 3'"
        )
    return TrainedRule(of["sweep"], texts, _partner(to))


def _mapping(of: Any) -> Mapping[str, Any]:
    if not isinstance(of, Mapping):
        raise UserError(f"of: found {of!r}, expected {{sweep: NAME, where: [CONDITION, ...]}}")
    for key in of:
        if key not in KEYS:
            raise UserError(f"of.{key}: unknown key; known: {', '.join(KEYS)}")
    if "sweep" not in of:
        raise UserError("of.sweep: missing; it names the folder in logs/ of the trained cells")
    check_name(of["sweep"])
    return of


def _conditions(of: Mapping[str, Any]) -> list[str]:
    texts = of.get("where")
    if texts is None:
        return []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"of.where: found {texts!r}, expected a list of quoted conditions such as 'seed == 0'"
        )
    for text in texts:
        names(text)
    return texts


def _partner(to: Any) -> dict[str, Any]:
    if to is None:
        return {}
    if not isinstance(to, Mapping) or not to:
        raise UserError(f"to: found {to!r}, expected keys with their values, or null")
    partner = dict(leaves(to))  # nested or with dots
    if not partner:
        raise UserError(
            f"to: found {dict(to)!r}, in which no key has a value; expected one or more"
        )
    return partner


def check_axes(axes: Sequence[str]) -> None:
    """Raise UserError for an axis of the model or data, which come from the trained cells."""
    for axis in axes:
        if axis in ("model", "data") or axis.startswith(COPIED):
            raise UserError(
                f"axes.{axis}: each cell has the {axis.partition('.')[0]} of the trained cell that "
                "it reads; choose among those with of.where"
            )


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that the trained cells would undo.

    Keys that say where the data are (data.root, ...) may be overridden.
    """
    for text in overrides:
        key, sign, _ = text.lstrip("+~").partition("=")
        copied = key in ("model", "data") or key.startswith(COPIED)
        if sign and copied and not key.startswith(RESULT_FREE):
            raise UserError(
                f"{text}: each cell has the seed, model and data of the trained cell that it "
                "reads; choose among those with 'of.where=[...]'"
            )
