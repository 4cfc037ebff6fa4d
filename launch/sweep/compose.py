"""Expand a sweep's name and overrides into cells; Hydra composes once per choice of config groups.

The only module besides launch/train.py that imports Hydra.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch.errors import UserError
from launch.plan import load_all
from launch.plan.identity import RESULT_FREE
from launch.plan.launcher import Launcher
from launch.plan.search import Search
from launch.sweep import search, spec, trained
from launch.sweep.adaptive import newest_searches
from launch.sweep.grid import Grid
from launch.sweep.request import (
    LAUNCH_KEYS,
    Cell,
    Packing,
    Policy,
    Request,
    check_name,
    resolved_cell,
)
from trainers import config as schema

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_CELL_KEYS = ("seed", "model", "data", "optim", "trainer", "run")
_LAUNCH_SECTIONS = ("task", "limits", "canary", "compact", "sweep", "hydra")
_TOP_KEYS = (*_CELL_KEYS, "name", "logs", *spec.KEYS, *_LAUNCH_SECTIONS)
_LIMITS = ("gpu_hours", "cells")
_GROUPS = ("model", "data", "optim", "trainer", "preset")
_PATH_KEYS = ("data.root", "data.cache")
_NOT_SETTINGS = ("submitit_folder", "name")
_REASON_LINES = 12


def expand_sweep(sweep: str, overrides: Sequence[str]) -> Request:
    """Expand the sweep `configs/sweep/SWEEP.yaml` with Hydra overrides.

    A sweep with `search` becomes a search at each point of its grid; its cells follow from results.
    Raises UserError for an unknown sweep or key, a value of the wrong type, a bad axis or
    condition, or an empty grid.
    """
    check_name(sweep)
    with _hydra():
        _check_file(_sweep_file(sweep))
        overrides = [f"sweep={sweep}", *overrides]
        config = _compose(overrides)
        cells, searches = _expand(config, overrides)
        return replace(_request(config, cells, overrides), searches=searches)


def launcher_settings(overrides: Sequence[str]) -> Request:
    """A request without cells: packing, launcher and logs folder from `overrides`."""
    with _hydra():
        return _request(_compose(overrides), [], overrides)


def single_cell(config: DictConfig) -> Cell:
    """The one cell of a configuration that `python -m launch.train` composed."""
    return resolved_cell(_flat(config))


def _sweep_file(sweep: str) -> Path:
    folder = CONFIGS / "sweep"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if sweep not in names:
        raise UserError(f"no sweep {sweep!r} in {folder}; known: {', '.join(names)}")
    return folder / f"{sweep}.yaml"


def _check_file(path: Path) -> None:
    """Refuse a sweep file that Hydra would silently misread."""
    first, *_ = path.read_text().splitlines() or [""]
    if first.replace(" ", "") != "#@package_global_":
        raise UserError(
            f"{path}: its first line is {first!r}, expected '# @package _global_': without it "
            "nothing is used"
        )
    if "name" not in OmegaConf.load(path):
        raise UserError(
            f"{path}: no `name`; expected the name of the folder in logs/ that its runs are "
            "written to"
        )


def _request(config: DictConfig, cells: Sequence[Cell], overrides: Sequence[str]) -> Request:
    check_name(config.name)
    if not isinstance(config.logs, str):
        raise UserError(f"logs: found {config.logs!r}, expected the path of a folder")
    return Request(
        name=config.name,
        logs=Path(config.logs).absolute(),
        cells=cells,
        packing=_packing(config.get("task", {})),
        launcher=_launcher(config.hydra.launcher),
        chosen=[text for text in overrides if text.lstrip("+").startswith(LAUNCH_KEYS)],
        policy=_policy(config),
    )


def _launcher(node: DictConfig) -> Launcher:
    return Launcher({str(key): _plain(node[key]) for key in node if key not in _NOT_SETTINGS})


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _policy(config: DictConfig) -> Policy:
    for key in config.limits:
        if key not in _LIMITS:
            raise UserError(f"limits.{key}: unknown key; known: {', '.join(_LIMITS)}")
    return Policy(config.limits.gpu_hours, config.canary, config.compact)


def _packing(task: Mapping[str, Any]) -> Packing:
    legal = [field.name for field in dataclasses.fields(Packing)]
    for key in task:
        if key not in legal:
            raise UserError(f"task.{key}: unknown key; known: {', '.join(legal)}")
    return Packing(**task)


def _expand(
    config: DictConfig, overrides: Sequence[str]
) -> tuple[Sequence[Cell], Sequence[Search]]:
    """The cells of the grid that meet every condition, or a search at each such point."""
    sections = {key: _plain(config.get(key)) for key in spec.KEYS}
    sweep = spec.read(sections, config.seed, overrides)
    _check_size(sweep.grid, config.limits.get("cells"))
    cells: dict[str, Cell] = {}
    for base, values in _points(config, overrides, sweep):
        _check_keys(base, values)
        flat = {**base, **values}
        if sweep.accepts(flat):  # before the cell is checked, so that `where` can leave it out
            cell = resolved_cell(flat)
            cells[cell.id] = cell
    if not cells:
        raise UserError(f"the grid is empty: no point meets {list(sweep.texts)}")
    if sweep.search is None:
        return list(cells.values()), ()
    searches = [sweep.search.at(cell.flat) for cell in cells.values()]
    return (), newest_searches([searches])


def _points(
    config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The base configuration and the values of each point; with `of`, for every trained cell."""
    reads: Sequence[_Read] = ()
    if sweep.trained is not None:
        reads = _reads(config, overrides, sweep.trained)
        _check_size(sweep.grid, config.limits.get("cells"), len(reads))
    base_of = _bases(config, overrides)
    for point in sweep.grid.points():
        groups = [group for group in _GROUPS if group in point]
        base = base_of(tuple(f"{group}={point.pop(group)}" for group in groups))
        if sweep.trained is None:
            _refuse_measure(base)
            yield base, point
        for read in reads:
            flat = read.flat(base)
            trained.check_kept({**flat, **point}, read.cell.flat)
            yield flat, point


def _refuse_measure(base: Mapping[str, Any]) -> None:
    """Raise UserError for a measuring trainer in a sweep without `of`."""
    if trained.needs_trained_cell(base):
        raise UserError(
            f"of: missing; the trainer {base['trainer.name']} measures trained cells: name their "
            "sweep with of: {sweep: NAME}"
        )


@dataclasses.dataclass(frozen=True)
class _Read:
    """A trained cell to read, and its partner; `places` say where its data are now."""

    folder: Path
    cell: Cell
    partner: Cell | None
    places: Mapping[str, Any]

    def flat(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of the cell that reads it, from that of the sweep."""
        flat = trained.reading_flat(base, self.folder, self.cell, self.partner)
        return flat | {key: value for key, value in self.places.items() if key in flat}


def _reads(
    config: DictConfig, overrides: Sequence[str], rule: trained.TrainedRule
) -> Sequence[_Read]:
    """What a sweep with `of` reads: cells of the frozen plans of the sweep that it names.

    Raises UserError if that sweep was never submitted.
    """
    folder = Path(config.logs).absolute() / rule.sweep
    cells: dict[str, Cell] = {}
    for plan in load_all(folder) if folder.is_dir() else []:
        cells |= {cell.id: Cell(cell.id, plan.flat(cell)) for cell in plan.cells}
    if not cells:
        raise UserError(
            f"of.sweep: {folder} has no submitted sweep; `redescent submit {rule.sweep}` creates "
            "it, and this one may be sent while its cells train"
        )
    keys = [text.lstrip("+").partition("=")[0] for text in overrides]
    flat = _flat(config)
    places = {key: flat[key] for key in keys if key.startswith(RESULT_FREE) and key in flat}
    return [_Read(folder, cell, partner, places) for cell, partner in rule.pairs(cells.values())]


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


def _bases(
    config: DictConfig, overrides: Sequence[str]
) -> Callable[[tuple[str, ...]], dict[str, Any]]:
    """The flat configuration for a choice of groups; Hydra composes each choice once."""
    bases: dict[tuple[str, ...], dict[str, Any]] = {(): _flat(config)}

    def base_of(choices: tuple[str, ...]) -> dict[str, Any]:
        if choices not in bases:
            bases[choices] = _flat(_compose([*overrides, *choices]))
        return bases[choices]

    return base_of


def _check_keys(base: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise UserError for an axis that is no key of the configuration."""
    for key in values:
        if key not in base:
            legal = ", ".join(sorted(base))
            raise UserError(f"axes.{key}: no such configuration key; known: {legal}")


def _flat(config: DictConfig) -> dict[str, Any]:
    sections = OmegaConf.masked_copy(config, list(_CELL_KEYS))
    flat = dict(_leaves(OmegaConf.to_container(sections, resolve=True), ""))
    for key in _PATH_KEYS:  # jobs and later resumes run in other folders
        if isinstance(flat.get(key), str):
            flat[key] = str(Path(flat[key]).expanduser().absolute())
    return flat


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a nested mapping."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on configs/; an error of Hydra or OmegaConf becomes a UserError of one line."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            yield
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(_reason(error)) from None


def _compose(overrides: Sequence[str]) -> DictConfig:
    config = compose("config", overrides=list(overrides), return_hydra_config=True)
    for key in map(str, config):
        if key not in _TOP_KEYS:
            legal = ", ".join(_TOP_KEYS)
            raise UserError(f"{key}: unknown key; known at the top level: {legal}")
    return config


def _reason(error: Exception) -> str:
    """Hydra's message in one line; for an unknown key, the nearest legal one."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if "not in struct" in text or re.search(r"Key '.*' not in '", text):
        return _unknown_key(text)
    message = text.split("Config search path")[0]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return "; ".join(lines[:_REASON_LINES])


def _unknown_key(text: str) -> str:
    """Replaces Hydra's advice to append the key, which would hide a typing error."""
    full_key = re.search(r"full_key: (\S+)", text)
    match = full_key or re.search(r"Could not override '([^']+)'", text)
    key = match.group(1) if match else text
    message = f"{key}: unknown key"
    legal = [*schema.columns(), *_TOP_KEYS, *(f"search.{name}" for name in search.KEYS)]
    nearest = [name for name in difflib.get_close_matches(key, legal, n=1) if name != key]
    if nearest:
        message += f"; did you mean {nearest[0]}?"
    if key.startswith(("axes", "hydra.", "search")):
        message += "; +KEY=VALUE adds one, ~KEY removes one"
    return message
