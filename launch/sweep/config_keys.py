"""The top-level keys of a sweep's configuration, and the groups of its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from launch.sweep import spec
from launch.sweep.request import Packing

CELL_KEYS = ("seed", "model", "data", "optim", "trainer", "run")
"""The top-level keys of a cell."""

SECTION_KEYS: Mapping[str, Sequence[str]] = {
    "limits": ("gpu_hours", "cells"),
    "task": tuple(field.name for field in dataclasses.fields(Packing)),
    "notify": ("command",),
}
"""The keys of each section that says how cells are sent."""

TOP_KEYS = (
    *CELL_KEYS, "name", "logs", *spec.KEYS,
    "task", "limits", "canary", "compact", "notify", "sweep", "hydra",
)  # fmt: skip
"""All keys at the top level."""

NEEDED = (*CELL_KEYS, "name", "logs", "limits", "canary", "compact")
"""The top-level keys that every sweep has."""

GROUPS = ("model", "data", "optim", "trainer", "preset")
"""The groups of files that a sweep chooses from, and that may be axes."""
