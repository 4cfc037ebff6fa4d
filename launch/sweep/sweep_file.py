"""The file of a sweep, checked before Hydra reads it: Hydra's errors name neither file nor key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch.errors import UserError
from launch.sweep.config_keys import GROUPS

HEADER = "# @package _global_"

_MAPPINGS = ("axes", "limits", "task", "model", "data", "optim", "trainer", "run", "hydra")
_LISTS = ("zip", "where", "defaults")
_SHAPES: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(_MAPPINGS, (dict, "a mapping of keys to values")),
    **dict.fromkeys(_LISTS, (list, "a list")),
}
_MAY_BE_NULL = ("axes", "zip", "where")


def check(path: Path) -> None:
    """Raise UserError for a file that Hydra would misread, with the file and the key."""
    text = _text(path)
    first, *_ = text.splitlines() or [""]
    if first.replace(" ", "") != HEADER.replace(" ", ""):
        raise UserError(
            f"{path}: its first line is {first!r}, expected {HEADER!r}: without it nothing is used"
        )
    content = _content(path)
    if "name" not in content:
        raise UserError(
            f"{path}: no `name`; expected the name of the folder in logs/ that its runs are "
            "written to"
        )
    if "sweep" in content:
        raise UserError(
            f"{path}: found `sweep`, which has no effect in a sweep; expected the defaults of "
            "another sweep in its `defaults` list, or remove it"
        )
    for key, value in content.items():
        _check_shape(path, key, value)
    for entry in content.get("defaults", ()):
        if isinstance(entry, dict):
            _check_choices(path, entry)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from None


def _content(path: Path) -> Mapping[Any, Any]:
    """The mapping in the file, with its interpolations as they are."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; expected a sweep of a few levels") from None
    except OSError:  # of OmegaConf, for a file that is one number or text
        content = yaml.safe_load(_text(path))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"{path}: not valid YAML: {'; '.join(lines)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a {_kind(content)}, expected a mapping of keys to values")
    return content


def _check_shape(path: Path, key: Any, value: Any) -> None:
    if not isinstance(key, str):
        raise UserError(f"{path}: found the key {key!r} ({_kind(key)}), expected a text")
    if key not in _SHAPES or (value is None and key in _MAY_BE_NULL):
        return
    kind, expected = _SHAPES[key]
    if not isinstance(value, kind) and not _is_interpolation(value):
        raise UserError(f"{path}: {key}: found {value!r} ({_kind(value)}), expected {expected}")


def _check_choices(path: Path, entry: Mapping[Any, Any]) -> None:
    """Raise UserError for an entry of `defaults` that chooses a file of a group without overriding
    the choice of configs/config.yaml.
    """
    for key, choice in entry.items():
        group = str(key).removeprefix("override ").strip().removeprefix("/")
        is_right = str(key).startswith("override ") and "/" in str(key)
        is_own = str(key) == group and (path.parent / group).is_dir()
        if group in GROUPS and not is_right and not is_own:
            raise UserError(
                f"{path}: defaults: found '- {key}: {choice}', expected "
                f"'- override /{group}: {choice}'"
            )


def _is_interpolation(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _kind(value: Any) -> str:
    names = {dict: "mapping", list: "list", str: "text", type(None): "null", int: "number"}
    return names.get(type(value), type(value).__name__)
