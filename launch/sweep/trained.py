"""The keys `of` and `to` of a sweep, checked: the trained cells that its own cells read. Pure.

    of: {sweep: minima_small, where: ["trainer.poison.samples in [0, 699]"]}
    to: {trainer.poison.samples: 0}

A cell that measures a trained cell, or starts from its weights, has that cell's seed, model and
data. `to` names the other end of a line: the trained cell that differs in these keys alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import UserError, none_of
from launch.plan.identity import RESULT_FREE
from launch.sweep.condition import conditions_on, names
from launch.sweep.request import Cell, check_name, leaves, resolved_cell
from trainers.config.later import fill_in
from trainers.config.spelling import nearest_key

KEYS = ("sweep", "where")

COPIED = ("seed", "model.", "data.")
"""Keys, or beginnings of keys, that a cell takes from the trained cell that it reads."""

FINAL_WEIGHTS = "final"


@dataclass(frozen=True)
class Reading:
    """The keys of a configuration that name a trained cell, its folder and when its weights are of.

    `other` is the key of a second cell, in the same folder, if the trainer reads two.
    """

    cell: str
    folder: str
    weights: str
    other: str | None = None


MEASURE = Reading("trainer.of", "trainer.of_folder", "trainer.weights", "trainer.to")
START = Reading("trainer.start_of", "trainer.of_folder", "trainer.start_epoch")
READINGS = (MEASURE, START)


@dataclass(frozen=True)
class Weights:
    """The weights of one trained cell that another cell reads."""

    folder: Path
    """The log folder of the trained sweep."""
    cell: str
    file: str
    """Name of the file inside weights/."""


def weights_of(flat: Mapping[str, Any]) -> list[Weights]:
    """The weights that the cell of a flat configuration reads; none for an ordinary training."""
    weights = []
    for reading in READINGS:
        for key in (reading.cell, reading.other):
            cell = flat.get(key or "")
            if cell is not None:
                ending = "npz" if flat[reading.weights] == FINAL_WEIGHTS else "path.npz"
                weights.append(Weights(Path(flat[reading.folder]), cell, f"{cell}.{ending}"))
    return weights


def reading_of(flat: Mapping[str, Any]) -> Reading | None:
    """The keys by which this configuration can name a trained cell; None if its trainer has none.

    A measure needs a trained cell; for a training it is a choice.
    """
    return next((reading for reading in READINGS if reading.cell in flat), None)


def needs_trained_cell(flat: Mapping[str, Any]) -> bool:
    """Whether the trainer of this configuration can do nothing without a trained cell."""
    return MEASURE.cell in flat


@dataclass(frozen=True)
class TrainedRule:
    """What a sweep file says about the trained cells that its cells read."""

    sweep: str
    texts: Sequence[str]
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
    return TrainedRule(
        sweep=of["sweep"],
        texts=texts,
        partner=_partner(to),
    )


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


def reading_flat(
    base: Mapping[str, Any], folder: Path, trained: Cell, partner: Cell | None
) -> dict[str, Any]:
    """The flat configuration of a cell that reads a trained one.

    `base` is that of the sweep and `folder` the log folder of the trained sweep. Raises UserError
    if the trainer reads no trained cell, or needs a partner and has none, or the other way round.
    """
    reading = reading_of(base)
    if reading is None:
        raise UserError(
            f"of: the trainer {base['trainer.name']} reads no trained cell; choose one that does, "
            "such as radius, surface or line"
        )
    flat = {key: value for key, value in base.items() if not key.startswith((*COPIED, "optim."))}
    flat |= {key: value for key, value in trained.flat.items() if key.startswith(COPIED)}
    if needs_trained_cell(base):
        flat["optim.name"] = "none"
    else:
        flat |= {key: value for key, value in base.items() if key.startswith("optim.")}
    flat |= {reading.cell: trained.id, reading.folder: str(folder)}
    return flat | _partner_keys(base, reading, partner)


def check_kept(reader: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise UserError if the `trained` cell does not keep the weights that a `reader` needs.

    Both are flat configurations.
    """
    reading = reading_of(reader)
    assert reading is not None
    weights, kept = reader[reading.weights], trained.get("trainer.weights_at")
    if kept is None and trained.get("trainer.save_weights") is not True:
        raise UserError(
            "of: a trained cell keeps no weights (trainer.weights_at is null); submit its sweep "
            "with trainer.weights_at=final, which makes other cells, and choose those with "
            "of.where: [\"trainer.weights_at == 'final'\"]"
        )
    missing = weights not in kept if isinstance(kept, list) else kept != "log"
    if isinstance(weights, int) and missing:
        raise UserError(
            f"{reading.weights}: found {weights}, but a trained cell keeps its weights at "
            f"{kept or 'the end'}; choose one of these, or train with other trainer.weights_at"
        )


def check_measurable(
    measure: Mapping[str, Any], trained: Mapping[str, Any], partner: Mapping[str, Any] | None
) -> None:
    """Raise UserError for a measure that cannot succeed on a `trained` cell, as far as the
    configurations tell; `partner` is the other end of a line. All are flat.
    """
    name = measure["trainer.name"]
    kept = trained.get("trainer.weights_at")
    reads_path = name in _OF_PATHS or measure.get("trainer.plane") == "pca"
    if reads_path and not (kept == "log" or isinstance(kept, list)):
        what = name if name in _OF_PATHS else "trainer.plane=pca"
        raise UserError(
            f"trainer.name: {what} needs the weights at several epochs, but a trained cell keeps "
            "the last ones alone; train with trainer.weights_at=log or a list, which makes other "
            "cells, and choose those with of.where"
        )
    if name == "boundary":
        _check_plane(trained)
    if name == "line" and partner is not None:
        for key, value in trained.items():
            if key.startswith("model.") and partner.get(key) != value:
                raise UserError(
                    f"to.{key}: found {partner.get(key)!r}, and the cell has {value!r}: a line "
                    "joins weights of one network; expected keys of the training alone, or seed"
                )


_OF_PATHS = ("path", "progress")
"""Measures of the weights that a training kept on its way."""

_NOT_PLANAR = ("cifar10", "digits", "svhn", "arithmetic")
"""Data sets of ours without two features and two classes; that of a table only its file tells."""


def _check_plane(trained: Mapping[str, Any]) -> None:
    data, features = trained["data.name"], trained.get("data.features")
    if data in _NOT_PLANAR or (data == "table" and features and len(features) != 2):
        raise UserError(
            f"trainer.name: found boundary with data {data}, expected points in the plane with two "
            "classes: swiss_roll, spirals, rings, or a table with two features"
        )


def _partner_keys(
    base: Mapping[str, Any], reading: Reading, partner: Cell | None
) -> dict[str, Any]:
    """The key of the second cell, if the trainer reads one."""
    reads_two = reading.other is not None and reading.other in base
    if reads_two != (partner is not None):
        name = base["trainer.name"]
        problem = "needs `to`, the other end" if reads_two else "reads one cell; remove `to`"
        raise UserError(f"to: the trainer {name} {problem}")
    return {str(reading.other): partner.id} if partner is not None else {}
