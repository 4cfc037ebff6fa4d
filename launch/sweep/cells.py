"""The cells of a sweep, from its composed configuration: one at each point, or a search there.

Another choice of config groups is another configuration, which `compose` composes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import trainers
from launch.errors import UserError
from launch.plan import load_all
from launch.plan.identity import RESULT_FREE
from launch.plan.project import below_project
from launch.plan.search import Search
from launch.sweep import config_keys, reading, search, spec, trained
from launch.sweep.adaptive import check_trials, newest_searches
from launch.sweep.grid import Grid
from launch.sweep.references import References
from launch.sweep.request import Cell, leaves, resolved_cell
from launch.sweep.resolve import Resolver
from launch.sweep.settings import plain, section
from trainers import config as schema

_PATH_KEYS = ("data.root", "data.cache")

Compose = Callable[[Sequence[str]], DictConfig]
"""Composes the configuration with these overrides."""


def read_sweep(config: DictConfig, overrides: Sequence[str]) -> spec.Sweep:
    """The grid, conditions and rules of a sweep. Raises UserError."""
    sections = {key: plain(config.get(key)) for key in spec.KEYS}
    return spec.read(sections, config.seed, overrides, _columns(config))


def expand(
    config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep, compose: Compose
) -> tuple[Sequence[Cell], Sequence[Search]]:
    """The cells of the grid that meet every condition, or a search at each such point."""
    _check_size(sweep.grid, _most_cells(config))
    cells: dict[str, Cell] = {}
    for cell in _cells(config, overrides, sweep, compose):
        cells[cell.id] = cell
    _check_batches(cells.values())
    _check_metrics(cells.values())
    if not cells:
        raise UserError(f"the grid is empty: no point meets {list(sweep.texts)}")
    if sweep.search is None:
        return list(cells.values()), ()
    _check_success(sweep.search, cells.values())
    searches = [sweep.search.at(cell.flat) for cell in cells.values()]
    for one in searches:
        check_trials(one)
    return (), newest_searches([searches])


def _cells(
    config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep, compose: Compose
) -> Iterator[Cell]:
    """The cell at each point that meets every condition; with `of`, one for every trained cell.

    Conditions come first, so that they can leave out configurations that no trainer accepts.
    """
    reads: Sequence[_Read] = ()
    if sweep.trained is not None:
        reads = _reads(config, overrides, sweep.trained)
        _check_size(sweep.grid, _most_cells(config), len(reads))
    bases = _Bases(config, overrides, sweep, compose)
    for point in sweep.grid.points():
        groups = [group for group in config_keys.GROUPS if group in point]
        base = bases.of(tuple(f"{group}={point.pop(group)}" for group in groups))
        if sweep.trained is None:
            _refuse_measure(base.flat)
        values = base.values_at(point)
        if sweep.trained is None and (not sweep.conditions or sweep.accepts(base.flat | values)):
            yield base.cell(values)
        for read in reads:
            flat = base.flat_reading(read, values)
            if sweep.accepts(flat):
                yield resolved_cell(flat)


def _columns(config: DictConfig) -> Mapping[str, type]:
    """The keys of a cell with their types, those of the user's classes with them.

    Raises UserError for a class that cannot be used.
    """
    names = {}
    for group in config_keys.GROUPS:
        content = config.get(group)
        if OmegaConf.is_config(content) and "name" in content:
            names[f"{group}.name"] = content.name
    try:
        return schema.columns(names)
    except ValueError as error:
        raise UserError(str(error)) from None


def _most_cells(config: DictConfig) -> Any:
    return section(config, "limits").get("cells")


def _refuse_measure(base: Mapping[str, Any]) -> None:
    """Raise UserError for a measuring trainer in a sweep without `of`."""
    if reading.needs_trained_cell(base):
        raise UserError(
            f"of: missing; the trainer {base['trainer.name']} measures trained cells: name their "
            "sweep with of: {sweep: NAME}"
        )


@dataclasses.dataclass(frozen=True)
class _Read:
    """A trained cell to read."""

    folder: Path
    """The log folder of its sweep."""
    cell: Cell
    partner: Cell | None
    """The other end of a line; None without one."""
    places: Mapping[str, Any]
    """The keys that say where its data are now."""

    def flat(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of the cell that reads it, from that of the sweep."""
        flat = reading.reading_flat(base, self.folder, self.cell, self.partner)
        return flat | {key: value for key, value in self.places.items() if key in flat}


def _reads(
    config: DictConfig, overrides: Sequence[str], rule: trained.TrainedRule
) -> Sequence[_Read]:
    """What a sweep with `of` reads: cells of the frozen plans of the sweep that it names.

    Raises UserError if that sweep was never submitted.
    """
    folder = below_project(config.logs) / rule.sweep
    cells: dict[str, Cell] = {}
    for plan in load_all(folder) if folder.is_dir() else []:
        cells |= {cell.id: Cell(cell.id, plan.flat(cell)) for cell in plan.cells}
    if not cells:
        raise UserError(
            f"of.sweep: {folder} has no submitted sweep; `redescent submit {rule.sweep}` creates "
            "it, and this one may be sent while its cells train"
        )
    keys = [text.lstrip("+").partition("=")[0] for text in overrides]
    flat = flat_of(config)
    places = {key: flat[key] for key in keys if key.startswith(RESULT_FREE) and key in flat}
    return [_Read(folder, cell, partner, places) for cell, partner in rule.pairs(cells.values())]


def _check_batches(cells: Iterable[Cell]) -> None:
    """Raise UserError for a cell that would fail in the last batch of its first epoch."""
    for cell in cells:
        try:
            schema.check_last_batch(cell.flat)
        except ValueError as error:
            raise UserError(str(error)) from None


def _check_metrics(cells: Iterable[Cell]) -> None:
    """Raise UserError for a trainer of the user's whose metrics cannot be used."""
    for name in dict.fromkeys(str(cell.flat["trainer.name"]) for cell in cells):
        try:
            trainers.check_metrics(name)
        except ValueError as error:
            raise UserError(str(error)) from None


def _check_success(rule: search.SearchRule, cells: Iterable[Cell]) -> None:
    """Raise UserError for a condition with a name that is no column of a cell's runs table."""
    columns_of: dict[str, list[str] | None] = {}
    for cell in cells:
        trainer = str(cell.flat["trainer.name"])
        if trainer not in columns_of:
            columns_of[trainer] = trainers.run_columns(trainer)
        columns = columns_of[trainer]
        if columns is not None:
            rule.check_columns(trainer, [*columns, *cell.flat])


def _check_size(grid: Grid, limit: Any, trained_cells: int = 1) -> None:
    """Raise UserError for a grid with more points than `limits.cells`; `trained_cells` are read at
    each point.
    """
    if type(limit) is not int or limit < 1:
        raise UserError(f"limits.cells: found {limit!r}, expected an integer of at least 1")
    size = grid.size() * trained_cells
    if size > limit:
        lengths = [f"{axis} {len(values)}" for axis, values in grid.axes.items()]
        if trained_cells > 1:
            lengths.append(f"trained cells {trained_cells}")
        raise UserError(
            f"the grid has {size} points ({', '.join(lengths)}), and limits.cells is {limit}; "
            "shorten an axis, or raise limits.cells"
        )


class _Base:
    """The configuration of one choice of config groups, and the cells that follow from it."""

    def __init__(self, config: DictConfig, sweep: spec.Sweep) -> None:
        axes = [axis for axis in sweep.grid.axes if axis not in config_keys.GROUPS]
        self.flat = flat_of(config)
        self._resolver = Resolver(self.flat)
        self._references = References(config, config_keys.CELL_KEYS, axes)
        if sweep.search is not None:
            self._check_search(config, sweep.search)

    def values_at(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the axes at a point, and those that refer to axes.

        Raises UserError for a key that the configuration lacks.
        """
        self._resolver.check_keys(point)
        references = self._references.values_at(point)
        return {**_with_absolute_paths(references), **point}

    def cell(self, values: Mapping[str, Any]) -> Cell:
        """The cell with these values."""
        return self._resolver.cell(values)

    def flat_reading(self, read: _Read, values: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of the cell with these values that reads a trained cell."""
        flat = {**read.flat(self.flat), **values}
        reading.check_kept(flat, read.cell.flat)
        partner = read.partner.flat if read.partner is not None else None
        reading.check_measurable(flat, read.cell.flat, partner)
        return flat

    def _check_search(self, config: DictConfig, rule: search.SearchRule) -> None:
        """Raise UserError for a value that refers to what the search decides."""
        decided = (rule.axis, "seed")
        keys = References(config, config_keys.CELL_KEYS, decided).keys
        if keys:
            raise UserError(
                f"{keys[0]}: found a value that refers to {' or '.join(decided)}, which the search "
                "decides; expected a value that is the same in all trainings of the search"
            )


class _Bases:
    """The bases of a sweep; Hydra composes each choice of groups once."""

    def __init__(
        self, config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep, compose: Compose
    ) -> None:
        self._overrides, self._sweep, self._compose = overrides, sweep, compose
        self._by_choices: dict[tuple[str, ...], _Base] = {(): _Base(config, sweep)}

    def of(self, choices: tuple[str, ...]) -> _Base:
        """The base with these choices, as overrides."""
        if choices not in self._by_choices:
            config = self._compose([*self._overrides, *choices])
            self._by_choices[choices] = _Base(config, self._sweep)
        return self._by_choices[choices]


def flat_of(config: DictConfig) -> dict[str, Any]:
    """The flat configuration of a cell, with absolute paths."""
    sections = OmegaConf.masked_copy(config, list(config_keys.CELL_KEYS))
    return _with_absolute_paths(dict(leaves(OmegaConf.to_container(sections, resolve=True))))


def _with_absolute_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration whose folders do not depend on the folder that a command runs in;
    relative ones are taken from the project folder.
    """
    values = dict(flat)
    for key in _PATH_KEYS:  # jobs and later resumes run in other folders
        path = values.get(key)
        if not isinstance(path, str):
            continue
        if not path.strip():
            raise UserError(
                f"{key}: found an empty path, expected a folder; give one, or unset the "
                "environment variable that it comes from (REDESCENT_CIFAR10, REDESCENT_SVHN, "
                "REDESCENT_TABLE or REDESCENT_CACHE)"
            )
        values[key] = str(below_project(path))
    return values
