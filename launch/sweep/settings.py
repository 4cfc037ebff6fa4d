"""How a sweep runs, from its composed configuration: packing, launcher, limits and notification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launch.errors import UserError
from launch.plan.launcher import Launcher
from launch.plan.project import below_project
from launch.sweep import config_keys
from launch.sweep.request import LAUNCH_KEYS, Cell, Packing, Policy, Request, check_new_name

_NOT_SETTINGS = ("submitit_folder", "name")


def request_of(config: DictConfig, cells: Sequence[Cell], overrides: Sequence[str]) -> Request:
    """The request to run these cells as the configuration says. Raises UserError."""
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
    return Launcher({str(key): plain(node[key]) for key in node if key not in _NOT_SETTINGS})


def plain(node: Any) -> Any:
    """A node of a configuration as plain Python objects."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _policy(config: DictConfig) -> Policy:
    limits = section(config, "limits")
    command = section(config, "notify").get("command")
    return Policy(limits.get("gpu_hours"), config.canary, config.compact, command)


def _packing(config: DictConfig) -> Packing:
    return Packing(**section(config, "task"))


def section(config: DictConfig, name: str) -> dict[str, Any]:
    """The keys of a section that belongs to no cell; UserError for an unknown one."""
    keys = config_keys.SECTION_KEYS[name]
    content = plain(config.get(name, {}))
    if not isinstance(content, dict):
        raise UserError(f"{name}: found {content!r}, expected a mapping with {', '.join(keys)}")
    for key in content:
        if key not in keys:
            raise UserError(f"{name}.{key}: unknown key; known: {', '.join(keys)}")
    return content
