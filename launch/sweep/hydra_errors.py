"""The errors of Hydra and OmegaConf in one line, with the keys and choices that are known here."""

from __future__ import annotations

import re
from pathlib import Path

from launch.plan.project import config_names
from launch.sweep import config_keys, search
from trainers import config as schema
from trainers.config.spelling import did_you_mean

_REASON_LINES = 12


def reason(error: Exception, shipped: Path) -> str:
    """What is wrong; for an unknown key or choice, with the nearest known ones.

    `shipped` is the folder of the shipped configurations.
    """
    missing_file = getattr(error, "missing_cfg_file", None)
    if missing_file:
        return _unknown_choice(missing_file, shipped)
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if "not in struct" in text or re.search(r"Key '.*' not in '", text):
        return _unknown_key(text)
    merged = re.search(r"Error merging override (.*)\s+Cannot merge (Dict|List)Config", text)
    if merged:
        override = merged[1].rstrip(";").lstrip("+")
        key = override.partition("=")[0]
        has, found = ("a mapping", "a list") if merged[2] == "Dict" else ("a list", "a mapping")
        return (
            f"{override}: found {found} or a single value where the sweep has {has}; to replace it "
            f"as a whole, write '~{key}' '+{override}'"
        )
    message = text.split("Config search path")[0]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return "; ".join(lines[:_REASON_LINES])


def _unknown_choice(file: str, shipped: Path) -> str:
    """Replaces Hydra's message about a file such as model/resnet, which lists its own files too."""
    file = file.removesuffix(".yaml")
    group, _, name = file.rpartition("/")
    choices = config_names(group, shipped) if group else []
    if not choices:
        return f"configs/{file}.yaml: no such file; expected a file that `defaults` can name"
    question = did_you_mean(name, choices, otherwise="")
    hint = f"{question} The choices" if question else "the choices"
    return f"{group}={name}: no such choice; {hint} are {', '.join(choices)}"


def _unknown_key(text: str) -> str:
    """Replaces Hydra's advice to append the key, which would hide a typing error."""
    full_key = re.search(r"full_key: (\S+)", text)
    match = full_key or re.search(r"Could not override '([^']+)'", text)
    key = match.group(1) if match else text
    section, _, name = key.partition(".")
    if name and section in config_keys.SECTION_KEYS:
        return f"{key}: unknown key; known: {', '.join(config_keys.SECTION_KEYS[section])}"
    if section == "axes" and name:
        return (
            f"{key}: an axis has a dot in its name, so an override cannot reach it alone; replace "
            "all axes with '~axes' '+axes={KEY: VALUES, ...}'"
        )
    if key in schema.columns():
        return f"{key}: unknown key here: the {section} of this sweep has none of that name"
    optional = ["of.where", *(f"search.{name}" for name in search.KEYS)]
    if key in optional:
        return f"{key}: the sweep's file does not set it; add it with +{key}=VALUE"
    message = f"{key}: unknown key"
    legal = [*schema.columns(), *config_keys.TOP_KEYS, *optional]
    nearest = schema.nearest_key(key, legal)
    if nearest not in (None, key):
        message += f"; did you mean {nearest}?"
    if key.startswith(("axes", "hydra.", "of.", "search", "to.")):
        message += "; +KEY=VALUE adds one, ~KEY removes one"
    return message
