"""What it costs to find how many samples a network fits: our search, and the sequential search.

    python benchmarks/capacity.py [--quick] [--repeats 6]

The task is the sweep emc_digits_small at width 8: random labels on the digits, 3,000 steps, each
training stopped at its fit. Both rules train the same kind of cell with the same trainer, on one
thread, and their repeats take turns:

posterior    analysis.stats.threshold: rounds until the 90 % interval is within 15 %
sequential   as the paper's summary describes it: larger and larger n, by a factor of 1.19, each
             time from a new initialisation, until the first failure; the answer is the largest n
             that was fitted

A sequential search states no interval. What its answers are worth is seen from their spread: the
number of searches whose geometric mean has a 90 % interval within 15 %, from the standard
deviation of the repeats. Columns: the answers; trainings, optimiser steps and CPU seconds until the
interval is within 15 %, medians over the repeats. The spread cannot show a bias: where trainings
fail by chance, the sequential answer is too small however often it is repeated
(benchmarks/search_simulation.py).

The second table is the CPU time of one training step of one network, when several networks of the
same shape are trained in one process as a stack of matrices, over that of a stack of one. Last come
lines `ratio NAME VALUE`: sequential over posterior, and one network over one of a stack of 24.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from analysis.stats import threshold
from analysis.stats.threshold import Settings, Trial
from launch.sweep import compose
from launch.sweep.request import resolved_cell
from trainers import config, train
from trainers.checkpoint import Checkpoints
from trainers.part import Part
from trainers.run import Run
from trainers.vision import METRICS

WIDTH, UNTIL, FACTOR, FIRST = 8, 1.15, 2 ** (1 / 4), 16
REPEATS, QUICK_REPEATS, QUICK_STEPS = 6, 2, 300
NORMAL_95 = 1.645  # 95 % quantile of the standard normal distribution
STACKS, STACK_STEPS = (1, 8, 24), 300


@dataclass(frozen=True)
class Cost:
    """What some trainings took."""

    trainings: int
    steps: int
    seconds: float
    """CPU seconds."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.trainings + other.trainings,
            self.steps + other.steps,
            self.seconds + other.seconds,
        )


NOTHING = Cost(0, 0, 0.0)


@dataclass(frozen=True)
class Answer:
    """The answer of one search, its interval if the rule states one, and its cost."""

    value: float
    low: float | None
    high: float | None
    cost: Cost


@dataclass(frozen=True)
class Task:
    """A search of the sweep, as a flat configuration without samples and seed."""

    point: dict[str, Any]
    settings: Settings
    folder: Path

    def fits(self, samples: int, seed: int) -> tuple[bool, Cost]:
        """Train one cell; returns whether it fitted all samples, and the cost."""
        flat = {**self.point, "data.train_samples": samples, "seed": seed}
        cell = resolved_cell(flat)
        part = Part(self.folder, "w", METRICS, throttle=True)
        checkpoints = Checkpoints(self.folder / "checkpoints", cell.id, 1, "w")
        run = Run(cell.id, cell.flat, 1, part, checkpoints, lambda: False, 1e9)
        start = time.process_time()
        train(config.parse(cell.flat), run)
        seconds = time.process_time() - start
        return bool(run.facts["fitted"]), Cost(1, run.steps, seconds)


def task(folder: Path, steps: int | None) -> Task:
    """The task: the sweep at one width, with other steps if given."""
    overrides = ["hydra/launcher=local", f"search.until={UNTIL}", "search.most=36"]
    overrides += [f"data.cache={folder}"]
    if steps is not None:
        overrides.append(f"trainer.least_steps={steps}")
    request = compose.expand_sweep("emc_digits_small", overrides)
    for search in request.searches:
        if search.point["model.width"] == WIDTH:
            for kind in ("curves", "runs", "checkpoints"):
                (folder / kind).mkdir(exist_ok=True)
            return Task(dict(search.point), Settings(**search.settings), folder)
    raise RuntimeError(f"emc_digits_small has no width {WIDTH}")


def posterior_search(task: Task, repeat: int) -> Answer:
    """Our search, with seeds of its own for every repeat."""
    outcomes: dict[Trial, bool] = {}
    cost = NOTHING
    state = threshold.progress(task.settings, outcomes)
    while state.open:
        for trial in state.open:
            seed = 1000 * repeat + trial.number
            outcomes[trial], more = task.fits(int(trial.value), seed)
            cost += more
        state = threshold.progress(task.settings, outcomes)
    estimate = threshold.estimate(task.settings, threshold.results_on_path(state, outcomes))
    value = estimate.n50 or estimate.bound or math.nan
    return Answer(value, estimate.low, estimate.high, cost)


def sequential_search(task: Task, repeat: int) -> Answer:
    """Larger and larger n until the first failure, every training with a seed of its own."""
    cost, largest, number, value = NOTHING, math.nan, 0, float(FIRST)
    while value <= task.settings.high:
        has_fitted, more = task.fits(round(value), 1000 * repeat + 500 + number)
        cost += more
        if not has_fitted:
            break
        largest, number, value = round(value), number + 1, value * FACTOR
    return Answer(largest, None, None, cost)


def searches_needed(values: list[float]) -> float:
    """How many searches give a geometric mean whose 90 % interval is within UNTIL.

    From the standard deviation of the logarithms of a few answers; at least one.
    """
    deviation = statistics.stdev(math.log(value) for value in values)
    return max(1.0, (NORMAL_95 * deviation / math.log(UNTIL)) ** 2)


def medians(answers: list[Answer]) -> Cost:
    """Medians over the repeats."""
    return Cost(
        round(statistics.median(answer.cost.trainings for answer in answers)),
        round(statistics.median(answer.cost.steps for answer in answers)),
        statistics.median(answer.cost.seconds for answer in answers),
    )


def report_searches(task: Task, repeats: int) -> Iterator[str]:
    """The first table and its ratios."""
    ours: list[Answer] = []
    theirs: list[Answer] = []
    for repeat in range(repeats):
        ours.append(posterior_search(task, repeat))
        theirs.append(sequential_search(task, repeat))
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        interval = f"[{mine.low or math.nan:.0f}, {mine.high or math.nan:.0f}]"
        answers = f"posterior {mine.value:.0f} {interval}, sequential {other.value:.0f}"
        yield f"repeat {number}: {answers}"
    needed = searches_needed([answer.value for answer in theirs])
    posterior, one = medians(ours), medians(theirs)
    yield f"by their spread, {needed:.1f} sequential searches have a mean within 15 %"
    yield f"{'':12}{'trainings':>10}{'steps':>10}{'CPU s':>8}"
    yield f"{'posterior':12}{posterior.trainings:10}{posterior.steps:10,}{posterior.seconds:8.1f}"
    for name, factor in (("sequential", 1.0), ("  to 15 %", needed)):
        trainings, steps = factor * one.trainings, factor * one.steps
        yield f"{name:12}{trainings:10.0f}{steps:10,.0f}{factor * one.seconds:8.1f}"
    yield f"ratio capacity_trainings {needed * one.trainings / posterior.trainings:.2f}"
    yield f"ratio capacity_steps {needed * one.steps / posterior.steps:.2f}"
    yield f"ratio capacity_cpu {needed * one.seconds / posterior.seconds:.2f}"


def stacked_step(count: int, width: int) -> Callable[[], None]:
    """One Adam step of `count` MLPs with 64 inputs and 10 classes, on batches of their own."""
    generator = torch.Generator().manual_seed(0)
    x_mbi = torch.rand(count, 64, 64, generator=generator)
    y_mb = torch.randint(0, 10, (count, 64), generator=generator)
    shapes = ((count, 64, width), (count, 1, width), (count, width, 10), (count, 1, 10))
    weights = [torch.randn(shape, generator=generator).mul_(0.1) for shape in shapes]
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.Adam(weights, lr=1e-2, fused=True)

    def step() -> None:
        hidden = torch.baddbmm(weights[1], x_mbi, weights[0]).relu()
        logits = torch.baddbmm(weights[3], hidden, weights[2])
        loss = functional.cross_entropy(logits.flatten(0, 1), y_mb.flatten(), reduction="sum")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def report_stacks(rounds: int) -> Iterator[str]:
    """The second table and its ratio."""
    torch.set_num_threads(1)
    steps = {count: stacked_step(count, WIDTH) for count in STACKS}
    seconds: dict[int, list[float]] = {count: [] for count in STACKS}
    for _ in range(rounds):
        for count, step in steps.items():
            start = time.process_time()
            for _ in range(STACK_STEPS):
                step()
            seconds[count].append((time.process_time() - start) / STACK_STEPS / count)
    middle = {count: statistics.median(values) for count, values in seconds.items()}
    for count, value in middle.items():
        yield f"stack of {count:2}: {1000 * value:.3f} ms a network and step ({rounds} rounds)"
    yield f"ratio capacity_stack_24 {middle[1] / middle[24]:.2f}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="about a minute: shorter trainings")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="searches of each rule")
    options = parser.parse_args()
    repeats = QUICK_REPEATS if options.quick else options.repeats
    with tempfile.TemporaryDirectory() as folder:
        chosen = task(Path(folder), QUICK_STEPS if options.quick else None)
        for line in report_searches(chosen, repeats):
            print(line, flush=True)
    for line in report_stacks(3 if options.quick else 9):
        print(line, flush=True)


if __name__ == "__main__":
    main()
