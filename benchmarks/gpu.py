"""Check training on a GPU and measure its speed, in one command of at most eight minutes.

    python benchmarks/gpu.py [--device cpu] [--quick] [--minutes 8] [--sections NAME ...]
                             [--widths K ...]

It needs no network and no data set: images are random uint8 in CIFAR-10's shape, or the digits of
scikit-learn. Each section runs in its own process with a time budget:

    machine      the card and the software versions
    models       logits and gradients of one training step of each model, in float32 without TF32,
                 compared with the CPU in float32
    formats      the same step in bfloat16 and float16 compared with float32; and the test error
                 after a short training in each
    graphs       a short training of each model with its steps recorded as CUDA graphs, compared
                 with one whose kernels are launched one by one, in deterministic mode: rows,
                 weights and optimiser bit for bit
    resume       a training killed by SIGKILL and resumed, compared with an undisturbed one in
                 deterministic mode: rows, weights and optimiser bit for bit, with ResNet-18 and
                 with a transformer with dropout
    speed k=K    images per second of ResNet-18 in training, with the test set after every epoch:
                 the plain loop of benchmarks/plain.py (PIL, float32, eager), and ours in the format
                 of `auto`, 1, 2 and 4 cells in processes that start each epoch together; 1 cell
                 without CUDA graphs, and 1 with run.compile; peak memory of each; share of the rate
                 of matrix products
    transformer  steps per second of the transformer of Power et al. (2022) on division mod 97,
                 likewise; the plain loop is "plain per-head" of benchmarks/algorithmic.py
    hours        hours of the 500 published runs of fig2_ab on this card, at the rate of the widest
                 network

The first epoch of a process (start, search for algorithms, compilation) is not timed. Compilation
has its own line: the extra time of the first epoch. With several cells the rate is the total until
the last one has finished. Time that a section leaves goes to the next ones. A section that fails or
exceeds its budget is reported as failed, after the lines that it finished.

Writes gpu.csv, whose lines are printed too, then `ratio NAME VALUE`: ours over plain by the wall
clock. Exit status 1 if a check or a section failed. --quick --device cpu takes about a minute on
two cores, with a small MLP instead of ResNet-18 and without compiling the transformer: it tests
this script.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import importlib
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from turns import ROOT, TRAIN, Child, Series, flat_cell, flops_per_image, write_images

CONFIGS = ROOT / "configs" / "model"
sys.path.insert(0, str(ROOT))  # `launch` and `trainers`, where they are not installed

# Relative distances ||a - b|| / ||b||. The limit on logits is below TF32's distance, 3e-4 to 1e-3.
# Gradients need a wider one, since rounding flips some ReLUs and maxima: two memory layouts on one
# CPU are .01 apart. A wrong backward pass is about 1 away.
FLOAT32_LIMITS = {"logits": 2e-4, "gradients": 0.1}
FORMAT_LIMITS = {
    "bfloat16": {"logits": 0.1, "gradients": 0.7},
    "float16": {"logits": 0.02, "gradients": 0.3},
}
ERROR_LIMIT = 0.05  # test error on the digits, against float32's
TIMES = (
    "seconds",
    "attempt",
    "examples_per_second",
    "steps_per_second",
)  # columns of a row that no two runs share


@dataclass(frozen=True)
class Settings:
    """The options of a section, and its deadline (seconds since 1970)."""

    section: str
    device: Literal["cpu", "cuda"]
    quick: bool
    folder: str
    deadline: float

    @property
    def network(self) -> str:
        """The image model that is timed: that of the published runs, or a small one to test the
        script.
        """
        return "mlp" if self.quick else "resnet18_post"

    @property
    def widths(self) -> tuple[int, ...]:
        return (4,) if self.quick else (8, 16, 64)

    @property
    def cells(self) -> tuple[int, ...]:
        return (1, 2) if self.quick else (1, 2, 4)

    @property
    def unrecorded(self) -> tuple[int, ...]:
        """How many cells are timed at once without CUDA graphs, which a CPU does not have."""
        return (1,) if self.device == "cuda" else ()

    @property
    def images(self) -> int:
        """Images of a timed epoch: whole batches of 128; a fifth of them are whole batches of the
        evaluation.
        """
        return 640 if self.quick else 12_800

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    @property
    def formats(self) -> tuple[str, ...]:
        """Number formats other than float32 that the device multiplies."""
        import torch

        if self.device == "cpu":
            return ("bfloat16",)
        return (
            ("bfloat16", "float16") if torch.cuda.get_device_capability()[0] >= 8 else ("float16",)
        )


@dataclass(frozen=True)
class Row:
    """A line of the table: something measured, or a check of `value` against `limit`."""

    section: str
    name: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    status: Literal["measured", "passed", "failed"] = "measured"
    note: str = ""

    def text(self) -> str:
        """The row for the terminal."""
        value, low, high = (digits(number) for number in (self.value, self.low, self.high))
        extent = f"({low} to {high})" if low else ""
        bound = "" if self.limit is None else f"(at most {self.limit:g})"
        columns = (
            f"{self.section:12s} {self.name:36s} {value:>10s} {self.unit:10s} {extent or bound:22s}"
        )
        return f"{columns} {self.status:8s} {self.note}".rstrip()


def digits(number: float | None) -> str:
    """Four digits, without an exponent above 1; empty for None."""
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def check(  # noqa: PLR0913  the columns of a row
    section: str, name: str, value: float, limit: float, unit: str = "", note: str = ""
) -> Row:
    """A row that passes if `value` is at most `limit`; NaN does not pass."""
    return Row(
        section,
        name,
        value,
        unit,
        limit=limit,
        status="passed" if value <= limit else "failed",
        note=note,
    )


# Is it right?


def machine(settings: Settings) -> Iterator[Row]:
    """The device and the software, as notes."""
    import platform

    import torch

    name = settings.section
    yield Row(name, "torch", note=f"{torch.__version__}, Python {platform.python_version()}")
    yield Row(name, "processor", float(os.cpu_count() or 1), "cores", note=platform.machine())
    if settings.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        free = torch.cuda.mem_get_info(0)[0]
        yield Row(name, "card", note=f"{card.name}, sm_{card.major}{card.minor}")
        yield Row(
            name,
            "memory of the card",
            card.total_memory / 2**20,
            "MiB",
            note=f"{free / 2**20:,.0f} MiB free",
        )
        yield Row(
            name, "CUDA", note=f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )


def model_names() -> list[str]:
    """Every model of the trainers that are timed here."""
    from trainers.config.cell import IMAGE_MODELS

    names = []
    for path in sorted(CONFIGS.glob("*.yaml")):
        if yaml.safe_load(path.read_text())["name"] in (*IMAGE_MODELS, "transformer"):
            names.append(path.stem)
    return names


def model_cell(model: str, settings: Settings) -> Any:
    """A cell with the model: a small one for images, the published size for operation tables, no
    dropout.
    """
    from launch.sweep import compose
    from trainers import config

    own = yaml.safe_load((CONFIGS / f"{model}.yaml").read_text())
    if own["name"] != "transformer":
        width = 4 if settings.quick else 16
        if own["name"] == "vit":  # its width is a multiple of its heads
            width = own["width"]
        chosen = (f"model={model}", f"model.width={width}")
        flat = flat_cell(Path(settings.folder), settings.images, "cpu", *chosen)
    else:
        rates = [f"model.dropout_{name}=0" for name in ("attention", "residual", "hidden")]
        flat = (
            compose.expand_sweep(
                "grok_fig1", ["hydra/launcher=local", "seeds=[0]", f"model={model}", *rates]
            )
            .cells[0]
            .flat
        )
    return config.parse(flat)


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
    """||found - expected|| / ||expected||, in float64."""
    value, expected = value.double(), expected.double()
    return float((value - expected).norm() / expected.norm())


def training_step(
    cell: Any, device: str, precision_name: str, layout: str = "channels_last"
) -> Step:
    """The step of a model built from seed 0, on the same random batch, as the trainers compute it.

    The trainers lay out images as channels_last; "contiguous_format" computes the same numbers in
    another way.
    """
    import torch
    from torch.nn import functional

    from trainers import models, precision
    from trainers.models.transformer import Transformer

    where, memory_format = torch.device(device), getattr(torch, layout)
    precision.set_numerics(False, 1)
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    inputs: tuple[torch.Tensor, ...]
    if hasattr(cell.data, "modulus"):
        modulus = cell.data.modulus
        model: torch.nn.Module = Transformer(
            cell.model, cell.data.sequence.split(), modulus, cell.data.vocabulary
        )
        left, right, answers = torch.randint(0, modulus, (3, 512), generator=generator)
        inputs = (left.to(where), right.to(where))
        model.to(where)
    else:
        model = models.build(cell.model, 3, 32, 10)
        images, answers = (
            torch.rand(64, 3, 32, 32, generator=generator),
            torch.randint(0, 10, (64,), generator=generator),
        )
        inputs = (images.to(where).contiguous(memory_format=memory_format),)
        model.to(where).to(memory_format=memory_format)
    with precision.autocast(precision_name, where):
        logits = model(*inputs)
        loss = functional.cross_entropy(logits.float(), answers.to(where))
    scale = (
        1024.0 if precision_name == "float16" else 1.0
    )  # as the trainer scales, small gradients would be zero
    (loss * scale).backward()
    gradients = (
        torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]) / scale
    )
    return Step(logits.detach().cpu(), gradients.cpu())


def models(settings: Settings) -> Iterator[Row]:
    """Compare every model's step on the device with the CPU, both in float32."""
    for model in model_names():
        cell = model_cell(model, settings)
        reference = training_step(cell, "cpu", "float32", "contiguous_format")
        found = training_step(cell, settings.device, "float32").distances(reference)
        for name, value in found.items():
            yield check(
                settings.section,
                f"{model} {name}",
                value,
                FLOAT32_LIMITS[name],
                note="relative, against the CPU",
            )


def formats(settings: Settings) -> Iterator[Row]:
    """Compare every model's step in each format with float32, and a short training in each."""
    for model in model_names():
        cell = model_cell(model, settings)
        reference = training_step(cell, settings.device, "float32")
        for kind in settings.formats:
            if kind not in offered(cell):
                continue
            found = training_step(cell, settings.device, kind).distances(reference)
            for name, value in found.items():
                yield check(
                    settings.section,
                    f"{model} {kind} {name}",
                    value,
                    FORMAT_LIMITS[kind][name],
                    note="relative, against float32",
                )
    errors = {kind: digits_error(settings, kind) for kind in ("float32", *settings.formats)}
    yield Row(
        settings.section,
        "digits float32 test error",
        errors["float32"],
        note="after a short training",
    )
    for kind in settings.formats:
        apart = abs(errors[kind] - errors["float32"])
        yield check(
            settings.section,
            f"digits {kind} test error",
            apart,
            ERROR_LIMIT,
            note=f"{errors[kind]:.4f}, distance to float32's",
        )


def offered(cell: Any) -> tuple[str, ...]:
    """The formats of `trainer.precision` for such a cell."""
    return ("bfloat16",) if cell.trainer.name == "algorithmic" else ("bfloat16", "float16")


def digits_error(settings: Settings, kind: str) -> float:
    """Test error at the end of a training on the digits."""
    from launch.sweep import compose

    width, epochs = 64 if settings.quick else 16, 15
    flat = (
        compose.expand_sweep(
            "smoke",
            [
                "hydra/launcher=local",
                "~axes",
                "+axes={optim.weight_decay:[0.0]}",
                f"model={settings.network}",
                f"model.width={width}",
                "data.train_samples=null",
                "data.test_samples=null",
                f"data.cache={settings.folder}",
                "trainer.batch_size=50",
                f"trainer.epochs={epochs}",
                "trainer.eval_train=never",
                "optim.lr=1e-3",
                f"trainer.precision={kind}",
                f"run.device={settings.device}",
                "run.checkpoint_seconds=1e9",
            ],
        )
        .cells[0]
        .flat
    )
    with tempfile.TemporaryDirectory(dir=settings.folder) as name:
        attempt(dict(flat), Path(name), 1)
        return float(rows(Path(name), 1)[-1]["test_error"])


# With and without CUDA graphs.


def graphs(settings: Settings) -> Iterator[Row]:
    """Compare a short training of every model with recorded steps with one without."""
    for name, flat in graph_cells(settings).items():
        folder = Path(settings.folder) / f"graphs {name}"
        states = []
        for kind in ("with", "without"):
            (folder / kind).mkdir(parents=True)
            with contextlib.nullcontext() if kind == "with" else without_graphs():
                states.append(tensors(attempt(dict(flat), folder / kind, 1)[1]))
        apart = sum(bits(a) != bits(b) for a, b in zip(*states, strict=True))
        note = f"of {len(states[0])}: weights, optimiser and generators"
        yield check(settings.section, f"{name} tensors that differ", apart, 0, note=note)
        row_pairs = list(zip(rows(folder / "with", 1), rows(folder / "without", 1), strict=True))
        apart = sum(a != b for a, b in row_pairs)
        note = f"of {len(row_pairs)}"
        yield check(settings.section, f"{name} rows that differ", apart, 0, note=note)


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
    from launch.sweep import compose

    cells = {}
    for model in model_names():
        own = yaml.safe_load((CONFIGS / f"{model}.yaml").read_text())
        if own["name"] == "transformer":
            continue
        width = own["width"] if own["name"] == "vit" else 8
        cells[model] = short_training(settings, f"model={model}", f"model.width={width}")
    if "float16" in settings.formats:
        network = f"model={settings.network}", "model.width=8"
        cells[f"{settings.network} float16"] = short_training(
            settings, *network, "trainer.precision=float16"
        )
    table = compose.expand_sweep(
        "grok_fig1",
        [
            "hydra/launcher=local",
            "seeds=[0]",
            "preset=power2022_adam_dropout",
            f"run.device={settings.device}",
            "run.compile=false",
            "trainer.weight_noise=0.01",
            "trainer.deterministic=true",
            "trainer.exact_steps=rows",
            f"trainer.steps={2 if settings.quick else 100}",
        ],
    )
    return cells | {"power2022": dict(table.cells[0].flat)}


def short_training(settings: Settings, *overrides: str) -> dict[str, Any]:
    """Some epochs on 320 images in batches of 128, the last of which is smaller."""
    return flat_cell(
        Path(settings.folder),
        settings.images,
        settings.device,
        "data.train_samples=320",
        "data.augment=true",
        f"trainer.epochs={2 if settings.quick else 6}",
        "trainer.deterministic=true",
        *overrides,
    )


# Killed and resumed.


def attempt(flat: dict[str, Any], folder: Path, number: int) -> tuple[int, dict[str, Any]]:
    """Train the cell from its newest checkpoint in `folder`; returns its first step and its final
    state.
    """
    from trainers import config
    from trainers.checkpoint import Checkpoints
    from trainers.part import Part
    from trainers.run import Run

    for kind in ("curves", "runs", "checkpoints"):
        (folder / kind).mkdir(exist_ok=True)
    trainer = importlib.import_module(f"trainers.{flat['trainer.name']}")
    part = Part(folder, f"w{number}", trainer.METRICS)
    checkpoints = Checkpoints(folder / "checkpoints", "c", number, f"w{number}")
    run = Run("c", flat, number, part, checkpoints, lambda: False, flat["run.checkpoint_seconds"])
    training = trainer.Training(config.parse(flat), run)
    training.restore()
    began = training.state()["step"]
    run.close(training.to_the_end())
    return began, training.state()


def attempt_in_child(flat: dict[str, Any], folder: str, number: int) -> None:
    """An attempt that saves its state in state.pt."""
    import torch

    began, state = attempt(flat, Path(folder), number)
    learnt = {"model": state["model"], "optimiser": state["optimiser"]}
    torch.save({"began": began, "state": learnt}, Path(folder) / "state.pt")


def start_attempt(flat: dict[str, Any], folder: Path, number: int) -> subprocess.Popen[bytes]:
    """Run the attempt in its own process."""
    folder.mkdir(exist_ok=True)
    order = json.dumps({"flat": flat, "folder": str(folder), "number": number})
    return subprocess.Popen(
        [sys.executable, __file__, "--attempt", order], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


def rows(folder: Path, number: int) -> list[dict[str, Any]]:
    """The rows that an attempt logged, including those of the attempts that it continued."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(folder / "curves" / f"w{number}.parquet").read()
    columns = [name for name in table.schema.names if name not in TIMES]
    return table.select(columns).to_pylist()


def resumable_cells(settings: Settings) -> dict[str, dict[str, Any]]:
    """A vision cell with augmentation and, unless `quick`, a transformer with dropout: both
    deterministic and with many checkpoints.
    """
    from launch.sweep import compose

    width, epochs = (4, 20) if settings.quick else (8, 12)
    image = flat_cell(
        Path(settings.folder),
        settings.images,
        settings.device,
        f"model={settings.network}",
        f"model.width={width}",
        "data.augment=true",
        "trainer.deterministic=true",
        f"trainer.epochs={epochs}",
        "run.checkpoint_seconds=0",
    )
    if settings.quick:
        return {settings.network: image}
    table = compose.expand_sweep(
        "grok_fig1",
        [
            "hydra/launcher=local",
            "seeds=[0]",
            "preset=power2022_adam_dropout",
            "trainer.deterministic=true",
            f"run.device={settings.device}",
            "run.compile=false",
            "run.checkpoint_seconds=0.5",
            "trainer.exact_steps=rows",
            "trainer.steps=2000",
        ],
    )
    return {settings.network: image, "power2022": dict(table.cells[0].flat)}


def resume(settings: Settings) -> Iterator[Row]:
    """Run each cell once undisturbed, and once killed after its first checkpoint and resumed."""
    cells = resumable_cells(settings)
    folder = Path(settings.folder)
    calm = {name: start_attempt(flat, folder / f"{name} calm", 1) for name, flat in cells.items()}
    killed = {
        name: start_attempt(flat, folder / f"{name} killed", 1) for name, flat in cells.items()
    }
    with (
        ThreadPoolExecutor() as pool
    ):  # each is watched from its start, so none ends unnoticed while waiting for another
        kills = [
            pool.submit(kill_after_checkpoint, process, folder / f"{name} killed" / "checkpoints")
            for name, process in killed.items()
        ]
    for kill in kills:
        kill.result()
    resumed = {
        name: start_attempt(flat, folder / f"{name} killed", 2) for name, flat in cells.items()
    }
    for name in cells:
        statuses = calm[name].wait(), resumed[name].wait()
        if any(statuses):
            raise RuntimeError(
                f"{name}: the undisturbed and the resumed run ended with status {statuses}, "
                "expected 0"
            )
        yield from compare_runs(
            settings.section, name, folder / f"{name} calm", folder / f"{name} killed"
        )


def kill_after_checkpoint(process: subprocess.Popen[bytes], checkpoints: Path) -> None:
    """Send SIGKILL once a checkpoint exists. Raises RuntimeError if the process ends before."""
    while not list(checkpoints.glob("c.*.pt")):
        if process.poll() is not None:
            raise RuntimeError(
                f"the run ended with status {process.returncode} before its first checkpoint"
            )
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(
            f"the run ended with status {process.returncode} before it was killed; make it longer"
        )


def compare_runs(section: str, name: str, calm: Path, killed: Path) -> Iterator[Row]:
    """Compare rows and final state of an undisturbed run with attempt 2 of a killed one."""
    import torch

    expected, found = (
        torch.load(folder / "state.pt", map_location="cpu") for folder in (calm, killed)
    )
    from_step = found["began"]
    yield Row(
        section,
        f"{name} resumed from",
        from_step,
        "step",
        status="passed" if from_step else "failed",
        note="after SIGKILL",
    )
    apart = [a != b for a, b in zip(rows(calm, 1), rows(killed, 2), strict=True)]
    yield check(section, f"{name} rows that differ", sum(apart), 0, note=f"of {len(apart)}")
    pairs = list(zip(tensors(expected["state"]), tensors(found["state"]), strict=True))
    differing = sum(bits(a) != bits(b) for a, b in pairs)
    yield check(
        section,
        f"{name} tensors that differ",
        differing,
        0,
        note=f"of {len(pairs)}: weights and optimiser",
    )


def tensors(state: Any) -> list[Any]:
    """All tensors of a nested state, in its order."""
    import torch

    if isinstance(state, torch.Tensor):
        return [state]
    children: Iterable[Any] = ()
    if isinstance(state, dict):
        children = state.values()
    elif isinstance(state, list):
        children = state
    return [tensor for child in children for tensor in tensors(child)]


def bits(tensor: Any) -> bytes:
    """The numbers as bytes: NaN equals itself, and 0 differs from -0."""
    return bytes(tensor.cpu().contiguous().numpy().tobytes())


# How fast is it?


def take_turns(ways: dict[str, Series], settings: Settings) -> None:
    """Run rounds with one measurement of each version: at least one, at most as many as requested
    or as fit into the section's time.
    """
    longest, until = 0.0, settings.deadline - 10.0  # s, to end the processes
    for number in range(settings.rounds):
        if number and time.time() + 1.5 * longest > until:
            return
        began = time.time()
        for series in ways.values():
            series.turn()
        longest = max(longest, time.time() - began)


def rates(
    section: str, ways: dict[str, Series], work: int, unit: str, note: Callable[[Series], str]
) -> Iterator[Row]:
    """Speed and peak memory of each version, with `work` units per turn of one cell, and its ratio
    to "plain".
    """
    speeds = {}
    for name, way in ways.items():
        speeds[name] = [len(way.children) * work / seconds for seconds in way.wall]
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    for name, series in ways.items():
        yield Row(
            section,
            name,
            middle[name],
            unit,
            min(speeds[name]),
            max(speeds[name]),
            note=note(series),
        )
        peaks = [fact["peak"] / 2**20 for fact in series.facts]
        reserved = [
            fact["reserved"] / 2**20 for fact in series.facts if fact["reserved"] is not None
        ]
        kept = (
            f"{sum(reserved):,.0f} MiB with the allocator's reserve"
            if reserved
            else "resident in RAM"
        )
        yield Row(
            section, f"{name} peak memory", sum(peaks), "MiB", note=f"{kept}; all cells together"
        )
        if name != "plain":
            yield Row(section, f"{name} over plain", middle[name] / middle["plain"], "ratio")


@contextlib.contextmanager
def warm_children(*orders: tuple[str, dict[str, Any], int]) -> Iterator[list[Warm]]:
    """So many children of each kind and settings, started together and warmed up."""
    groups = [[Child(kind, settings) for _ in range(count)] for kind, settings, count in orders]
    try:
        first_turns = [[float(child.answer()["wall"]) for child in group] for group in groups]
        seconds = [walls[0] if walls else 0.0 for walls in first_turns]
        yield [Warm(*pair) for pair in zip(groups, seconds, strict=True)]
    finally:
        for child in itertools.chain(*groups):
            child.end()
        for child in itertools.chain(*groups):
            child.process.wait()


@dataclass(frozen=True)
class Warm:
    """Children that have done their first turn."""

    children: list[Child]
    seconds: float
    """Of the first child's first turn."""

    def series(self, name: str, *counts: int) -> dict[str, Series]:
        """A version for each number of children that run at once."""
        return {f"{name} x {count}": Series(self.children[:count]) for count in counts}


def compilation(section: str, compiled: Warm, eager: Warm) -> Row:
    """The time that compiling adds to the first turn of a process."""
    seconds = max(compiled.seconds - eager.seconds, 0.0)
    return Row(section, "compilation", seconds, "s", note="not in the rates")


def matrix_rate(flat: dict[str, Any]) -> float:
    """FLOPs per second of matrix products in the trainer's format."""
    child = Child("matmul", flat)
    child.answer()
    series = Series([child])
    for _ in range(3):
        series.turn()
    child.close()
    return float(series.facts[0]["flops"] / statistics.median(series.wall))


def speed(settings: Settings) -> Iterator[Row]:
    """Images per second at one width."""
    section, width = settings.section, settings.section.partition("=")[2]
    flat = flat_cell(
        Path(settings.folder),
        settings.images,
        settings.device,
        f"model={settings.network}",
        f"model.width={width}",
    )
    flops, products = flops_per_image(flat), matrix_rate(flat)

    def note(series: Series) -> str:
        if "precision" not in series.facts[0]:
            return "float32"
        share = (
            len(series.children)
            * settings.images
            / statistics.median(series.wall)
            * flops
            / products
        )
        return f"{series.facts[0]['precision']}, {100 * share:.0f} % of the rate of matrix products"

    with warm_children(
        ("plain", flat | {"threads": 0}, 1),
        ("ours", flat, max(settings.cells)),
        ("ours", flat | {"graphs": False}, len(settings.unrecorded)),
        ("ours", flat | {"run.compile": True}, 1),
    ) as (plain, ours, unrecorded, compiled):
        yield compilation(section, compiled, ours)
        ways = {"plain": Series(plain.children)} | ours.series("ours", *settings.cells)
        ways |= unrecorded.series("ours without graphs", *settings.unrecorded)
        ways |= compiled.series("compiled", 1)
        take_turns(ways, settings)
    yield from rates(section, ways, settings.images, "images/s", note)


def transformer(settings: Settings) -> Iterator[Row]:
    """Steps per second of the published transformer; `quick` leaves out bfloat16 and compiling."""
    steps = 3 if settings.quick else 200
    base = {"device": settings.device, "steps": steps, "way": "ours"}
    at_once = () if settings.quick else (1,)
    in_bfloat16 = at_once if "bfloat16" in settings.formats else ()

    def order(*overrides: str, count: int = 1, **more: Any) -> tuple[str, dict[str, Any], int]:
        return "transformer", base | {"overrides": list(overrides)} | more, count

    with warm_children(
        order(way="plain"),
        order(count=max(settings.cells)),
        order(graphs=False, count=len(settings.unrecorded)),
        order("trainer.precision=bfloat16", count=len(in_bfloat16)),
        order("run.compile=true", count=len(at_once)),
    ) as (plain, ours, unrecorded, rounded, compiled):
        if at_once:
            yield compilation(settings.section, compiled, ours)
        ways = {"plain": Series(plain.children)} | ours.series("ours", *settings.cells)
        ways |= unrecorded.series("ours without graphs", *settings.unrecorded)
        ways |= rounded.series("ours bfloat16", *in_bfloat16)
        ways |= compiled.series("compiled", *at_once)
        take_turns(ways, settings)
    yield from rates(settings.section, ways, steps, "steps/s", lambda series: "")


def hours(runs: int, epochs: int, images: int, rate: float) -> float:
    """Hours that `runs` of `epochs` over `images` take at `rate` images per second."""
    return runs * epochs * images / rate / 3600


def published_hours(table: list[Row]) -> Iterator[Row]:
    """Hours of the published runs, one row for each timed version of the widest network."""
    from launch.sweep import compose

    cells = compose.expand_sweep("fig2_ab", ["hydra/launcher=local", "data.root=."]).cells
    epochs, width = cells[0].flat["trainer.epochs"], cells[0].flat["model.width"]
    timed = [row for row in table if row.unit == "images/s"]
    widest = max((int(row.section.partition("=")[2]) for row in timed), default=None)
    if widest is None:
        yield Row("hours", "section", status="failed", note="no speed was measured")
    for row in timed:
        if row.section == f"speed k={widest}":
            scale = "" if widest == width else f"; NOT the published network, which has k={width}"
            yield Row(
                "hours",
                row.name,
                hours(len(cells), epochs, TRAIN, row.value or math.nan),
                "h",
                note=f"{len(cells)} runs of {epochs} epochs at k={widest}{scale}",
            )


# The command: sections in processes of their own, the table, the ratios.


SECTIONS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "machine": machine, "models": models, "formats": formats, "graphs": graphs, "resume": resume,
    "speed": speed, "transformer": transformer,
}  # fmt: skip
SHARES = {
    "machine": 0.02,
    "models": 0.05,
    "formats": 0.12,
    "graphs": 0.1,
    "resume": 0.1,
    "speed": 0.48,
    "transformer": 0.13,
}


def section_names(chosen: Collection[str], widths: Iterable[int]) -> list[str]:
    """The sections to run, in their order: one of `speed` for each width."""
    names = []
    for section in SHARES:
        if section not in chosen:
            continue
        if section == "speed":
            names += [f"speed k={width}" for width in widths]
        else:
            names.append(section)
    return names


def time_limit(left: list[str], seconds: float) -> float:
    """Seconds of the first of the sections that are `left`, of the `seconds` for all of them."""
    widths = sum(name.startswith("speed ") for name in left)
    weights = [
        SHARES["speed"] / widths if name.startswith("speed ") else SHARES[name] for name in left
    ]
    return seconds * weights[0] / sum(weights)


def run_section(settings: Settings) -> Iterator[Row]:
    """The rows of a section as they arrive, and a failed row if it fails or runs out of time.

    Its process group is killed at the end, with everything it started.
    """
    command = [sys.executable, __file__, "--section", json.dumps(dataclasses.asdict(settings))]
    cache = {
        "TORCHINDUCTOR_CACHE_DIR": str(Path(settings.folder) / "inductor")
    }  # every run compiles again
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | cache | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    began = time.time()
    timer = threading.Timer(max(settings.deadline - began, 0.0), stop)
    timer.start()
    try:
        for line in process.stdout:
            yield Row(**json.loads(line))
        process.wait()
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    if late.is_set():
        note = f"stopped after {time.time() - began:.0f} s, its time limit; raise --minutes"
        yield Row(settings.section, "section", status="failed", note=note)
    elif process.returncode:
        note = f"ended with status {process.returncode}; the error is above"
        yield Row(settings.section, "section", status="failed", note=note)


def section_in_child(settings: Settings) -> None:
    """Print the rows of a section as JSON lines."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is not a row
    function = SECTIONS[settings.section.partition(" ")[0]]
    try:
        for row in function(settings):
            answers.write(json.dumps(dataclasses.asdict(row)) + "\n")
    except Exception as error:
        traceback.print_exc()
        failed = Row(
            settings.section, "section", status="failed", note=f"{type(error).__name__}: {error}"
        )
        answers.write(json.dumps(dataclasses.asdict(failed)) + "\n")


def write_table(table: list[Row], path: Path) -> None:
    """The rows as CSV; fields that a row does not have are empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(
            file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in table)


def ratio_lines(table: list[Row]) -> list[str]:
    """`ratio NAME VALUE` of every row with the unit "ratio"."""
    lines = []
    for row in table:
        if row.unit == "ratio":
            name = (
                f"{row.section} {row.name}".replace("speed ", "").replace("=", "").replace(" ", "_")
            )
            lines.append(f"ratio gpu_{name} {row.value:.2f}")
    return lines


def main() -> int:
    """Run the sections, print the table and ratios, write gpu.csv; returns 1 if a check failed."""
    options = arguments()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("terminated")
    )  # through run_section, which ends its processes
    table: list[Row] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Settings("", options.device, options.quick, folder, 0.0)
        write_images(Path(folder), settings.images, settings.images // 5)
        end = time.time() + 60 * options.minutes
        sections = section_names(options.sections, options.widths or settings.widths)
        for number, section in enumerate(sections):
            began = time.time()
            limit = time_limit(sections[number:], end - began)
            for row in run_section(
                dataclasses.replace(settings, section=section, deadline=began + limit)
            ):
                table.append(row)
                print(row.text(), flush=True)
            table.append(
                Row(
                    section,
                    "section's time",
                    time.time() - began,
                    "s",
                    note="start of processes included",
                )
            )
            print(table[-1].text(), flush=True)
    for row in published_hours(table) if "speed" in options.sections else ():
        table.append(row)
        print(row.text())
    path = Path(options.out) / "gpu.csv"
    write_table(table, path)
    failed = [row for row in table if row.status == "failed"]
    print(f"{len(failed)} checks or sections failed" if failed else "all checks passed")
    print(f"wrote {path}")
    print("\n".join(ratio_lines(table)))
    return int(bool(failed))


def arguments() -> argparse.Namespace:
    """The options; exits if the device does not exist."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="the first GPU (default), or the CPU",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small network and few images, to test the script"
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="time of all sections together (default: 8)"
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="NAME",
        help=f"only these: {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "--widths",
        type=int,
        nargs="+",
        metavar="K",
        help="widths of the network that `speed` times, in this order (default: 8 16 64)",
    )
    parser.add_argument("--out", default="figures", help="folder for gpu.csv (default: figures)")
    options = parser.parse_args()
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error(
                f"torch {torch.__version__} sees no GPU here; --device cpu --quick tries the "
                "script out"
            )
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == ["--section"]:
        section_in_child(Settings(**json.loads(sys.argv[2])))
    elif sys.argv[1:2] == ["--attempt"]:
        attempt_in_child(**json.loads(sys.argv[2]))
    else:
        sys.exit(main())
