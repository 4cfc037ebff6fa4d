"""Read the JSON files of a submission, with types and ranges. An error names file, key, what was
found and what was expected.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST_VALUE = 60
"""Characters of a value that an error shows."""

LARGEST = 2**32
"""The largest integer, and the largest number, that a key of ours can have; times are smaller."""

REQUIRED: Any = object()
"""The default of a key that a file must have."""


class Damaged(ValueError):
    """A file that does not hold what it should; the message begins with the key."""


class NewerCode(Damaged):
    """A file with a key or a value that only newer code can have written."""


def read_json(path: Path, key: str = "") -> Any:
    """The content of a JSON file. Raises Damaged if it is none, OSError if it cannot be read.

    `key` names the file in the error, if the error's reader cannot know which file is meant.
    """
    place = f"{key}: " if key else ""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise Damaged(f"{place}found brackets nested too deep, expected JSON") from None
    except ValueError as error:
        raise Damaged(f"{place}found no JSON: {error}") from None


def wrong(key: str, value: Any, expected: str) -> Damaged:
    """The error for a value that is not what was expected."""
    text = repr(value)
    if len(text) > LONGEST_VALUE:
        text = text[:LONGEST_VALUE] + "..."
    place = f"{key}: " if key else ""
    return Damaged(f"{place}found {text}, expected {expected}")


def as_list(value: Any, key: str) -> list[Any]:
    """The value, which must be a list."""
    if type(value) is not list:
        raise wrong(key, value, "a list")
    return value


def as_object(value: Any, key: str) -> dict[str, Any]:
    """The value, which must be an object."""
    if type(value) is not dict:
        raise wrong(key, value, "an object")
    return value


def as_texts(value: Any, key: str) -> list[str]:
    """The value, which must be a list of texts."""
    for text in as_list(value, key):
        if type(text) is not str:
            raise wrong(key, text, "a text")
    return list(value)


def as_indices(value: Any, key: str, end: int) -> list[int]:
    """The value, which must be a list of integers from 0 to below `end`."""
    for index in as_list(value, key):
        if type(index) is not int or not 0 <= index < end:
            raise wrong(key, index, f"an integer of at least 0 and below {end}")
    return list(value)


class Fields:
    """The keys of a JSON object. Each is read once; `finish` refuses those that nobody read."""

    def __init__(self, content: Any, key: str = "") -> None:
        self._content = as_object(content, key)
        self._prefix = f"{key}." if key else ""
        self._read: set[str] = set()

    def any(self, name: str, default: Any = REQUIRED) -> Any:
        """The value of a key, whatever its type; `default` if it is missing."""
        self._read.add(name)
        if name in self._content:
            return self._content[name]
        if default is REQUIRED:
            raise Damaged(f"{self._prefix}{name}: missing")
        return default

    def text(self, name: str) -> str:
        """A text."""
        value = self.any(name)
        if type(value) is not str:
            raise self.wrong(name, "a text")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of several texts; another one is that of newer code."""
        value = self.text(name)
        if value not in choices:
            error = self.wrong(name, f"one of {', '.join(choices)}")
            raise NewerCode(str(error))
        return value

    def text_or_null(self, name: str, default: Any = REQUIRED) -> str | None:
        """A text, or null."""
        value = self.any(name, default)
        if value is not None and type(value) is not str:
            raise self.wrong(name, "a text or null")
        return value

    def flag(self, name: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self.any(name, default)
        if type(value) is not bool:
            raise self.wrong(name, "true or false")
        return value

    def count(self, name: str, least: int = 0, default: Any = REQUIRED) -> int:
        """An integer of at least `least`."""
        value = self.any(name, default)
        if type(value) is not int or not least <= value <= LARGEST:
            raise self.wrong(name, f"an integer of at least {least}, at most {LARGEST}")
        return value

    def count_or_null(self, name: str, least: int = 0, default: Any = REQUIRED) -> int | None:
        """An integer of at least `least`, or null."""
        if self.any(name, default) is None:
            return None
        return self.count(name, least)

    def number(self, name: str, least: float = 0, default: Any = REQUIRED) -> float:
        """A finite number of at least `least`."""
        value = self.any(name, default)
        if type(value) not in (int, float) or not least <= value <= LARGEST:
            raise self.wrong(name, f"a number of at least {least:g}, at most {LARGEST}")
        return float(value)

    def number_or_null(self, name: str, least: float = 0, default: Any = REQUIRED) -> float | None:
        """A finite number of at least `least`, or null."""
        if self.any(name, default) is None:
            return None
        return self.number(name, least)

    def texts(self, name: str, default: Any = REQUIRED) -> list[str]:
        """A list of texts."""
        return as_texts(self.any(name, default), self._prefix + name)

    def list(self, name: str, default: Any = REQUIRED) -> list[Any]:
        """A list."""
        return as_list(self.any(name, default), self._prefix + name)

    def object(self, name: str, default: Any = REQUIRED) -> dict[str, Any]:
        """An object."""
        return as_object(self.any(name, default), self._prefix + name)

    def wrong(self, name: str, expected: str) -> Damaged:
        """The error for a key whose value is not what was expected."""
        return wrong(self._prefix + name, self._content.get(name), expected)

    def finish(self) -> None:
        """Raise NewerCode for a key that was not read."""
        for name in self._content:
            if name not in self._read:
                raise NewerCode(f"{self._prefix}{name}: unknown key")


def each(content: Sequence[Any], key: str) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with the key that names it: `cells[3]`."""
    for index, item in enumerate(content):
        yield f"{key}[{index}]", item


def without(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The keys of an object, except some."""
    return {name: value for name, value in content.items() if name not in names}
