"""Resolve the points of a grid into cells; each section is resolved once for each of its values.

The cells of a grid share most of their sections (`model`, `data`, ...), so a cell costs little more
time and memory than the values in which it differs. Pure.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch.errors import UserError
from launch.plan.identity import id_of_sections, section_text
from launch.sweep.request import Cell, resolved_cell
from trainers import config as schema
from trainers.config.spelling import key_hint


@dataclass(frozen=True)
class Section:
    """The keys of one section, every value of its declared type, and their text in the id."""

    flat: Mapping[str, Any]
    text: str


EMPTY = Section({}, "")


class Sections(Mapping[str, Any]):
    """A flat configuration whose sections it shares with other cells; immutable."""

    __slots__ = ("_sections",)

    def __init__(self, sections: Mapping[str, Section]) -> None:
        self._sections = tuple(section.flat for section in sections.values())

    def __getitem__(self, key: str) -> Any:
        for section in self._sections:
            if key in section:
                return section[key]
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As in Mapping, without an exception for each key that is missing."""
        for section in self._sections:
            if key in section:
                return section[key]
        return default

    def __iter__(self) -> Iterator[str]:
        for section in self._sections:
            yield from section

    def items(self) -> ItemsView[str, Any]:
        """All keys with their values; that of Mapping would search the sections for each key."""
        return self._merged().items()

    def _merged(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for section in self._sections:
            merged |= section
        return merged

    def __len__(self) -> int:
        return sum(map(len, self._sections))

    def __repr__(self) -> str:
        return repr(self._merged())


class Resolver:
    """The cells of points that change values of one flat configuration."""

    def __init__(self, base: Mapping[str, Any]) -> None:
        self.base = base
        self._sections: dict[tuple[str, ...], Section] = {}
        self._names: list[str] = []
        self._unchanged: dict[tuple[str, ...], dict[str, Section]] = {}
        self._base_sections: dict[str, dict[str, Any]] = {}
        for key, value in base.items():
            self._base_sections.setdefault(_section_of(key), {})[key] = value

    def cell(self, point: Mapping[str, Any]) -> Cell:
        """The cell at a point, whose keys are those of the base.

        Raises UserError for one that no trainer accepts.
        """
        if not self._names:
            first = resolved_cell({**self.base, **point})  # also checks that no section is missing
            self._names = list(dict.fromkeys(map(_section_of, first.flat)))
        trainer = point.get("trainer.name", self.base.get("trainer.name", "vision"))
        values: dict[str, dict[str, Any]] = {}
        for key, value in point.items():
            values.setdefault(_section_of(key), {})[key] = value
        sections = self._sections_but(trainer, tuple(values))
        for name, changed in values.items():
            sections[name] = self._section(trainer, name, changed)
        texts = (sections[name].text for name in sorted(sections))
        return Cell(id_of_sections(texts), Sections(sections))

    def check_keys(self, point: Mapping[str, Any]) -> None:
        """Raise UserError for a point with a key that the base lacks."""
        for key in point:
            if key not in self.base:
                of_section = self._base_sections.get(_section_of(key))
                keys_here = ", ".join(sorted(of_section or self.base))
                hint = key_hint(key, self.base, f"known: {keys_here}")
                raise UserError(f"axes.{key}: no such configuration key; {hint}")

    def _sections_but(self, trainer: str, changed: tuple[str, ...]) -> dict[str, Section]:
        """The sections of the base in the order of the names; those that change are still empty."""
        key = (trainer, *changed)
        if key not in self._unchanged:
            sections = {}
            for name in self._names:
                is_changed = name in changed
                sections[name] = EMPTY if is_changed else self._section(trainer, name, {})
            self._unchanged[key] = sections
        return dict(self._unchanged[key])

    def _section(self, trainer: str, name: str, values: Mapping[str, Any]) -> Section:
        variant = (trainer, name, repr(values))
        if variant not in self._sections:
            self._sections[variant] = self._resolved(trainer, name, values)
        return self._sections[variant]

    def _resolved(self, trainer: str, name: str, values: Mapping[str, Any]) -> Section:
        base = self._base_sections.get(name, {})
        try:
            flat = schema.resolve_section(trainer, name, {**base, **values})
            return Section(flat, section_text(flat))
        except ValueError as error:
            raise UserError(str(error)) from None


def _section_of(key: str) -> str:
    return key.partition(".")[0]
