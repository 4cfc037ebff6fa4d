"""What a shell completes: sweeps, cells, keys of the configuration and their values.

Neither Hydra nor pandas is loaded: names of files, the ids in plans, and the dataclasses of
trainers/config tell it all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from launch.plan.identity import SHORT_ID

VARIABLE = "_REDESCENT_COMPLETE"
"""The variable by which the shell asks for completions."""

MOST_CELLS = 200
"""Ids that are offered at most; more characters choose among more."""

GROUPS = ("model", "data", "optim", "trainer", "preset", "hydra/launcher")
"""Groups of files in configs/ that an override chooses from."""

_TOP_KEYS = (
    "seeds", "axes", "where", "zip", "name", "logs", "canary", "compact", "limits.gpu_hours",
    "limits.cells", "notify.command",
)  # fmt: skip


def script(shell: str, command_line: click.Command) -> str:
    """The text that a shell evaluates to complete `redescent`."""
    register()
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no completion for {shell}"
    return kind(command_line, {}, "redescent", VARIABLE).source()


def register() -> None:
    """Let click use our completion for bash."""
    add_completion_class(KeyValueBash)


class KeyValueBash(BashComplete):
    """Bash takes KEY=VALUE for three words, and replaces only the last one of them."""

    source_template = BashComplete.source_template.replace(
        "        elif [[ $type == 'plain' ]]; then",
        "        elif [[ $type == 'key' ]]; then\n"
        "            COMPREPLY+=($value)\n"
        "            compopt -o nospace\n"
        "        elif [[ $type == 'plain' ]]; then",
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one to complete, and that word as far as it is typed."""
        words, incomplete = super().get_completion_args()
        *before, last = joined([*words, incomplete])
        self._is_value = "=" in last
        return before, last

    def format_completion(self, item: CompletionItem) -> str:
        """One line of the answer; without the key if bash keeps it."""
        value = str(item.value)
        if self._is_value:
            return f"{item.type},{value.partition('=')[2]}"
        return f"key,{value}" if value.endswith("=") else f"{item.type},{value}"


def joined(words: Sequence[str]) -> list[str]:
    """The words of bash, with KEY, "=" and VALUE as one."""
    result: list[str] = []
    for word in words:
        if result and (word == "=" or result[-1].endswith("=")):
            result[-1] += word
        else:
            result.append(word)
    return result


def sweep_files(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The names of the sweep files."""
    return [name for name in _files_of("sweep") if name.startswith(typed)]


def sweep_folders(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The names of the submitted sweeps."""
    from launch.plan.project import logs_folder

    plans = logs_folder().glob("*/submissions")
    return sorted(path.parent.name for path in plans if path.parent.name.startswith(typed))


def cells(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The ids of planned cells, short as long as that tells them apart from what is typed."""
    length = SHORT_ID if len(typed) < SHORT_ID else None
    matches = (cell for cell in _cell_ids() if cell.startswith(typed))
    return sorted({cell[:length] for cell in islice(matches, MOST_CELLS)})


def overrides(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The keys of the configuration, or the values of the key that is typed."""
    key, equals, value = typed.partition("=")
    if not equals:
        return [f"{name}=" for name in _keys() if name.startswith(typed)]
    return [f"{key}={choice}" for choice in _values(key) if choice.startswith(value)]


def launch_overrides(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """`overrides` for the keys that `resume` accepts, which say how jobs run and not what."""
    from launch.sweep.request import LAUNCH_KEYS

    words = overrides(context, parameter, typed)
    return [word for word in words if word.startswith(LAUNCH_KEYS)]


def _keys() -> list[str]:
    from trainers import config

    return sorted({*_TOP_KEYS, *GROUPS, *_launcher_keys(), *config.columns()})


def _launcher_keys() -> Iterator[str]:
    """The keys of the launchers' files, below `hydra.launcher` and `task`."""
    import yaml

    for path in _paths("hydra/launcher"):
        content: Any = yaml.safe_load(path.read_text())
        launcher = (content.get("hydra") or {}).get("launcher") or {}
        yield from (f"hydra.launcher.{key}" for key in launcher)
        yield from (f"task.{key}" for key in content.get("task") or {})


def _values(key: str) -> list[str]:
    if key in GROUPS:
        return _files_of(key)
    from trainers import config

    is_switch = key in ("canary", "compact") or config.columns().get(key) is bool
    return ["false", "true"] if is_switch else []


def _files_of(group: str) -> list[str]:
    from launch.plan.project import config_names, shipped_configs

    return sorted(config_names(group, shipped_configs()))


def _paths(group: str) -> Iterator[Path]:
    from launch.plan.project import config_folders, shipped_configs

    for folder in config_folders(shipped_configs()):
        yield from (folder / group).glob("*.yaml")


def _cell_ids() -> Iterator[str]:
    """The ids in all plans, the newest plan first; a damaged plan has none."""
    from launch.plan.project import logs_folder

    plans = logs_folder().glob("*/submissions/*/plan.json")
    oldest_first = sorted(plans, key=lambda path: path.parent.name)
    for path in reversed(oldest_first):
        try:
            planned = json.loads(path.read_bytes())["cells"]
            yield from [str(cell["id"]) for cell in planned]
        except (OSError, ValueError, LookupError, TypeError):
            continue
