"""Gradients from CUDA graphs: the same bits as without, for every trainer. Most need a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from minima_runs import digits_cell
from test_algorithmic import FLAT as ALGORITHMIC
from torch import nn
from vision_runs import assert_same_bits, assert_same_rows

import trainers
from trainers import algorithmic, config, cuda_graph, minima, vision
from trainers.cuda_graph import RecordedGradient, can_record
from trainers.run import Run

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a CUDA graph needs a GPU, and torch sees none here"
)
WITHOUT = 10**9
"""Steps of warm-up that no training reaches."""

MODULES = {"vision": vision, "minima": minima, "algorithmic": algorithmic}
IMAGES = {"trainer.epochs": 12, "model.name": "cnn5", "model.width": 4, "model.depth": ...}
SHAMPOO = {
    "optim.name": "shampoo",
    "optim.momentum": 0.9,
    "optim.every": 1,
    "optim.eps": 1e-6,
}
CELLS: dict[str, tuple[str, dict[str, Any], int]] = {
    "images, a smaller last batch": ("vision", IMAGES, 2),
    "images, float16": ("vision", IMAGES | {"trainer.precision": "float16"}, 2),
    "images, all in a step": (
        "vision",
        IMAGES | {"trainer.batch_size": None, "trainer.eval_batch_size": 40},
        1,
    ),
    "images, all in a step of six blocks": ("vision", IMAGES | {"trainer.batch_size": None}, 0),
    "images, an optimiser that keeps gradients": ("vision", IMAGES | SHAMPOO, 0),
    "poison": ("minima", {"trainer.epochs": 12}, 2),
    "tables": ("algorithmic", {}, 2),
    "tables, dropout and noise": (
        "algorithmic",
        {
            "model.dropout_attention": 0.2,
            "model.dropout_hidden": 0.1,
            "trainer.weight_noise": 0.01,
            "optim.update_noise": 0.1,
        },
        2,
    ),
}
"""The trainer, its changed settings, and the number of recordings."""

OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Wide:
    entry = "{module}:build"
    name: str
    width: int

class Network(nn.Sequential):
    cuda_graph = {cuda_graph}

    def forward(self, x):
        x = super().forward(x)
        {statement}
        return x

def build(settings, channels, size, classes):
    return Network(nn.Flatten(), nn.Linear(channels * size**2, classes), nn.Dropout(0.5))
"""


@pytest.fixture
def train(
    begin: Begin, flat: Flat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], pd.DataFrame, RecordedGradient]]:
    """Trains a cell on the GPU, with a warm-up of so many steps; state, rows and recordings."""

    def run(
        trainer: str, changes: Mapping[str, Any], warm_up: int = cuda_graph.WARM_UP
    ) -> tuple[dict[str, Any], pd.DataFrame, RecordedGradient]:
        base = {"vision": flat, "algorithmic": ALGORITHMIC}.get(trainer)
        base = digits_cell(str(tmp_path / "cache")) if base is None else base
        cell = {**base, **changes, "run.device": "cuda", "trainer.deterministic": True}
        cell = {key: value for key, value in cell.items() if value is not ...}
        folder = tmp_path / f"{trainer} {warm_up}"
        for name in ("curves", "runs", "checkpoints", "weights"):
            (folder / name).mkdir(parents=True)
        monkeypatch.setattr(cuda_graph, "WARM_UP", warm_up)
        monkeypatch.setattr(cuda_graph, "_unended", [])
        run = begin(trainers.metrics(trainer), 1, cell, folder=folder)
        training = MODULES[trainer].Training(config.parse(cell), run)
        training.restore()
        run.close(training.to_the_end())
        curves = folder / "curves" / f"{run.part.writer}.parquet"
        rows = pd.read_parquet(curves).drop(columns="steps_per_second", errors="ignore")
        return on_cpu(training.state()), rows, training.recorded

    return run


def on_cpu(state: Any) -> Any:
    """A nested state with its tensors on the CPU; what measures time is left out."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        clocks = ("seconds", "epoch_seconds")
        return {key: on_cpu(value) for key, value in state.items() if key not in clocks}
    if isinstance(state, list):
        return [on_cpu(value) for value in state]
    return state


@needs_gpu
@pytest.mark.parametrize("kind", CELLS)
def test_recorded_steps_have_the_bits_of_others(train: Callable[..., Any], kind: str) -> None:
    trainer, changes, recordings = CELLS[kind]
    expected, expected_rows, without = train(trainer, changes, WITHOUT)
    state, rows, recorded = train(trainer, changes)
    assert (len(without.recordings), len(recorded.recordings)) == (0, recordings)
    assert_same_bits(state, expected)
    if trainer == "algorithmic":
        rows, expected_rows = (
            table.assign(examples_per_second=0) for table in (rows, expected_rows)
        )
    assert_same_rows(rows, expected_rows)


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Writes a model of the user's with dropout; returns the settings that name it."""

    def write(name: str, cuda_graph: str, statement: str = "pass") -> dict[str, Any]:
        monkeypatch.syspath_prepend(tmp_path)
        text = OWN.replace("{module}", name).replace("{cuda_graph}", cuda_graph)
        (tmp_path / f"{name}.py").write_text(text.replace("{statement}", statement))
        return {"model.name": f"{name}.Wide", "model.depth": ..., "trainer.epochs": 12}

    return write


@needs_gpu
def test_a_model_that_waits_for_the_gpu_trains_without_recordings(
    train: Callable[..., Any],
    own_model: Callable[..., dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = own_model("waits", "True", "x = x * float(x.detach().abs().max() > -1)")
    expected, expected_rows, _ = train("vision", changes, WITHOUT)
    assert not caplog.messages
    state, rows, recorded = train("vision", changes)
    assert not recorded.recordings
    assert_same_bits(state, expected)
    assert_same_rows(rows, expected_rows)
    (message,) = caplog.messages
    assert "cannot be recorded as a CUDA graph" in message


@needs_gpu
@pytest.mark.parametrize(("says", "recordings"), [("True", 2), ("False", 0)])
def test_a_model_of_the_users_is_recorded_if_it_says_so(
    train: Callable[..., Any],
    own_model: Callable[..., dict[str, Any]],
    says: str,
    recordings: int,
) -> None:
    changes = own_model(f"own_{says.lower()}", says)
    expected, expected_rows, _ = train("vision", changes, WITHOUT)
    state, rows, recorded = train("vision", changes)
    assert len(recorded.recordings) == recordings
    assert_same_bits(state, expected)
    assert_same_rows(rows, expected_rows)


@pytest.mark.parametrize(
    ("device", "model", "trainer", "expected"),
    [
        ("cuda", ("mlp", None), ("vision", None), True),
        ("cuda", ("mine.Wide", None), ("vision", None), False),
        ("cuda", ("mine.Wide", True), ("vision", None), True),
        ("cuda", ("mine.Wide", True), ("mine.Trainer", None), False),
        ("cuda", ("mlp", None), ("mine.Trainer", None), False),
        ("cuda", ("mlp", None), ("mine.Trainer", True), True),
        ("cuda", ("mlp", False), ("vision", None), False),
        ("cpu", ("mlp", None), ("vision", None), False),
    ],
)
def test_what_is_recorded(
    device: str,
    model: tuple[str, bool | None],
    trainer: tuple[str, bool | None],
    expected: bool,
) -> None:
    parts: list[Any] = []
    for name, says in (model, trainer):
        attributes = {} if says is None else {"cuda_graph": says}
        parts.append((SimpleNamespace(name=name), SimpleNamespace(**attributes)))
    assert can_record(torch.device(device), *parts) == expected


def test_nothing_is_recorded_after_a_recording_that_could_not_be_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = (SimpleNamespace(name="mlp"), SimpleNamespace())
    assert can_record(torch.device("cuda"), shipped)
    monkeypatch.setattr(cuda_graph, "_unended", ["a graph"])
    assert not can_record(torch.device("cuda"), shipped)


class Repeated:
    """In place of a CUDA graph: computes into the same tensors again, from inputs and weights at
    the addresses that they had.
    """

    def __init__(
        self, gradient: Callable[..., Any], places: tuple[torch.Tensor, ...], model: nn.Module
    ) -> None:
        self.gradient, self.places, self.model = gradient, places, model
        self.addresses = [parameter.data for parameter in model.parameters()]
        self.outputs = gradient(*places)
        self.gradients = [parameter.grad for parameter in model.parameters()]

    def replay(self) -> None:
        for parameter, weights in zip(self.model.parameters(), self.addresses, strict=True):
            parameter.data, parameter.grad = weights, None
        for place, value in zip(self.outputs, self.gradient(*self.places), strict=True):
            place.copy_(value)
        for place, parameter in zip(self.gradients, self.model.parameters(), strict=True):
            place.copy_(parameter.grad)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecordedGradient]:
    """A recorded gradient of a model on the CPU; fails to record batches of `broken` samples."""

    def of(model: nn.Module, broken: int | None = None) -> RecordedGradient:
        def record(gradient: Any, places: Any, pool: Any) -> Any:
            if len(places[0]) == broken:
                raise RuntimeError("out of memory")
            graph = Repeated(gradient, places, model)
            return graph, graph.outputs

        monkeypatch.setattr(cuda_graph, "_record_on_gpu", record)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        return RecordedGradient(model, can_record=True)

    return of


Step = Callable[[nn.Module, int], None]


def in_place(model: nn.Module, step: int) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=0.1)


def new_weights(model: nn.Module, step: int) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data - 0.1 * parameter.grad


def new_weights_at_the_ninth(model: nn.Module, step: int) -> None:
    (new_weights if step == 8 else in_place)(model, step)


class Mean(nn.Module):
    """Adds a running mean, a buffer that each step replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
        return x + self.mean


def trained(
    model: nn.Module, step: Step, sizes: list[int], recorded: RecordedGradient | None
) -> list[torch.Tensor]:
    """The weights after a step on a batch of each size."""
    stream = torch.Generator().manual_seed(0)

    def gradient(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = model(x).square().mean()
        loss.backward()
        return (loss.detach(),)

    for number, size in enumerate(sizes):
        x = torch.randn(size, 3, generator=stream)
        model.zero_grad()
        _ = gradient(x) if recorded is None else recorded(gradient, x)
        step(model, number)
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("step", "replaces_buffer", "broken", "recordings", "warning"),
    [
        (in_place, False, None, 2, None),
        (in_place, False, 2, 0, "out of memory"),
        (new_weights, False, None, 0, "replaced"),
        (new_weights_at_the_ninth, False, None, 0, "replaced"),
        (in_place, True, None, 0, "replaced"),
    ],
)
def test_what_no_graph_can_repeat_ends_the_recordings(
    recorded: Callable[..., RecordedGradient],
    caplog: pytest.LogCaptureFixture,
    step: Step,
    replaces_buffer: bool,
    broken: int | None,
    recordings: int,
    warning: str | None,
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), Mean() if replaces_buffer else nn.Tanh())
    expected = trained(copy.deepcopy(model), step, [4, 2] * 6, None)
    steps = recorded(model, broken)
    weights = trained(model, step, [4, 2] * 6, steps)
    assert all(map(torch.equal, weights, expected))
    assert len(steps.recordings) == recordings
    assert len(caplog.messages) == (warning is not None)
    assert warning is None or warning in caplog.messages[0]
