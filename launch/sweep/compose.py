"""Expand a sweep's name and overrides into cells; Hydra composes once per choice of config groups.

The only module besides launch/train.py that imports Hydra.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import trainers
from launch.errors import UserError
from launch.plan import load_all
from launch.plan.identity import RESULT_FREE
from launch.plan.launcher import Launcher
from launch.plan.plan import plan_files
from launch.plan.project import (
    below_project,
    config_folders,
    config_names,
    logs_folder,
    make_importable,
    shipped_configs,
)
from launch.plan.search import Search
from launch.sweep import config_keys, hydra_errors, search, spec, sweep_file, trained
from launch.sweep.adaptive import check_trials, newest_searches
from launch.sweep.grid import Grid
from launch.sweep.references import References
from launch.sweep.request import (
    LAUNCH_KEYS,
    Cell,
    Packing,
    Policy,
    Request,
    check_name,
    check_new_name,
    leaves,
    resolved_cell,
)
from launch.sweep.resolve import Resolver
from trainers import config as schema
from trainers.config.spelling import did_you_mean

CONFIGS = shipped_configs()
"""The shipped configurations."""

_PATH_KEYS = ("data.root", "data.cache")
_NOT_SETTINGS = ("submitit_folder", "name")
_NAMES_SHOWN = 12


def expand_sweep(sweep: str, overrides: Sequence[str]) -> Request:
    """Expand the sweep `configs/sweep/SWEEP.yaml` with Hydra overrides.

    A sweep with `search` becomes a search at each point of its grid; its cells follow from results.
    Raises UserError for an unknown sweep or key, a value of the wrong type, a bad axis or
    condition, or an empty grid.
    """
    _refuse_file(sweep)
    check_name(sweep)
    with _hydra():
        sweep_file.check(_sweep_file(sweep))
        _check_overrides(sweep, overrides)
        overrides = [f"sweep={sweep}", *_replacing(overrides)]
        config = _compose(overrides)
        cells, searches = _expand(config, overrides)
        return replace(_request(config, cells, overrides), searches=searches)


def launcher_settings(overrides: Sequence[str]) -> Request:
    """A request without cells: packing, launcher and logs folder from `overrides`."""
    with _hydra():
        _check_grammar(overrides)
        return _request(_compose(overrides), [], overrides)


class ProjectConfigs(SearchPathPlugin):  # type: ignore[misc]
    """Lets Hydra look into configs/ of the project before the shipped ones."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put configs/ of the project first."""
        for folder in config_folders(CONFIGS)[:-1]:
            search_path.prepend("redescent-project", f"file://{folder}")


Plugins.instance().register(ProjectConfigs)


def single_cell(config: DictConfig) -> Cell:
    """The one cell of a configuration that `python -m launch.train` composed."""
    return resolved_cell(_flat(config))


def _sweep_file(sweep: str) -> Path:
    folders = [folder / "sweep" for folder in config_folders(CONFIGS)]
    for folder in folders:
        if (folder / f"{sweep}.yaml").exists():
            return folder / f"{sweep}.yaml"
    places = " or ".join(map(str, folders))
    raise UserError(f"no sweep {sweep!r} in {places}; {_hint_on_sweep(sweep)}")


def _refuse_file(sweep: str) -> None:
    """Raise UserError for the file of a sweep where its name is expected."""
    names, name = config_names("sweep", CONFIGS), Path(sweep).name.removesuffix(".yaml")
    if sweep not in names and sweep != name and name in names:
        raise UserError(
            f"{sweep}: expected the name of a sweep; leave out .yaml and the folder: {name}"
        )


def _hint_on_sweep(sweep: str) -> str:
    """What the user may have meant by the name of a sweep without a file."""
    if plan_files(logs_folder() / sweep):
        return (
            f"logs/{sweep} was sent from another file, with name={sweep}: give the name of that "
            f"file, and name={sweep}"
        )
    names = config_names("sweep", CONFIGS)
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return did_you_mean(sweep, names, f"known: {', '.join(names[:_NAMES_SHOWN])}{more}")


def _check_overrides(sweep: str, overrides: Sequence[str]) -> None:
    """Raise UserError for an override that cannot be parsed, or that names another sweep."""
    _check_grammar(overrides)
    for text in overrides:
        if text.lstrip("+~").partition("=")[0] == "sweep":
            raise UserError(
                f"{text}: the sweep is {sweep}, the first argument of the command; give the name "
                "of the other sweep there"
            )


def _check_grammar(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that Hydra cannot parse; Hydra's errors do not name it."""
    parser = OverridesParser.create()
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"override {text!r}: {reason}; expected KEY=VALUE, in quotes where the shell would "
                "split it"
            ) from None
        group = override.key_or_group
        if not group:
            raise UserError(f"override {text!r}: no key before '='; expected KEY=VALUE")
        if group in config_keys.GROUPS and type(override.value()) in (int, float, bool):
            raise UserError(
                f"override {text!r}: found {override.value()!r}, expected the name of a file in "
                f"configs/{group}: {', '.join(config_names(group, CONFIGS))}"
            )


def _replacing(overrides: Sequence[str]) -> list[str]:
    """The overrides with seeds that replace those of the sweep: Hydra would merge two ranges, and
    refuse a list instead of a range.
    """
    texts = []
    for text in overrides:
        if text.startswith("seeds=") and "~seeds" not in overrides:
            texts.append("seeds=null")
        texts.append(text)
    return texts


def _request(config: DictConfig, cells: Sequence[Cell], overrides: Sequence[str]) -> Request:
    check_new_name(config.name)
    if not isinstance(config.logs, str):
        raise UserError(f"logs: found {config.logs!r}, expected the path of a folder")
    return Request(
        name=config.name,
        logs=below_project(config.logs),
        cells=cells,
        packing=_packing(config),
        launcher=_launcher(config.hydra.launcher),
        chosen=[text for text in overrides if text.lstrip("+").startswith(LAUNCH_KEYS)],
        policy=_policy(config),
    )


def _launcher(node: Any) -> Launcher:
    if not OmegaConf.is_dict(node):
        raise UserError(
            f"hydra.launcher: found {node!r}, expected a mapping; choose one with "
            "hydra/launcher=NAME"
        )
    return Launcher({str(key): _plain(node[key]) for key in node if key not in _NOT_SETTINGS})


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _policy(config: DictConfig) -> Policy:
    limits = _section(config, "limits")
    command = _section(config, "notify").get("command")
    return Policy(limits.get("gpu_hours"), config.canary, config.compact, command)


def _packing(config: DictConfig) -> Packing:
    return Packing(**_section(config, "task"))


def _section(config: DictConfig, name: str) -> dict[str, Any]:
    """The keys of a section that belongs to no cell; UserError for an unknown one."""
    keys = config_keys.SECTION_KEYS[name]
    section = _plain(config.get(name, {}))
    if not isinstance(section, dict):
        raise UserError(f"{name}: found {section!r}, expected a mapping with {', '.join(keys)}")
    for key in section:
        if key not in keys:
            raise UserError(f"{name}.{key}: unknown key; known: {', '.join(keys)}")
    return section


def _expand(
    config: DictConfig, overrides: Sequence[str]
) -> tuple[Sequence[Cell], Sequence[Search]]:
    """The cells of the grid that meet every condition, or a search at each such point."""
    sections = {key: _plain(config.get(key)) for key in spec.KEYS}
    sweep = spec.read(sections, config.seed, overrides, _columns(config))
    _check_groups(sweep.grid)
    _check_size(sweep.grid, _most_cells(config))
    cells: dict[str, Cell] = {}
    for cell in _cells(config, overrides, sweep):
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


def _cells(config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep) -> Iterator[Cell]:
    """The cell at each point that meets every condition; with `of`, one for every trained cell.

    Conditions come first, so that they can leave out configurations that no trainer accepts.
    """
    reads: Sequence[_Read] = ()
    if sweep.trained is not None:
        reads = _reads(config, overrides, sweep.trained)
        _check_size(sweep.grid, _most_cells(config), len(reads))
    bases = _Bases(config, overrides, sweep)
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
        section = config.get(group)
        if OmegaConf.is_config(section) and "name" in section:
            names[f"{group}.name"] = section.name
    try:
        return schema.columns(names)
    except ValueError as error:
        raise UserError(str(error)) from None


def _most_cells(config: DictConfig) -> Any:
    return _section(config, "limits").get("cells")


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
    flat = _flat(config)
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


def _check_groups(grid: Grid) -> None:
    """Raise UserError for a value of a group's axis that is not the name of a file."""
    for group in config_keys.GROUPS:
        for value in grid.axes.get(group, ()):
            if not isinstance(value, str):
                raise UserError(
                    f"axes.{group}: found {value!r}, expected names of files in configs/{group}: "
                    f"{', '.join(config_names(group, CONFIGS))}"
                )


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
    """One choice of groups: the cells at the points of the grid, and what refers to its axes."""

    def __init__(self, config: DictConfig, sweep: spec.Sweep) -> None:
        axes = [axis for axis in sweep.grid.axes if axis not in config_keys.GROUPS]
        self.flat = _flat(config)
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
        trained.check_kept(flat, read.cell.flat)
        partner = read.partner.flat if read.partner is not None else None
        trained.check_measurable(flat, read.cell.flat, partner)
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

    def __init__(self, config: DictConfig, overrides: Sequence[str], sweep: spec.Sweep) -> None:
        self._overrides, self._sweep = overrides, sweep
        self._by_choices: dict[tuple[str, ...], _Base] = {(): _Base(config, sweep)}

    def of(self, choices: tuple[str, ...]) -> _Base:
        """The base with these choices, as overrides."""
        if choices not in self._by_choices:
            config = _compose([*self._overrides, *choices])
            self._by_choices[choices] = _Base(config, self._sweep)
        return self._by_choices[choices]


def _flat(config: DictConfig) -> dict[str, Any]:
    sections = OmegaConf.masked_copy(config, list(config_keys.CELL_KEYS))
    return _with_absolute_paths(dict(leaves(OmegaConf.to_container(sections, resolve=True))))


def _with_absolute_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration whose folders do not depend on the folder that a command runs in;
    relative ones are taken from the project folder.
    """
    values = dict(flat)
    for key in _PATH_KEYS:  # jobs and later resumes run in other folders
        if isinstance(values.get(key), str) and not values[key].strip():
            raise UserError(
                f"{key}: found an empty path, expected a folder; give one, or unset the "
                "environment variable that it comes from (REDESCENT_CIFAR10, REDESCENT_SVHN, "
                "REDESCENT_TABLE or REDESCENT_CACHE)"
            )
        if isinstance(values.get(key), str):
            values[key] = str(below_project(values[key]))
    return values


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on configs/; an error of Hydra or OmegaConf becomes a UserError of one line."""
    make_importable()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            yield
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(hydra_errors.reason(error, CONFIGS)) from None
        except RecursionError:
            raise UserError(
                "the configuration is nested too deeply, or refers to itself; expected a few levels"
            ) from None


def _compose(overrides: Sequence[str]) -> DictConfig:
    config = compose("config", overrides=list(overrides), return_hydra_config=True)
    for key in map(str, config):
        if key not in config_keys.TOP_KEYS:
            legal = ", ".join(config_keys.TOP_KEYS)
            raise UserError(f"{key}: unknown key; known at the top level: {legal}")
    for key in config_keys.NEEDED:
        if key not in config:
            raise UserError(_missing(key, overrides))
    return config


def _missing(key: str, overrides: Sequence[str]) -> str:
    """Why a composed configuration lacks a key that every sweep needs."""
    if f"~{key}" in overrides or key in (*config_keys.CELL_KEYS, "name", "logs"):
        return f"{key}: removed by ~{key}, but every sweep needs it"
    return (
        f"{key}: not set by the launcher's file; add a launcher that sets it to its `defaults`, "
        "such as slurm or local (or /policy@_global_ alone)"
    )
