"""The command that draws the figure of a sweep that is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from launch.plan.snapshot import SOURCE

SCRIPTS: Mapping[str, str] = {
    "fig2_ab": "fig2_ab", "cifar_small": "fig2_ab", "demo": "fig2_ab",
    "model_wise": "model_wise", "sample_wise": "sample_wise", "width_noise": "width_noise",
    "grok_fig1": "grok_fig1", "demo_grokking": "grok_fig1",
    "grok_steps": "grok_fig1", "grok_precision": "grok_fig1",
    "grok_data_fraction": "grok_data_fraction", "grok_optimizers": "grok_optimizers",
    "grok_operations": "grok_operations", "grok_embeddings": "grok_embeddings",
    "grok_outliers": "grok_outliers", "grok_sharpness": "grok_sharpness",
    "grok_width": "grok_width", "small_nn": "small_nn",
    "demo_capacity": "emc", "emc_digits": "emc", "emc_params": "emc",
    "emc_activations": "emc_activations", "emc_architectures": "emc_architectures",
    "emc_optimizers": "emc_optimizers", "emc_labels": "emc_labels", "emc_classes": "emc_classes",
    "emc_classes_random": "emc_classes", "emc_modality": "emc_modality",
    "emc_scaling": "emc_scaling", "interpolation_threshold": "search_threshold",
    "grok_threshold": "search_threshold", "linear_vs_net": "linear_vs_net",
    "optimizers_table": "optimizer_table", "rings_boundary": "rings",
    "minefield_bad": "minefield",
}  # fmt: skip
"""The script in analysis/ for shipped sweeps, whose small version ends with `_small`."""

SCRIPTS_OF_MEASURES: Mapping[str, str] = {
    "surface": "loss_surface",
    "radius": "radius_accuracy",
    "volume": "basin_volume",
    "curvature": "hessian_spectrum",
    "boundary": "decision_boundary",
    "line": "walk",
    "path": "trajectory",
    "sharpness": "sharpness_time",
    "progress": "grok_progress",
}
"""The script in analysis/ for every sweep of a measure, by the name of its trainer."""


def drawing_command(folder: Path, trainer: str) -> str | None:
    """The command that draws the figure of the sweep in this folder, whose cells have this trainer;
    None where no script is known.
    """
    named = SCRIPTS.get(folder.name) or SCRIPTS.get(_large(folder.name))
    script = named or SCRIPTS_OF_MEASURES.get(trainer)
    if script is None or not (SOURCE / "analysis" / f"{script}.py").exists():
        return None
    return f"python analysis/{script}.py {shown_path(folder)}"


def _large(name: str) -> str:
    """The name of the large version: swiss_roll_boundary of swiss_roll_small_boundary."""
    return name.replace("_small_", "_").removesuffix("_small")


def shown_path(path: Path) -> str:
    """A path relative to the current folder if it lies below it."""
    path = path.absolute()
    try:
        return str(path.relative_to(Path(os.getcwd()).absolute()))
    except ValueError:
        return str(path)
