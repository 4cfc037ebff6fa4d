"""Values of a composed configuration that refer to an axis, such as `${optim.lr}`.

Hydra composes a sweep once, so such a value is resolved again at each value of the axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launch.sweep.request import leaves

_NESTED = re.compile(r"\$\{[^}]*\$\{")


class References:
    """The values below `sections` of a configuration that may refer to one of the axes."""

    def __init__(self, config: DictConfig, sections: Sequence[str], axes: Sequence[str]) -> None:
        raw = OmegaConf.to_container(OmegaConf.masked_copy(config, list(sections)), resolve=False)
        texts = {}
        for key, value in leaves(raw):
            if isinstance(value, str) and "${" in value:
                texts[key] = value
        self.keys = _dependent(texts, axes)
        self.axes = [axis for axis in axes if _dependent(texts, [axis])]
        if self.keys:
            without_hydra = [str(key) for key in config if key != "hydra"]
            self._config = OmegaConf.masked_copy(config, without_hydra)
        self._values: dict[str, dict[str, Any]] = {}

    def values_at(self, point: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values at a point of the grid, by flat key; empty if none refers to an axis.

        A key that is itself an axis of the point keeps the axis's value.
        """
        if not self.keys:
            return {}
        position = {axis: point[axis] for axis in self.axes if axis in point}
        if repr(position) not in self._values:
            self._values[repr(position)] = self._resolve(position)
        values = self._values[repr(position)]
        return {key: value for key, value in values.items() if key not in point}

    def _resolve(self, position: Mapping[str, Any]) -> dict[str, Any]:
        for axis, value in position.items():
            OmegaConf.update(self._config, axis, value, merge=False)
        values: dict[str, Any] = {}
        for key in self.keys:
            value = OmegaConf.select(self._config, key)
            if OmegaConf.is_config(value):
                values |= leaves(OmegaConf.to_container(value, resolve=True), f"{key}.")
            else:
                values[key] = value
        return values


def _dependent(texts: Mapping[str, str], axes: Sequence[str]) -> list[str]:
    """The keys whose text may refer to an axis, directly or through another of these keys."""
    names, keys = list(axes), []
    while names:
        name = names.pop()
        for key, text in texts.items():
            if key not in keys and _may_refer(text, name):
                keys.append(key)
                names.append(key)
    return [key for key in texts if key in keys]


def _may_refer(text: str, name: str) -> bool:
    """Whether an interpolation may refer to a key: it has its last part, its whole section, or an
    inner interpolation, which may yield any key.
    """
    section, _, _ = name.partition(".")
    last = name.rpartition(".")[2]
    patterns = (rf"\b{re.escape(last)}\b", rf"\$\{{\s*{re.escape(section)}\s*\}}")
    return bool(_NESTED.search(text)) or any(re.search(pattern, text) for pattern in patterns)
