"""One training step of each model: against the CPU, and in each number format."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_sections import cells
from gpu_sections.settings import Settings
from gpu_sections.table import Row, check
from gpu_sections.trainings import attempt, rows

# Relative distances ||a - b|| / ||b||. The limit on logits is below TF32's distance, 3e-4 to 1e-3.
# Gradients need a wider one, since rounding flips some ReLUs and maxima: two memory layouts on one
# CPU are .01 apart. A wrong backward pass is about 1 away.
FLOAT32_LIMITS = {"logits": 2e-4, "gradients": 0.1}
FORMAT_LIMITS = {
    "bfloat16": {"logits": 0.1, "gradients": 0.7},
    "float16": {"logits": 0.02, "gradients": 0.3},
}
ERROR_LIMIT = 0.05  # test error on the digits, against float32's


@dataclass(frozen=True)
class Step:
    """One training step without its update: the logits, and the gradients of all parameters in one
    vector.
    """

    logits: Any
    gradients: Any

    def distances(self, expected: Step) -> dict[str, float]:
        """The distance from `expected`, relative to it."""
        return {
            "logits": distance(self.logits, expected.logits),
            "gradients": distance(self.gradients, expected.gradients),
        }


def distance(value: Any, expected: Any) -> float:
    """||value - expected|| / ||expected||, in float64."""
    value, expected = value.double(), expected.double()
    return float((value - expected).norm() / expected.norm())


def models(settings: Settings) -> Iterator[Row]:
    """Compare every model's step on the device with the CPU, both in float32."""
    for model in cells.model_names():
        cell = cells.model_cell(model, settings)
        reference = training_step(cell, "cpu", "float32", "contiguous_format")
        found = training_step(cell, settings.device, "float32").distances(reference)
        for name, value in found.items():
            limit, note = FLOAT32_LIMITS[name], "relative, against the CPU"
            yield check(settings.section, f"{model} {name}", value, limit, note)


def formats(settings: Settings) -> Iterator[Row]:
    """Compare every model's step in each format with float32, and a short training in each."""
    section = settings.section
    for model in cells.model_names():
        cell = cells.model_cell(model, settings)
        reference = training_step(cell, settings.device, "float32")
        for kind in settings.formats:
            if kind not in offered(cell):
                continue
            found = training_step(cell, settings.device, kind).distances(reference)
            for name, value in found.items():
                limit, note = FORMAT_LIMITS[kind][name], "relative, against float32"
                yield check(section, f"{model} {kind} {name}", value, limit, note)
    error = digits_error(settings, "float32")
    yield Row(section, "digits float32 test error", error, note="after a short training")
    for kind in settings.formats:
        found_error = digits_error(settings, kind)
        apart, note = abs(found_error - error), f"{found_error:.4f}, distance to float32's"
        yield check(section, f"digits {kind} test error", apart, ERROR_LIMIT, note)


def offered(cell: Any) -> tuple[str, ...]:
    """The formats of `trainer.precision` for such a cell."""
    return ("bfloat16",) if cell.trainer.name == "algorithmic" else ("bfloat16", "float16")


def training_step(cell: Any, device: str, kind: str, layout: str = "channels_last") -> Step:
    """The step of a model built from seed 0, on the same random batch, as the trainers compute it
    in the number format `kind`.

    The trainers lay out images as channels_last; "contiguous_format" computes the same numbers in
    another way.
    """
    import torch
    from torch.nn import functional

    from trainers import precision

    where = torch.device(device)
    precision.set_numerics(False, 1)
    torch.manual_seed(0)
    if hasattr(cell.data, "modulus"):
        model, inputs, answers = table_batch(cell)
        model.to(where)
    else:
        model, inputs, answers = image_batch(cell)
        memory_format = getattr(torch, layout)
        model.to(where).to(memory_format=memory_format)
        inputs = [images.contiguous(memory_format=memory_format) for images in inputs]
    with precision.autocast(kind, where):
        logits = model(*(tensor.to(where) for tensor in inputs))
        loss = functional.cross_entropy(logits.float(), answers.to(where))
    # as the trainer scales float16, whose small gradients would be zero
    scale = 1024.0 if kind == "float16" else 1.0
    (loss * scale).backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return Step(logits.detach().cpu(), (torch.cat(gradients) / scale).cpu())


def table_batch(cell: Any) -> tuple[Any, list[Any], Any]:
    """The transformer of a cell, 512 random pairs of numbers, and their random answers."""
    import torch

    from trainers.models.transformer import Transformer

    data, generator = cell.data, torch.Generator().manual_seed(1)
    model = Transformer(cell.model, data.sequence.split(), data.modulus, data.vocabulary)
    left, right, answers = torch.randint(0, data.modulus, (3, 512), generator=generator)
    return model, [left, right], answers


def image_batch(cell: Any) -> tuple[Any, list[Any], Any]:
    """The image model of a cell, 64 random images, and their random classes."""
    import torch

    from trainers import models

    generator = torch.Generator().manual_seed(1)
    images = torch.rand(64, 3, 32, 32, generator=generator)
    classes = torch.randint(0, 10, (64,), generator=generator)
    return models.build(cell.model, 3, 32, 10), [images], classes


def digits_error(settings: Settings, kind: str) -> float:
    """Test error at the end of a training on the digits in a number format."""
    from launch.sweep import compose

    overrides = [
        "hydra/launcher=local",
        "~axes",
        "+axes={optim.weight_decay:[0.0]}",
        f"model={settings.network}",
        f"model.width={64 if settings.quick else 16}",
        "data.train_samples=null",
        "data.test_samples=null",
        f"data.cache={settings.folder}",
        "trainer.batch_size=50",
        "trainer.epochs=15",
        "trainer.eval_train=never",
        "optim.lr=1e-3",
        f"trainer.precision={kind}",
        f"run.device={settings.device}",
        "run.checkpoint_seconds=1e9",
    ]
    flat = dict(compose.expand_sweep("smoke", overrides).cells[0].flat)
    with tempfile.TemporaryDirectory(dir=settings.folder) as name:
        attempt(flat, Path(name), 1)
        return float(rows(Path(name), 1)[-1]["test_error"])
