"""The command that draws a sweep that is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from launch.plan.snapshot import SOURCE

SCRIPTS: Mapping[str, str] = {
    "fig2_ab": "fig2_ab", "cifar_small": "fig2_ab", "demo": "fig2_ab",
    "model_wise": "model_wise", "sample_wise": "sample_wise", "width_noise": "width_noise",
    "grok_fig1": "grok_fig1", "demo_grokking": "grok_fig1",
    "grok_data_fraction": "grok_data_fraction", "grok_optimizers": "grok_optimizers",
    "grok_operations": "grok_operations", "grok_embeddings": "grok_embeddings",
    "grok_outliers": "grok_outliers", "grok_sharpness": "grok_sharpness",
    "grok_width": "grok_width", "small_nn": "small_nn",
    "demo_capacity": "emc", "emc_digits": "emc", "emc_params": "emc",
    "emc_activations": "emc_activations", "emc_architectures": "emc_architectures",
    "emc_optimizers": "emc_optimizers", "emc_labels": "emc_labels", "emc_classes": "emc_classes",
    "emc_scaling": "emc_scaling", "interpolation_threshold": "search_threshold",
    "grok_threshold": "search_threshold", "linear_vs_net": "linear_vs_net",
    "optimizers_table": "optimizer_table", "rings_boundary": "rings",
    "minefield_bad": "minefield", "minefield_path": "trajectory",
    "demo_landscape_boundary": "decision_boundary", "swiss_roll_boundary": "decision_boundary",
    "demo_landscape_radius": "radius_accuracy", "demo_landscape_surface": "loss_surface",
    "minima_cifar_radius": "radius_accuracy", "swiss_roll_radius": "radius_accuracy",
    "minima_cifar_line": "walk", "swiss_roll_small_line": "walk",
    "grok_progress_measures": "grok_progress",
}  # fmt: skip
"""The script in analysis/ for each shipped sweep, whose small version ends with `_small`."""


def drawing_command(folder: Path) -> str:
    """The command that draws the sweep in this folder; the report, for one that is not shipped."""
    script = SCRIPTS.get(folder.name) or SCRIPTS.get(_large(folder.name))
    if script is None or not (SOURCE / "analysis" / f"{script}.py").exists():
        return f"redescent report {folder.name}"
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
