"""The files of configs/ with their comments, and the types that trainers/config gives their keys.

Every key of configs/ has its default and a comment with its unit and meaning. The dataclasses of
trainers/config have its type. Pages and the schema of sweep files are made from the two.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from repository_files import ROOT, tracked

from trainers.config.kinds import SHORT_NAMES, resolve

CONFIGS = ROOT / "configs"

SECTIONS = ("model", "data", "optim", "trainer")
"""Groups of files whose keys form a section of the configuration of that name."""

_PACKAGE = "@package _global_"


@dataclass(frozen=True)
class Key:
    """A key of a file: its dotted path, default as written, comment. A section has no default."""

    path: str
    default: str
    comment: str


@dataclass(frozen=True)
class ConfigFile:
    """A file of configs/."""

    group: str
    name: str
    description: str
    """The text above its first key."""
    keys: Sequence[Key]
    choices: Sequence[str]
    """What its list `defaults` chooses, such as `data=digits`."""

    @property
    def kind(self) -> str:
        """The value of `name`, which decides the dataclass of the section."""
        return next((key.default for key in self.keys if key.path == "name"), "")


def read_group(group: str) -> list[ConfigFile]:
    """The files of a group such as `model`, by name."""
    return [read(path, group) for path in tracked(CONFIGS / group, "*.yaml")]


def read(path: Path, group: str) -> ConfigFile:
    """One file. In a file of a section, keys are named without the section."""
    text = path.read_text()
    source = _Source(text.splitlines())
    root = yaml.compose(text)
    keys = list(source.keys(root, ""))
    is_global = any(_PACKAGE in line for line in source.lines[:1])
    if is_global and group in SECTIONS:
        keys = _of_section(group, keys)
    first = root.value[0][0].start_mark.line
    header = [line.removeprefix("#").strip() for line in source.lines[:first]]
    description = " ".join(line for line in header if line and line != _PACKAGE)
    return ConfigFile(group, path.stem, description, keys, _choices(text))


def _of_section(section: str, keys: Sequence[Key]) -> list[Key]:
    """The keys of a section, named without it."""
    prefix = f"{section}."
    of_section = [key for key in keys if key.path.startswith(prefix)]
    return [dataclasses.replace(key, path=key.path.removeprefix(prefix)) for key in of_section]


def _choices(text: str) -> list[str]:
    """What the list `defaults` of a file chooses, such as `data=digits`."""
    choices = []
    for entry in yaml.safe_load(text).get("defaults") or []:
        if isinstance(entry, dict):
            for group, name in entry.items():
                if str(group).startswith("override /"):
                    choices.append(f"{str(group).removeprefix('override /')}={name}")
    return choices


class _Source:
    """The lines of a file, from which the values and comments of its keys are taken as written."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    def keys(self, node: yaml.Node, path: str) -> Iterator[Key]:
        """Every key below a mapping; `defaults` is no key of the configuration."""
        first = node.value[0][0].start_mark.line
        for name, value in node.value:
            if name.value == "defaults":
                continue
            before = self._comment_above(name, first if not path else -1)
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                comment = f"{before} {self._comment_after(name, name.end_mark)}".strip(" :")
                if comment:
                    yield Key(path + name.value, "", comment)
                yield from self.keys(value, f"{path}{name.value}.")
            else:
                after = self._comment_after(name, value.end_mark)
                yield Key(path + name.value, self._text(value), f"{before} {after}".strip())

    def _text(self, value: yaml.Node) -> str:
        """The value as written, on one line."""
        start, end = value.start_mark, value.end_mark
        if start.line == end.line:
            return self.lines[start.line][start.column : end.column]
        parts = [self.lines[start.line][start.column :]]
        parts += self.lines[start.line + 1 : end.line]
        parts.append(self.lines[end.line][: end.column])
        return " ".join(part.partition(" #")[0].strip() for part in parts).strip()

    def _comment_after(self, name: yaml.Node, end: Any) -> str:
        """The comment behind a value, with the lines that continue it."""
        _, sign, text = self.lines[end.line][end.column :].partition("#")
        if not sign:
            return ""
        parts = [text.strip()]
        for line in self.lines[end.line + 1 :]:
            indent = len(line) - len(line.lstrip())
            if not line.lstrip().startswith("#") or indent <= name.start_mark.column:
                break
            parts.append(line.strip("# "))
        return " ".join(parts)

    def _comment_above(self, name: yaml.Node, first: int) -> str:
        """The lines of comment directly above a key, unless they are those of the whole file."""
        parts: list[str] = []
        line = name.start_mark.line - 1
        while name.start_mark.line != first and line >= 0:
            text = self.lines[line]
            if not text[name.start_mark.column :].startswith("#"):
                break
            parts.insert(0, text.strip("# "))
            line -= 1
        return " ".join(parts)


def kinds(section: str) -> dict[str, type]:
    """The dataclasses of a section, by the values of `name` that choose them."""
    return {name: resolve(section, name) for name in SHORT_NAMES[section]}


def hints(kind: type, path: str = "") -> dict[str, list[Any]]:
    """The types that each key below a dataclass may have, by dotted path."""
    types_of: dict[str, list[Any]] = {}
    for field, hint in typing.get_type_hints(kind).items():
        for option in options(hint):
            nested = {f"{path}{field}": [option]}
            if dataclasses.is_dataclass(option):
                nested = hints(typing.cast(type, option), f"{path}{field}.")
            for key, found in nested.items():
                known = types_of.setdefault(key, [])
                known += [one for one in found if one not in known]
    return types_of


def section_hints(section: str) -> dict[str, list[Any]]:
    """The same for a section, over all its kinds."""
    union: dict[str, list[Any]] = {}
    for kind in kinds(section).values():
        for key, found in hints(kind).items():
            known = union.setdefault(key, [])
            known += [one for one in found if one not in known]
    return union


def options(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


_WORDS: Mapping[Any, str] = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "`true` or `false`",
    type(None): "`null`",
}


def describe(hint: Any) -> str:
    """A type in words, as Markdown."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list, each: {describe(arguments[0])}"
        return f"list of {len(arguments)}: {', '.join(map(describe, arguments))}"
    return _WORDS[hint]


def describe_all(found: Sequence[Any]) -> str:
    """The types of a key in words; choices of several kinds are joined."""
    literals: list[str] = []
    others: list[str] = []
    for hint in found:
        target = literals if typing.get_origin(hint) is Literal else others
        target += [describe(hint)]
    return " or ".join(filter(None, [", ".join(literals), *others]))
