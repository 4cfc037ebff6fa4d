"""A sweep's name and overrides -> its cells, through Hydra once per choice of config groups and not
once per cell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch.errors import UserError
from launch.plan.identity import cell_id
from launch.scheduler import slurm
from launch.sweep import spec as sweep_keys
from trainers import config as schema

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_CELL_KEYS = ("seed", "model", "data", "optim", "trainer", "run")
_TOP_KEYS = (
    *_CELL_KEYS,
    "name",
    "logs",
    *sweep_keys.KEYS,
    "task",
    "limits",
    "canary",
    "compact",
    "sweep",
    "hydra",
)
_GROUPS = ("model", "data", "optim", "trainer", "preset")
LAUNCH_KEYS = ("hydra/launcher=", "hydra.launcher.", "task.", "limits.", "canary=", "compact=")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Cell:
    """One training of the grid: its id and its flat configuration."""

    id: str
    flat: Mapping[str, Any]


AUTO: Literal["auto"] = "auto"
"""As `task.at_a_time`: as many cells side by side as a calibration found to be best
(launch/cost/concurrency.py).
"""

_EXPECTED = {(int,): "an integer", (int, float): "a number"}


@dataclass(frozen=True)
class Packing:
    """How cells become tasks; the keys of `task` in configs/hydra/launcher/slurm.yaml, which gives
    their units.
    """

    cells: int | None = None
    at_a_time: int | Literal["auto"] | None = 1
    minutes: float = 60
    most: int = 1000
    slots: int = 100

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value in {"cells": (None,), "at_a_time": (None, AUTO)}.get(field.name, ()):
                continue
            kinds = (int, float) if field.name == "minutes" else (int,)
            if type(value) not in kinds or value < 1:
                more = ", auto or null" if field.name == "at_a_time" else ""
                raise UserError(
                    f"task.{field.name}: found {value!r}, expected {_EXPECTED[kinds]} of at least "
                    f"1{more}"
                )


@dataclass(frozen=True)
class Policy:
    """What a submission does beside sending cells; `limits`, `canary` and `compact` of
    configs/config.yaml.
    """

    gpu_hours: float | None = None
    canary: bool = False
    compact: bool = False

    def __post_init__(self) -> None:
        if self.gpu_hours is not None and (
            type(self.gpu_hours) not in (int, float) or self.gpu_hours < 0
        ):
            raise UserError(
                f"limits.gpu_hours: found {self.gpu_hours!r}, expected a number of hours, or null"
            )
        for key in ("canary", "compact"):
            if type(getattr(self, key)) is not bool:
                raise UserError(f"{key}: found {getattr(self, key)!r}, expected true or false")


@dataclass(frozen=True)
class Request:
    """What a user asks for: cells, where to keep them, and the launcher to send them through."""

    name: str
    logs: Path
    cells: Sequence[Cell]
    packing: Packing
    launcher: Mapping[str, Any]
    chosen: Sequence[str]
    """The overrides that chose packing, launcher and policy; a resume with others builds on
    them.
    """
    policy: Policy = Policy()

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return self.logs / self.name


def request(sweep: str, overrides: Sequence[str]) -> Request:
    """Expand the sweep `configs/sweep/SWEEP.yaml` with Hydra overrides.

    Raises UserError for a sweep or key that is unknown, a value of the wrong type, a bad axis or
    condition, or a grid that is empty.
    """
    check_name(sweep)
    known = sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml"))
    if sweep not in known:
        raise UserError(f"no sweep {sweep!r} in {CONFIGS / 'sweep'}; known: {', '.join(known)}")
    with _hydra():
        _check_file(CONFIGS / "sweep" / f"{sweep}.yaml")
        overrides = [f"sweep={sweep}", *_with_launcher(overrides)]
        config = _compose(overrides)
        cells = _expand(config, overrides, lambda choices: _compose([*overrides, *choices]))
        return _request(config, cells, overrides)


def _check_file(path: Path) -> None:
    """Refuse a sweep file that Hydra would take for something else without a word."""
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


def launcher(overrides: Sequence[str]) -> Request:
    """A request without cells, for what `overrides` say of packing, launcher and the logs
    folder.
    """
    with _hydra():
        overrides = _with_launcher(overrides)
        return _request(_compose(overrides), [], overrides)


def single(config: DictConfig) -> Cell:
    """The one cell of a configuration that `python -m launch.train` composed."""
    return _cell(_flat(config), {}, lambda flat: True)  # type: ignore[return-value]


def check_name(name: Any) -> None:
    """Raises UserError for a name that cannot be a folder and part of a SLURM job name."""
    if not isinstance(name, str):
        raise UserError(
            f"name: found {name!r} ({type(name).__name__}), sweep name expected: letters, digits, "
            "'_', '-', '.'"
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            f"sweep name {name!r}: expected letters, digits, '_', '-' and '.', beginning with a "
            "letter or digit "
            "(it becomes a folder under logs/ and part of a SLURM job name)"
        )


def _request(config: DictConfig, cells: Sequence[Cell], overrides: Sequence[str]) -> Request:
    check_name(config.name)
    if not isinstance(config.logs, str):
        raise UserError(f"logs: found {config.logs!r}, expected the path of a folder")
    chosen = config.hydra.launcher
    settings = {
        str(key): _plain(chosen[key]) for key in chosen if key not in ("submitit_folder", "name")
    }
    chosen = [text for text in overrides if text.lstrip("+").startswith(LAUNCH_KEYS)]
    logs = Path(config.logs).absolute()
    return Request(
        config.name,
        logs,
        cells,
        _packing(config.get("task", {})),
        settings,
        chosen,
        _policy(config),
    )


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _policy(config: DictConfig) -> Policy:
    for key in config.limits:
        if key != "gpu_hours":
            raise UserError(f"limits.{key}: unknown key; known: gpu_hours")
    return Policy(config.limits.gpu_hours, config.canary, config.compact)


def _packing(task: Mapping[str, Any]) -> Packing:
    known = [field.name for field in dataclasses.fields(Packing)]
    for key in task:
        if key not in known:
            raise UserError(f"task.{key}: unknown key; known: {', '.join(known)}")
    return Packing(**task)


def _expand(
    config: DictConfig, overrides: Sequence[str], recompose: Callable[[list[str]], DictConfig]
) -> list[Cell]:
    described = {key: _plain(config.get(key)) for key in sweep_keys.KEYS}
    sweep = sweep_keys.read(described, config.seed, overrides)
    bases: dict[tuple[str, ...], dict[str, Any]] = {}
    cells: dict[str, Cell] = {}
    for point in sweep.grid.points():
        choices = tuple(f"{group}={point.pop(group)}" for group in _GROUPS if group in point)
        if choices not in bases:
            bases[choices] = _flat(recompose(list(choices)) if choices else config)
        cell = _cell(bases[choices], point, sweep.wants)
        if cell is not None:
            cells[cell.id] = cell
    if not cells:
        raise UserError(f"the grid is empty: no point meets {list(sweep.texts)}")
    return list(cells.values())


def _cell(
    base: Mapping[str, Any], values: Mapping[str, Any], wanted: Callable[[Mapping[str, Any]], bool]
) -> Cell | None:
    unknown = [key for key in values if key not in base]
    if unknown:
        raise UserError(
            f"axes.{unknown[0]}: no such configuration key; known: {', '.join(sorted(base))}"
        )
    try:
        flat = schema.flatten(schema.parse({**base, **values}))
        return Cell(cell_id(flat), flat) if wanted(flat) else None
    except ValueError as error:
        raise UserError(str(error)) from None


def _flat(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(config, list(_CELL_KEYS)), resolve=True
    )
    flat: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], path: str) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                walk(value, f"{path}{key}.")
            else:
                flat[path + key] = value

    walk(plain, "")
    for key in ("data.root", "data.cache"):  # jobs and later resumes stand in other folders
        if isinstance(flat.get(key), str):
            flat[key] = str(Path(flat[key]).expanduser().absolute())
    return flat


def _with_launcher(overrides: Sequence[str]) -> list[str]:
    if any(text.startswith("hydra/launcher=") for text in overrides):
        return list(overrides)
    return [f"hydra/launcher={'slurm' if slurm.present() else 'local'}", *overrides]


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on configs/; what it and OmegaConf complain of becomes a UserError of one line."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            yield
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(_reason(error)) from None


def _compose(overrides: list[str]) -> DictConfig:
    config = compose("config", overrides=overrides, return_hydra_config=True)
    unknown = [str(key) for key in config if key not in _TOP_KEYS]
    if unknown:
        raise UserError(
            f"{unknown[0]}: unknown key; known at the top level: {', '.join(_TOP_KEYS)}"
        )
    return config


def _reason(error: Exception) -> str:
    """Hydra's message in one line; for an unknown key the nearest known one, not Hydra's advice to
    append it.
    """
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if "not in struct" in text or re.search(r"Key '.*' not in '", text):
        found = re.search(r"full_key: (\S+)", text) or re.search(
            r"Could not override '([^']+)'", text
        )
        key = found.group(1) if found else text
        near = [
            k
            for k in difflib.get_close_matches(key, [*schema.columns(), *_TOP_KEYS], n=1)
            if k != key
        ]
        hint = f"; did you mean {near[0]}?" if near else ""
        free = key.startswith(("axes", "hydra."))
        return f"{key}: unknown key{hint}" + (
            "; +KEY=VALUE adds one, ~KEY removes one" if free else ""
        )
    lines = [
        line.strip() for line in text.split("Config search path")[0].splitlines() if line.strip()
    ]
    return "; ".join(lines[:12])
