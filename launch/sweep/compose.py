"""Compose the configuration of a sweep from its name and overrides, once per choice of groups.

The only module besides launch/train.py that imports Hydra.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from launch.errors import UserError
from launch.plan.plan import plan_files
from launch.plan.project import (
    config_folders,
    config_names,
    logs_folder,
    make_importable,
    shipped_configs,
)
from launch.sweep import config_keys, hydra_errors, sweep_file
from launch.sweep.cells import expand, flat_of, read_sweep
from launch.sweep.grid import Grid
from launch.sweep.request import Cell, Request, check_name, resolved_cell
from launch.sweep.settings import request_of
from trainers.config.spelling import did_you_mean

CONFIGS = shipped_configs()
"""The shipped configurations."""

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
        described = read_sweep(config, overrides)
        _check_groups(described.grid)
        cells, searches = expand(config, overrides, described, _compose)
        return replace(request_of(config, cells, overrides), searches=searches)


def launcher_settings(overrides: Sequence[str]) -> Request:
    """A request without cells: packing, launcher and logs folder from `overrides`."""
    with _hydra():
        _check_grammar(overrides)
        return request_of(_compose(overrides), [], overrides)


class ProjectConfigs(SearchPathPlugin):  # type: ignore[misc]
    """Lets Hydra look into configs/ of the project before the shipped ones."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put configs/ of the project first."""
        for folder in config_folders(CONFIGS)[:-1]:
            search_path.prepend("redescent-project", f"file://{folder}")


Plugins.instance().register(ProjectConfigs)


def single_cell(config: DictConfig) -> Cell:
    """The one cell of a configuration that `python -m launch.train` composed."""
    return resolved_cell(flat_of(config))


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


def _check_groups(grid: Grid) -> None:
    """Raise UserError for a value of a group's axis that is not the name of a file."""
    for group in config_keys.GROUPS:
        for value in grid.axes.get(group, ()):
            if not isinstance(value, str):
                raise UserError(
                    f"axes.{group}: found {value!r}, expected names of files in configs/{group}: "
                    f"{', '.join(config_names(group, CONFIGS))}"
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
