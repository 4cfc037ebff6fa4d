"""The cells that are checked: models of both trainers, in small trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from turns import ROOT, flat_cell

from gpu_sections.settings import Settings

CONFIGS = ROOT / "configs" / "model"


def model_names() -> list[str]:
    """Every model of the trainers that are timed here."""
    from trainers.config.cell import IMAGE_MODELS

    names = []
    for path in sorted(CONFIGS.glob("*.yaml")):
        if model_settings(path.stem)["name"] in (*IMAGE_MODELS, "transformer"):
            names.append(path.stem)
    return names


def model_settings(model: str) -> dict[str, Any]:
    """What the file of a model sets."""
    return dict(yaml.safe_load((CONFIGS / f"{model}.yaml").read_text()))


def is_transformer(model: str) -> bool:
    """Whether a model reads operation tables."""
    return bool(model_settings(model)["name"] == "transformer")


def image_model(model: str, width: int) -> tuple[str, str]:
    """Overrides that choose an image model of about this width: that of a ViT is a multiple of its
    heads.
    """
    own = model_settings(model)
    if own["name"] == "vit":
        width = own["width"]
    return f"model={model}", f"model.width={width}"


def image_cell(settings: Settings, device: str, *overrides: str) -> dict[str, Any]:
    """A cell on random images."""
    return flat_cell(Path(settings.folder), settings.images, device, *overrides)


def table_cell(*overrides: str) -> dict[str, Any]:
    """A cell of `grok_fig1`, a transformer on an operation table."""
    from launch.sweep import compose

    request = compose.expand_sweep("grok_fig1", ["hydra/launcher=local", "seeds=[0]", *overrides])
    return dict(request.cells[0].flat)


def model_cell(model: str, settings: Settings) -> Any:
    """A cell with the model: a small one for images, the published size for operation tables, no
    dropout.
    """
    from trainers import config

    if is_transformer(model):
        rates = [f"model.dropout_{name}=0" for name in ("attention", "residual", "hidden")]
        return config.parse(table_cell(f"model={model}", *rates))
    chosen = image_model(model, 4 if settings.quick else 16)
    return config.parse(image_cell(settings, "cpu", *chosen))
