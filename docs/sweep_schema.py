"""The JSON Schema of sweep files, for completion and checks in editors.

It knows every key, the choices of keys and groups, and the axes. Ranges of numbers, and which keys
go with which model or trainer, are checked by `redescent plan`.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import config_files
from config_files import CONFIGS, SECTIONS, options
from repository_files import tracked

from launch.plan.identity import RESULT_FREE
from launch.sweep import search
from launch.sweep.request import Packing, Policy
from trainers import config

GROUPS = (*SECTIONS, "preset")
"""Groups that a sweep file chooses from, in `defaults` or as an axis."""

LAUNCHER_GROUP = "hydra/launcher"

Schema = dict[str, Any]

_REFERENCE: Schema = {"$ref": "#/$defs/reference"}
_RANGE: Schema = {"$ref": "#/$defs/range"}
_NUMBERS: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 3,
    "maxItems": 3,
}
_INTEGERS: Schema = {**_NUMBERS, "items": {"type": "integer"}}
_CONDITIONS: Schema = {"type": "array", "items": {"type": "string"}}

_PLAIN: Mapping[Any, str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
}


def sweep_schema() -> Schema:
    """The schema of a file in configs/sweep/."""
    sections = {section: _section(section) for section in SECTIONS}
    sections["run"] = _object(_run_properties(), "where and how often a cell runs")
    properties = {
        "defaults": _defaults(),
        "name": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
            "description": "folder in logs/; the name of this file",
        },
        **_keys_of_sweeps(),
        **sections,
        **_keys_of_launchers(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A sweep of Redescent",
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
        "$defs": _definitions(),
    }


def _keys_of_sweeps() -> Schema:
    keys = config_files.read(CONFIGS / "config.yaml", "").keys
    comments = {key.path: key.comment for key in keys}
    seeds = _values([int])
    return {
        "logs": {"type": "string", "description": comments["logs"]},
        "seed": {"type": "integer", "description": comments["seed"]},
        "seeds": {"anyOf": [seeds, {"type": "null"}], "description": comments["seeds"]},
        "axes": {**_object(_axes(), comments["axes"]), "type": ["object", "null"]},
        "zip": {
            "type": ["array", "null"],
            "items": {"type": "array", "items": {"enum": sorted(_axes())}},
            "description": comments["zip"],
        },
        "where": {**_CONDITIONS, "type": ["array", "null"], "description": comments["where"]},
        "search": {"anyOf": [_search(), {"type": "null"}], "description": comments["search"]},
        "of": {"anyOf": [_of(), {"type": "null"}], "description": comments["of"]},
        "to": {"type": ["object", "null"], "description": comments["to"]},
    }


def _keys_of_launchers() -> Schema:
    task = {name: _any(options(hint)) for name, hint in typing.get_type_hints(Packing).items()}
    policy = typing.get_type_hints(Policy)
    limits = {"gpu_hours": _any(options(policy["gpu_hours"])), "cells": {"type": "integer"}}
    command = {"command": _any(options(policy["notify"]))}
    return {
        "task": _object(task, "how cells become tasks"),
        "limits": _object(limits, "limits of a submission"),
        "canary": _any([policy["canary"]]),
        "compact": _any([policy["compact"]]),
        "notify": _object(command, "a program that runs when a sweep ends"),
        "hydra": {"type": "object", "description": "keys of Hydra, such as hydra.launcher"},
    }


def _defaults() -> Schema:
    choices: list[Schema] = [{"const": "_self_"}]
    for group in (*GROUPS, LAUNCHER_GROUP):
        entry = {f"override /{group}": {"enum": _files(group)}}
        choices.append(_object(entry) | {"required": list(entry)})
    choices.append({"enum": _files("sweep")})
    return {"type": "array", "items": {"anyOf": choices}}


def _files(group: str) -> list[str]:
    return sorted(path.stem for path in tracked(CONFIGS / group, "*.yaml"))


def _axes() -> Schema:
    """Every key that can be an axis: those of cells, and the groups."""
    axes = {group: _values([Literal[tuple(_files(group))]]) for group in GROUPS}
    for section in SECTIONS:
        for key, found in config_files.section_hints(section).items():
            path = f"{section}.{key}"
            if not path.startswith(RESULT_FREE):
                axes[path] = _values(found)
    return axes


def _values(found: Sequence[Any]) -> Schema:
    """The values of an axis: a list, or a range."""
    return {"anyOf": [{"type": "array", "items": _any(found), "minItems": 1}, _RANGE]}


def _definitions() -> Schema:
    """Parts that many keys share: a reference such as `${optim.lr}`, and a range of values."""
    ranges: Schema = {"log": _NUMBERS, "linear": _NUMBERS, "range": _INTEGERS}
    return {
        "reference": {"type": "string", "pattern": r"\$\{"},
        "range": _object(ranges) | {"minProperties": 1, "maxProperties": 1},
    }


def _section(section: str) -> Schema:
    """The keys of a section, over all kinds; a key may also refer to another."""
    comments: dict[str, str] = {}
    for file in config_files.read_group(section):
        for key in file.keys:
            comments.setdefault(key.path, key.comment)
    tree: Schema = {}
    for path, found in config_files.section_hints(section).items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, _object({}))["properties"]
        node[name] = _any(found) | {"description": comments.get(path, "")}
    return _object(tree)


def _run_properties() -> Schema:
    hints = config_files.hints(config.RunSettings)
    return {name: _any(found) for name, found in hints.items()}


def _search() -> Schema:
    ratio: Schema = {"type": "number", "exclusiveMinimum": 1}
    step = _object({"step": {"type": "number", "exclusiveMinimum": 0}}) | {"required": ["step"]}
    count: Schema = {"type": "integer", "minimum": 1}
    properties: Schema = {
        "axis": {"type": "string"},
        "success": {"type": "string"},
        "range": {**_NUMBERS, "minItems": 2, "maxItems": 2},
        "falling": {"type": "boolean"},
        "lattice": {"anyOf": [count, step]},
        "method": {"enum": ["posterior", "bisect", "ladder"]},
        "first": count,
        "per_round": count,
        "until": ratio,
        "most": count,
        "verify": {"type": "boolean"},
        "doublings": {"type": "integer", "minimum": 0},
        "budget": {"type": ["array", "null"], "items": {"type": "string"}},
        "advance": {"enum": ["auto", "manual"]},
    }
    if set(properties) != set(search.KEYS):
        raise ValueError(f"keys of search: found {search.KEYS}, expected {list(properties)}")
    return _object(properties) | {"required": ["axis", "success", "range"]}


def _of() -> Schema:
    properties = {"sweep": {"type": "string"}, "where": _CONDITIONS}
    return _object(properties) | {"required": ["sweep"]}


def _any(found: Sequence[Any]) -> Schema:
    """A value of one of these types, or a reference such as `${optim.lr}`."""
    schemas = [_typed(hint) for hint in found]
    if {"type": "string"} not in schemas:
        schemas.append(_REFERENCE)
    return {"anyOf": schemas} if len(schemas) > 1 else schemas[0]


def _typed(hint: Any) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is not tuple:
        return {"type": _PLAIN[hint]}
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": _typed(arguments[0]), "minItems": 1}
    size = len(arguments)
    items = [_typed(argument) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": size, "maxItems": size}


def _object(properties: Schema, description: str | None = None) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return schema if description is None else {**schema, "description": description}
