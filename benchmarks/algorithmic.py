"""Training steps per second at the published grokking size: ours compared with plain PyTorch in the
usual style.

    python benchmarks/algorithmic.py [--quick] [--rounds 7] [--compile] [--at-a-time 1 2 4]

Division mod 97, half of the table, batches of 512, two layers of width 128, AdamW. There are two
plain versions, both with a DataLoader, every position computed and eager AdamW. "plain per-head"
has a linear layer for every head, and the vocabulary of 239 tokens and the sequence <eos> a o b = c
of openai/grok, with the loss on its last two. "plain encoder" is nn.TransformerEncoder on a o b =.
Ours is the trainer's own step, in float32 and under bfloat16 autocast; --compile adds torch.compile
(a minute or more to build). All versions alternate on one thread; the table gives medians and
ranges over rounds in CPU seconds, because others may share the machine. --at-a-time trains several
copies of ours, each in its own process. The last lines are `ratio NAME VALUE`, ours over plain.
benchmarks/gpu.py times a GPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from launch.sweep import compose
from trainers import algorithmic, config
from trainers.checkpoint import Checkpoints
from trainers.models import linear
from trainers.part import Part
from trainers.run import Run

HERE = Path(__file__).resolve().parent
P, BATCH, WIDTH, HEADS, LAYERS = 97, 512, 128, 4, 2


class Head(nn.Module):
    """One head of attention with its own linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH // HEADS, bias=False) for _ in range(3))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        return scores.masked_fill(mask, float("-inf")).softmax(-1) @ self.v(x)


class Layer(nn.Module):
    """Post-norm block."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head() for _ in range(HEADS))
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.up, self.down = (
            nn.Linear(WIDTH, 4 * WIDTH, bias=False),
            nn.Linear(4 * WIDTH, WIDTH, bias=False),
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](x + self.out(torch.cat([head(x, mask) for head in self.heads], dim=-1)))
        return self.norms[1](x + self.down(self.up(x).relu()))


class PerHead(nn.Module):
    """The plain transformer with a linear layer for every head."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.embedding, self.positions = (
            nn.Embedding(vocabulary, WIDTH),
            nn.Parameter(torch.randn(length, WIDTH)),
        )
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output = nn.Linear(WIDTH, vocabulary, bias=False)
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = layer(x, self.mask)
        return self.output(x)


class Encoder(nn.Module):
    """The plain transformer from PyTorch's layers."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.embedding, self.positions = (
            nn.Embedding(vocabulary, WIDTH),
            nn.Parameter(torch.randn(length, WIDTH)),
        )
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder, self.output = (
            nn.TransformerEncoder(layer, LAYERS),
            nn.Linear(WIDTH, vocabulary),
        )
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.output(self.encoder(self.embedding(tokens) + self.positions, mask=self.mask))


def rows() -> torch.Tensor:
    """Half of the table of a / b = c mod 97 as (a, b, c)."""
    table = [(b * c % P, b, c) for b in range(1, P) for c in range(P)]
    return torch.tensor(table)[torch.randperm(len(table))[: len(table) // 2]]


def plain(
    model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, device: torch.device
) -> Callable[[int], None]:
    """A function that trains the given number of steps in the usual style; the loss is on as many
    last tokens as there are targets.
    """
    model = model.to(device)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)

    def batches() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    endless = batches()

    def train(steps: int) -> None:
        for _ in range(steps):
            x, y = (tensor.to(device) for tensor in next(endless))
            logits = model(x)[:, -y.shape[1] :]
            loss = functional.cross_entropy(logits.flatten(0, 1), y.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return train


def plain_per_head(device: torch.device) -> Callable[[int], None]:
    """In the style of openai/grok: <eos> a o b = c, targets c and <eos>."""
    a, b, c = rows().unbind(1)
    eos, o, equals = (torch.full_like(a, P + i) for i in range(3))
    inputs, targets = torch.stack([eos, a, o, b, equals, c], 1), torch.stack([c, eos], 1)
    return plain(PerHead(239, 6), inputs, targets, device)


def plain_encoder(device: torch.device) -> Callable[[int], None]:
    """In the style of short re-implementations: a o b =, target c."""
    a, b, c = rows().unbind(1)
    o, equals = (torch.full_like(a, P + i) for i in range(2))
    return plain(Encoder(P + 2, 4), torch.stack([a, o, b, equals], 1), c[:, None], device)


def ours(device: str, *overrides: str) -> Callable[[int], None]:
    """The trainer's own step, with the configuration of grok_fig1 and AdamW."""
    cell = compose.expand_sweep(
        "grok_fig1",
        [
            "hydra/launcher=local",
            "preset=power2022_adamw",
            f"run.device={device}",
            "run.compile=false",
            *overrides,
        ],
    ).cells[0]
    folder = Path(tempfile.mkdtemp())
    part, checkpoints = Part(folder, "w", algorithmic.METRICS), Checkpoints(folder, cell.id, 1, "w")
    run = Run(cell.id, cell.flat, 1, part, checkpoints, lambda: False, 60.0)
    typed = config.parse(cell.flat)
    assert isinstance(typed, config.AlgorithmicCell)
    training = algorithmic.Training(typed, run)

    def train(steps: int) -> None:
        for _ in range(steps):
            training.train_step()

    return train


def several(count: int, steps: int) -> float:
    """Total steps per wall second of `count` processes that each train a copy of ours."""
    begin = "from algorithmic import ours; t = ours('cpu'); t(5); print(flush=True); input()"
    command = [sys.executable, "-c", f"{begin}; t({steps}); print(flush=True)"]
    pipe = subprocess.PIPE
    processes = []
    for _ in range(count):
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=HERE)
        processes.append(process)
    for process in processes:
        process.stdout.readline()  # type: ignore[union-attr]
    began = time.perf_counter()
    for process in processes:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    for process in processes:
        process.communicate()
    return count * steps / (time.perf_counter() - began)


def processor() -> str:
    """The processor's name, the instructions that torch uses, and the library that the trainer
    chooses.
    """
    path = Path("/proc/cpuinfo")
    about = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in about if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{name} ({instructions}, products by {linear.fastest_here()})"


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="under a minute on two cores: 3 rounds of 10 steps"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="measurements of each version (default: 7)"
    )
    parser.add_argument("--steps", type=int, default=40, help="steps per measurement (default: 40)")
    parser.add_argument("--compile", action="store_true", help="also ours with torch.compile")
    parser.add_argument(
        "--at-a-time", type=int, nargs="*", default=[], help="also this many processes together"
    )
    return parser.parse_args()


def versions(*, with_compiled: bool) -> dict[str, Callable[[int], None]]:
    """What trains some steps, by the name of the version."""
    device = torch.device("cpu")
    ways = {"plain per-head": plain_per_head(device), "plain encoder": plain_encoder(device)}
    for name in ("float32", "bfloat16"):
        precision = f"trainer.precision={name}"
        ways[f"ours {name}"] = ours("cpu", precision)
        if with_compiled:
            ways[f"ours {name} compiled"] = ours("cpu", precision, "run.compile=true")
    return ways


def main() -> None:
    """Run the rounds and print the table and the ratios."""
    options = arguments()
    rounds_, steps = (3, 10) if options.quick else (options.rounds, options.steps)
    torch.set_num_threads(1)
    ways = versions(with_compiled=options.compile)
    first_seconds: dict[str, float] = {}
    for name, train in ways.items():
        start = time.perf_counter()
        train(2)
        first_seconds[name] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds_):
        for name, train in ways.items():
            start = time.process_time()
            train(steps)
            seconds[name].append((time.process_time() - start) / steps)
    print(
        f"torch {torch.__version__}, {processor()}, 1 thread, {rounds_} rounds of {steps} steps, "
        "CPU seconds"
    )
    print_table(seconds, first_seconds)
    for count in options.at_a_time:
        rate = several(count, steps * 5)
        print(f"{count} processes of ours float32 at a time: {rate:.1f} steps/s")
    print_ratios(seconds)


def print_table(seconds: dict[str, list[float]], first_seconds: dict[str, float]) -> None:
    """A line for each version: the median step, the fastest and slowest, and the first steps."""
    print(f"{'way':28s} {'ms/step':>8s} {'range':>15s} {'steps/s':>8s} {'first 2 steps, s':>17s}")
    for name, timings in seconds.items():
        middle = statistics.median(timings)
        spread = f"{min(timings) * 1e3:.1f}-{max(timings) * 1e3:.1f}"
        first = first_seconds[name]
        print(f"{name:28s} {middle * 1e3:8.1f} {spread:>15s} {1 / middle:8.1f} {first:17.1f}")


def print_ratios(seconds: dict[str, list[float]]) -> None:
    """How much faster each version of ours is than each plain one."""
    middle = {name: statistics.median(timings) for name, timings in seconds.items()}
    ours_names = [name for name in middle if name.startswith("ours")]
    for other in ("per-head", "encoder"):
        for name in ours_names:
            label = name.removeprefix("ours ").replace(" ", "_")
            ratio = middle[f"plain {other}"] / middle[name]
            print(f"ratio {label}_over_plain_{other} {ratio:.2f}")


if __name__ == "__main__":
    main()
