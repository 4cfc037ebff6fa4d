"""Trainings with and without CUDA graphs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_sections import cells
from gpu_sections.settings import Settings
from gpu_sections.table import Row, check
from gpu_sections.trainings import attempt, rows, rows_apart, tensors, tensors_apart


def graphs(settings: Settings) -> Iterator[Row]:
    """Compare a short training of every model with recorded steps with one without."""
    for name, flat in graph_cells(settings).items():
        folder = Path(settings.folder) / f"graphs {name}"
        recorded = tensors(attempt(dict(flat), folder / "with", 1)[1])
        with without_graphs():
            launched = tensors(attempt(dict(flat), folder / "without", 1)[1])
        apart = tensors_apart(launched, recorded)
        note = f"of {len(launched)}: weights, optimiser and generators"
        yield check(settings.section, f"{name} tensors that differ", apart, 0, note)
        expected = rows(folder / "without", 1)
        apart = rows_apart(expected, rows(folder / "with", 1))
        yield check(settings.section, f"{name} rows that differ", apart, 0, f"of {len(expected)}")


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Trainings launch the kernels of every step one by one."""
    from trainers import cuda_graph

    steps, cuda_graph.WARM_UP = cuda_graph.WARM_UP, sys.maxsize
    try:
        yield
    finally:
        cuda_graph.WARM_UP = steps


def graph_cells(settings: Settings) -> dict[str, dict[str, Any]]:
    """A short deterministic training of each model; the transformer with dropout and noise."""
    trainings = {}
    for model in cells.model_names():
        if not cells.is_transformer(model):
            trainings[model] = short_training(settings, *cells.image_model(model, 8))
    if "float16" in settings.formats:
        network = cells.image_model(settings.network, 8)
        name = f"{settings.network} float16"
        trainings[name] = short_training(settings, *network, "trainer.precision=float16")
    trainings["power2022"] = cells.table_cell(
        "preset=power2022_adam_dropout",
        f"run.device={settings.device}",
        "run.compile=false",
        "trainer.weight_noise=0.01",
        "trainer.deterministic=true",
        "trainer.exact_steps=rows",
        f"trainer.steps={2 if settings.quick else 100}",
    )
    return trainings


def short_training(settings: Settings, *overrides: str) -> dict[str, Any]:
    """Some epochs on 320 images in batches of 128, the last of which is smaller."""
    return cells.image_cell(
        settings,
        settings.device,
        "data.train_samples=320",
        "data.augment=true",
        f"trainer.epochs={2 if settings.quick else 6}",
        "trainer.deterministic=true",
        *overrides,
    )
