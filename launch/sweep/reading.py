"""How the cell of one sweep reads a trained cell of another: its keys, and what they need. Pure.

A cell that measures a trained cell, or starts from its weights, has that cell's seed, model and
data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import UserError
from launch.sweep.request import Cell

COPIED = ("seed", "model.", "data.")
"""Keys, or beginnings of keys, that a cell takes from the trained cell that it reads."""

FINAL_WEIGHTS = "final"

_OF_PATHS = ("path", "progress")
"""Measures of the weights that a training kept on its way."""

_NOT_PLANAR = ("cifar10", "digits", "svhn", "arithmetic")
"""Data sets of ours without two features and two classes; that of a table only its file tells."""


@dataclass(frozen=True)
class Reading:
    """The keys by which a trainer names the trained cell that it reads."""

    cell: str
    """The key of the trained cell's id."""
    folder: str
    """The key of the log folder of its sweep."""
    weights: str
    """The key of the epoch of its weights, or "final"."""
    other: str | None = None
    """The key of a second cell, in the same folder, if the trainer reads two."""


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
    _check_path(measure, trained)
    if measure["trainer.name"] == "boundary":
        _check_plane(trained)
    if measure["trainer.name"] == "line" and partner is not None:
        _check_one_network(trained, partner)


def _check_path(measure: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise UserError for a measure of a training's path, if it kept the last weights alone."""
    name = measure["trainer.name"]
    is_of_path = name in _OF_PATHS
    reads_path = is_of_path or measure.get("trainer.plane") == "pca"
    kept = trained.get("trainer.weights_at")
    keeps_path = kept == "log" or isinstance(kept, list)
    if reads_path and not keeps_path:
        what = name if is_of_path else "trainer.plane=pca"
        raise UserError(
            f"trainer.name: {what} needs the weights at several epochs, but a trained cell keeps "
            "the last ones alone; train with trainer.weights_at=log or a list, which makes other "
            "cells, and choose those with of.where"
        )


def _check_plane(trained: Mapping[str, Any]) -> None:
    """Raise UserError for a boundary in data that are no points in the plane."""
    data, features = trained["data.name"], trained.get("data.features")
    if data in _NOT_PLANAR or (data == "table" and features and len(features) != 2):
        raise UserError(
            f"trainer.name: found boundary with data {data}, expected points in the plane with two "
            "classes: swiss_roll, spirals, rings, or a table with two features"
        )


def _check_one_network(trained: Mapping[str, Any], partner: Mapping[str, Any]) -> None:
    """Raise UserError for a line whose ends have different models."""
    for key, value in trained.items():
        if key.startswith("model.") and partner.get(key) != value:
            raise UserError(
                f"to.{key}: found {partner.get(key)!r}, and the cell has {value!r}: a line "
                "joins weights of one network; expected keys of the training alone, or seed"
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
