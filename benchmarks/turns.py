"""Child processes that train one turn at a time on request, and report the cost of each turn.

    python benchmarks/turns.py KIND SETTINGS    (a child; Child starts it)

vision.py times them on a CPU and gpu.py on a GPU. Images are random uint8 of CIFAR-10's shape: no
step's time depends on what they show.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAIN, TEST = 50_000, 10_000  # images of CIFAR-10
MATRIX = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices that the device's rate is measured with."""


# In the children: what is measured.


class Turns:
    """A child's side of the measurement: it waits for a line, does one turn, and answers with its
    cost.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what a library prints is not an answer
        self.began = (time.perf_counter(), time.process_time())

    def next(self, **facts: Any) -> None:
        """Report the work since the last turn, and wait for the next; exits at the end of the
        input.

        A GPU works asynchronously, so the clock is read after it has finished.
        """
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        took = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        answer = {"wall": took[0], "cpu": took[1], **peak_memory(self.device), **facts}
        self.answers.write(json.dumps(answer) + "\n")
        if not sys.stdin.readline():
            raise SystemExit
        self.began = (time.perf_counter(), time.process_time())


def peak_memory(device: str) -> dict[str, int | None]:
    """Peak bytes of this process so far: in tensors and in torch's pool on a GPU, resident on a
    CPU.
    """
    if device == "cpu":
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "reserved": None}
    import torch

    return {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def ours(flat: dict[str, Any]) -> None:
    """Train a cell with the trainer, on a GPU without CUDA graphs if its `graphs` is false. A turn
    ends where the trainer asks, after every epoch, whether a checkpoint is due.
    """
    import trainers
    from trainers import config, cuda_graph, vision
    from trainers.checkpoint import Checkpoints
    from trainers.part import Part
    from trainers.run import Run

    if not flat.pop("graphs", True):
        cuda_graph.WARM_UP = sys.maxsize
    turns = Turns(flat["run.device"])

    class Measured(Run):
        def checkpoint_due(self) -> bool:
            turns.next(precision=self.facts["precision"])
            return False

    with tempfile.TemporaryDirectory() as folder:
        part = Part(Path(folder), "w", vision.METRICS)
        run = Measured(
            "c", flat, 1, part, Checkpoints(Path(folder), "c", 1, "w"), lambda: False, 1e9
        )
        trainers.train(config.parse(flat), run)


def plain(flat: dict[str, Any]) -> None:
    """The loop of benchmarks/plain.py on the same model, with `threads` threads or, at 0, torch's
    default.
    """
    import torch
    from plain import Samples, epochs

    from trainers import config
    from trainers.data import images

    threads = flat.pop("threads")
    if threads:
        torch.set_num_threads(threads)
    cell = config.parse(flat)
    full_images = images.load(cell.data)
    train = Samples(full_images.train_images, full_images.train_labels, augment=True)
    test = Samples(full_images.test_images, full_images.test_labels, augment=False)
    turns = Turns(flat["run.device"])
    for _ in epochs(cell, train, test, 10, torch.device(cell.run.device)):
        turns.next()


def transformer(settings: dict[str, Any]) -> None:
    """Steps of benchmarks/algorithmic.py, `steps` a turn: the plain loop for a `way` of "plain",
    else the trainer, on a GPU without CUDA graphs if `graphs` is false.
    """
    import algorithmic
    import torch

    from trainers import cuda_graph

    if not settings.get("graphs", True):
        cuda_graph.WARM_UP = sys.maxsize
    torch.set_num_threads(1)
    device = settings["device"]
    if settings["way"] == "plain":
        train = algorithmic.plain_per_head(torch.device(device))
    else:
        train = algorithmic.ours(device, *settings["overrides"])
    turns = Turns(device)
    train(5)  # compiles, records graphs and warms up
    while True:
        turns.next()
        train(settings["steps"])


def matmul(flat: dict[str, Any]) -> None:
    """Products of square matrices in the format that the trainer would use, with the `flops` of one
    turn.

    On a CPU through the library that computes the convolutions, which on some processors is twice
    as fast as the one behind torch's own products.
    """
    import torch

    from trainers import precision
    from trainers.models.linear import is_available, linear

    where = precision.device(flat["run.device"])
    precision.set_numerics(False, 1)
    n, repeats = MATRIX[where.type], 4 if where.type == "cpu" else 100
    number = getattr(torch, precision.resolve(flat["trainer.precision"], where))
    a = torch.randn(n, n, device=where, dtype=number)
    turns = Turns(flat["run.device"])
    while True:
        for _ in range(repeats):
            product = linear(a, a, library="onednn" if is_available("onednn") else "mkl")
        float(product.sum())  # waits for a GPU
        turns.next(flops=2 * n**3 * repeats, precision=str(a.dtype).removeprefix("torch."))


# In the parent: children and their turns.


@dataclass
class Child:
    """A process that does one piece of work on request."""

    kind: str
    flat: dict[str, Any]
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, __file__, self.kind, json.dumps(self.flat)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def answer(self) -> dict[str, Any]:
        """The cost of the current turn."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of {self.kind} ended with status {self.process.wait()}")
        return dict(json.loads(line))

    def go(self) -> None:
        """Start a turn."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Let the process end, without waiting for it."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        """End the process."""
        self.end()
        self.process.wait()


@dataclass
class Series:
    """Concurrent turns of several children: wall seconds of the slowest, CPU seconds of all
    together.
    """

    children: list[Child]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    """The latest answer of every child."""

    def turn(self) -> None:
        """One turn of every child."""
        for child in self.children:
            child.go()
        answers = [child.answer() for child in self.children]
        self.wall.append(max(answer["wall"] for answer in answers))
        self.cpu.append(sum(answer["cpu"] for answer in answers))
        self.facts = answers


def write_images(folder: Path, train: int, test: int) -> None:
    """Random images in the layout of the official python batches."""
    import numpy as np

    rng = np.random.default_rng(0)
    sizes = {f"data_batch_{i}": train // 5 for i in range(1, 6)} | {"test_batch": test}
    for name, rows in sizes.items():
        pixels = rng.integers(0, 256, (rows, 3072), dtype=np.uint8)
        content = {b"data": pixels, b"labels": rng.integers(0, 10, rows).tolist()}
        (folder / name).write_bytes(pickle.dumps(content, 2))


def flat_cell(folder: Path, images: int, device: str, *overrides: str) -> dict[str, Any]:
    """The cell of the published sweep on the random images, an epoch of `images` and a fifth as
    many to test on.
    """
    from launch.sweep import compose

    # a multiple or a part of all test sets: graphs of one shape
    evaluated = 1280 if device == "cuda" else 250
    request = compose.expand_sweep(
        "fig2_ab",
        [
            "hydra/launcher=local",
            "~axes",
            "+axes={optim.weight_decay:[0.0]}",
            "seeds=[0]",
            f"data.root={folder}",
            f"data.cache={folder}",
            f"data.source_rows=[{images},{images // 5}]",
            "trainer.epochs=100000",
            "trainer.eval_train=never",
            f"trainer.eval_batch_size={evaluated}",
            f"run.device={device}",
            *overrides,
        ],
    )
    return dict(request.cells[0].flat)


def flops_per_image(flat: dict[str, Any]) -> float:
    """FLOPs of an epoch for each training image, counted from the model: forward and backward, and
    a fifth of an evaluation's forward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trainers import config, models

    model = models.build(config.parse(flat).model, 3, 32, 10)
    flops = []
    for backward in (True, False):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
            logits = model(torch.zeros(2, 3, 32, 32))
            if backward:
                logits.sum().backward()
        flops.append(counter.get_total_flops() / 2)
    return float(flops[0] + flops[1] * TEST / TRAIN)


if __name__ == "__main__":
    KINDS = {"ours": ours, "plain": plain, "transformer": transformer, "matmul": matmul}
    KINDS[sys.argv[1]](json.loads(sys.argv[2]))
