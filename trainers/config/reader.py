"""Read a flat mapping strictly into nested, frozen dataclasses, and back; errors say what was found
and expected.

A flat configuration maps dotted paths to plain values (`{"model.width": 16, ...}`). If a field can
be one of several dataclasses, its `name` decides: by the literals of the dataclasses, or as the
`OneOf` of an annotation chooses (kinds.py). The reader does not depend on what the dataclasses
mean, and does not import torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import traceback
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from trainers.config.later import as_before, fill_in, same
from trainers.config.spelling import key_hint


class ConfigError(ValueError):
    """A configuration that no trainer accepts; the message has the key, the value found and what
    was expected.
    """


def read(kind: Any, flat: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `kind` from a flat configuration, which may lack `LATER_KEYS`.

    Raises `ConfigError` for a key that is unknown or missing, or whose value has the wrong type or
    is out of range.
    """
    complete = sorted(fill_in(flat).items())
    return _section(kind, "", tuple(_item(key, value) for key, value in complete))


def read_section(kind: Any, section: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """The flat configuration of one field of the dataclass `kind`, values of their declared types.

    `flat` has the keys of that section alone, and may lack `LATER_KEYS`. Raises `ConfigError` as
    `read`.
    """
    later = {k: v for k, v in as_before(flat).items() if k.startswith(f"{section}.")}
    group: list[_Item] = []
    for key, value in sorted({**later, **flat}.items()):
        group.append(_item(key.partition(".")[2], value))
    value = _value(_fields(kind)[section], section, group)
    if dataclasses.is_dataclass(value):
        return flatten(value, f"{section}.")
    return {section: as_lists(value)}


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """The flat configuration of a dataclass instance; tuples become lists."""
    flat: dict[str, Any] = {}
    kind: Any = type(node)
    later = own_later_keys(kind)
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{path}{field.name}.")
        elif field.name not in later or not same(value, later[field.name]):
            flat[path + field.name] = as_lists(value)
    return flat


@functools.cache
def own_later_keys(kind: Any) -> Mapping[str, Any]:
    """The keys that a class came to have after results of it existed, and the values that mean "as
    before": its attribute `later_keys`, and `later_in_subclasses` of the classes that it inherits
    from.

    While a key has that value it is left out of the flat configuration, and so of the id. Keys of
    our own classes are in later.py instead. Raises `ConfigError` for a key that is no field, or a
    value of the wrong type.
    """
    values = {}
    declared: dict[str, Any] = {}
    for base in reversed(kind.__mro__[1:]):
        declared |= vars(base).get("later_in_subclasses", {})
    declared |= getattr(kind, "later_keys", {})
    for key, value in declared.items():
        place = f"later_keys.{key}"
        if key not in _fields(kind):
            raise ConfigError(_unknown(place, list(_fields(kind))))
        values[key] = _value(_fields(kind)[key], place, [_item("", value)])
    return values


def check_settings(path: str, kind: Any) -> None:
    """Raise `ConfigError` unless the dataclass `kind`, at the import path `path`, can be read from
    a flat configuration: it has a field `name`, and fields of plain types alone.
    """
    try:
        fields = _fields(kind)
    except NameError as error:
        raise ConfigError(
            f"{path}: the type of a field is not known where the class is defined: {error}; import "
            "it at the top of the module, outside `if TYPE_CHECKING`"
        ) from None
    if "name" not in fields:
        raise ConfigError(f"{path}: no field `name: str`, which holds the import path of the class")
    for field, hint in fields.items():
        _check_hint(f"{path}.{field}", hint)
    own_later_keys(kind)


def _check_hint(place: str, hint: Any) -> None:
    """Raise `ConfigError` for a type that no value of a configuration can have."""
    for option in _options(hint):
        is_section: bool = dataclasses.is_dataclass(option)
        if is_section:
            for field, inner in _fields(option).items():
                _check_hint(f"{place}.{field}", inner)
        elif typing.get_origin(option) is tuple:
            for item in typing.get_args(option):
                if item is not Ellipsis:
                    _check_hint(place, item)
        elif option not in _PLAIN and typing.get_origin(option) is not Literal:
            raise ConfigError(
                f"{place}: found the type {option}, expected int, float, bool, str, None, a "
                "Literal, a tuple of these, or a frozen dataclass"
            )


_PLAIN = (int, float, bool, str, type(None))


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def as_lists(value: Any) -> Any:
    """A value with its tuples as lists, as a flat configuration holds them."""
    return [as_lists(item) for item in value] if isinstance(value, tuple) else value


def columns(kind: Any, path: str = "") -> Iterator[tuple[str, type]]:
    """Every key of `kind` with its plain type (int, float, bool, str, or a list of one), over all
    dataclasses that fit a field.

    A key that several of them have is yielded several times.
    """
    for field, hint in _fields(kind).items():
        options = _options(hint)
        one_of = _one_of(hint)
        if one_of is not None:
            options = tuple(one_of.short_kinds())
            if not options:
                continue
        if dataclasses.is_dataclass(options[0]):
            for option in options:
                yield from columns(option, f"{path}{field}.")
        else:
            yield path + field, _plain(options)


def at_least(key: str, value: float, bound: float) -> None:
    """Raise `ConfigError` unless the value of `key` is `bound` or more, and finite."""
    if not value >= bound:  # NaN is not
        raise ConfigError(f"{key}: found {value!r}, expected at least {bound}")
    if value == math.inf:
        raise ConfigError(f"{key}: found {value!r}, expected a finite number")


def below_one(key: str, value: float) -> None:
    """Raise `ConfigError` unless the value of `key` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ConfigError(f"{key}: found {value!r}, expected at least 0 and less than 1")


def between(key: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless the value of `key` is in [low, high]."""
    if not low <= value <= high:
        raise ConfigError(f"{key}: found {value!r}, expected {low} to {high}")


def quantity(count: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{count} {noun if count == 1 else noun + 's'}"


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _one_of(hint: Any) -> Any:
    """The `OneOf` of an annotated field; None if it has none."""
    return hint.__metadata__[0] if typing.get_origin(hint) is Annotated else None


@functools.cache
def _options(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def _plain(options: tuple[Any, ...]) -> Any:
    """The one plain type of a field's values; str where they can have several."""
    plain = [_plain_option(option) for option in options if option is not type(None)]
    return plain[0] if all(kind == plain[0] for kind in plain) else str


def _plain_option(option: Any) -> Any:
    if typing.get_origin(option) is Literal:
        return str
    if typing.get_origin(option) is tuple:
        return list[_plain(typing.get_args(option)[:1])]  # type: ignore[misc]
    return option


_Item = tuple[str, Any, Any]
"""A key below a section, its value, and the value's type as `_kinds` gives it.

A plain tuple: a cell has sixty of them, and a grid can have 300,000 cells.
"""


def _item(key: str, value: Any) -> _Item:
    as_tuples = _as_tuples(value)
    return key, as_tuples, _kinds(as_tuples)


def _kinds(value: Any) -> Any:
    """The type of a value and of list items: without it the cache would confuse 1, 1.0 and True."""
    return (tuple, *map(_kinds, value)) if isinstance(value, tuple) else type(value)


@functools.lru_cache(maxsize=4096)
def _section(kind: Any, path: str, items: tuple[_Item, ...]) -> Any:
    """Build the dataclass `kind` from the items below this section, sorted by key.

    Cached, because the cells of a grid share almost all sections: this makes it possible to check
    10,000 cells in about a second.
    """
    fields = _fields(kind)
    groups: dict[str, list[_Item]] = {}
    for key, value, value_kind in items:
        field, _, rest = key.partition(".")
        if field not in fields:
            raise ConfigError(_unknown(path + key, [path + name for name in fields]))
        groups.setdefault(field, []).append((rest, value, value_kind))
    for key, value in own_later_keys(kind).items():
        groups.setdefault(key, [_item("", value)])
    absent = [field for field in fields if field not in groups]
    if absent:
        raise ConfigError(
            f"{path}{absent[0]}: missing; a {kind.__name__} needs {', '.join(fields)}"
        )
    values = {}
    for field, group in groups.items():
        values[field] = _value(fields[field], path + field, group)
    return _constructed(kind, path, values)


def _constructed(kind: Any, path: str, values: Mapping[str, Any]) -> Any:
    """The dataclass with these values. Raises `ConfigError` with the place of an error in the code
    of a class of the user's.
    """
    try:
        return kind(**values)
    except ConfigError:
        raise
    except Exception as error:
        if kind.__module__.partition(".")[0] == "trainers":
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{path.rstrip('.')}: {kind.__module__}.{kind.__qualname__} refused these values: "
            f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
        ) from error


def _value(hint: Any, path: str, group: list[_Item]) -> Any:
    """The value of a field from the items below it: a section, or one plain value."""
    options, one_of = _options(hint), _one_of(hint)
    if one_of is None and not dataclasses.is_dataclass(options[0]):
        return _plain_value(options, path, group)
    inner = {key: value for key, value, _ in group}
    if "" in inner:
        raise ConfigError(f"{path}: found {inner['']!r}, expected a section with keys of its own")
    name = inner.get("name")
    if one_of is not None:
        kind = one_of.choose(f"{path}.name", name)
    else:
        kind = _choose(options, path, name)
    return _section(kind, path + ".", tuple(group))


def _plain_value(options: tuple[Any, ...], path: str, group: list[_Item]) -> Any:
    """The value as the first type that it fits."""
    rest, value, _ = group[0]
    if rest:
        raise ConfigError(_unknown(f"{path}.{rest}", [path]))
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ConfigError(f"{path}: found {value}, expected an integer from -2^63 to 2^63 - 1")
    for option in options:
        fits, converted = _convert(option, value)
        if fits:
            return converted
    found = list(value) if isinstance(value, tuple) else value  # as the user wrote it
    expected = " or ".join(map(_describe, options))
    raise ConfigError(f"{path}: found {found!r} ({type(found).__name__}), expected {expected}")


def _choose(options: tuple[Any, ...], path: str, name: Any) -> Any:
    if "name" not in _fields(options[0]):
        return options[0]
    by_name = {}
    for option in options:
        for literal in typing.get_args(_fields(option)["name"]):
            by_name[literal] = option
    if name not in by_name:
        raise ConfigError(f"{path}.name: found {name!r}, expected one of {', '.join(by_name)}")
    return by_name[name]


def _convert(option: Any, value: Any) -> tuple[bool, Any]:
    if option is type(None):
        return value is None, None
    origin = typing.get_origin(option)
    if origin is Literal:
        return value in typing.get_args(option), value
    if origin is tuple:
        return _convert_items(typing.get_args(option), value)
    if option is float and type(value) in (int, float):
        return True, float(value)
    return type(value) is option, value


def _convert_items(kinds: tuple[Any, ...], value: Any) -> tuple[bool, Any]:
    """Whether the items of `value` fit `kinds`, and the converted ones; (kind, ...) means any
    number of items, at least one.
    """
    if not isinstance(value, tuple) or not value:
        return False, value
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        return False, value
    items = [_convert(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return all(fits for fits, _ in items), tuple(item for _, item in items)


def _describe(option: Any) -> str:
    if option is type(None):
        return "null"
    if typing.get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(option)))
    if typing.get_origin(option) is tuple:
        first, *others = typing.get_args(option)
        if others == [Ellipsis]:
            return f"a list of at least one item, each {_describe(first)}"
        return f"a list of {1 + len(others)} {first.__name__}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[option]


def _unknown(key: str, keys: list[str]) -> str:
    hint = key_hint(key, keys, f"known here: {', '.join(keys)}")
    return f"{key}: unknown key; {hint}"
