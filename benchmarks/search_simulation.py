"""How well rules of search find a planted threshold, and what they cost.

    python benchmarks/search_simulation.py [--quick] [--repeats 150]

Each repeat plants a fit probability over n, with n50 log-uniform in 60 to 6,000, and lets every
rule search for it in the range 16 to 16,384. Scenarios:

usual   logistic in log n with slope 0.12
wide    slope 0.3
lapse   slope 0.12, and 10 % of trainings fail at any n
holes   slope 0.12, and p is 0.15 in two ranges of width 0.24 in log n, anywhere from 16 to n50
island  slope 0.12, and p is 0.15 from n50 exp(-0.65) to n50 exp(-0.3): above it is an island

Sequential rules and "doubling" answer with the largest n with a fit, all others with the median of
the posterior of analysis.stats.threshold, whichever values they trained. Columns: root mean square
error and mean error of log n50; share of 90 % intervals that hold n50; mean numbers of trainings
and of rounds, whose trainings can run at once; effort in trainings that fail, of which a fit at n
costs (n / n50)^1.5. The last lines are `ratio NAME VALUE`: another rule over "posterior, 4 a
round".
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats import threshold
from analysis.stats.threshold import Settings, Trial

SETTINGS = Settings(
    low=16, high=16384, lattice=8, step=None, integer=True, falling=True, method="posterior",
    first=6, per_round=4, until=1.15, most=36, verify=False, seeds=100,
)  # fmt: skip
FLAW = 0.15  # probability of a fit within a hole
STEP = 2 ** (1 / 8)
REPEATS, QUICK = 150, 40


@dataclass(frozen=True)
class Scenario:
    """A family of fit probabilities: slope, lapse, number of holes, whether there is an island."""

    slope: float = 0.12
    lapse: float = 0.0
    holes: int = 0
    island: bool = False


SCENARIOS = {
    "usual": Scenario(),
    "wide": Scenario(slope=0.3),
    "lapse": Scenario(lapse=0.1),
    "holes": Scenario(holes=2),
    "island": Scenario(island=True),
}


class Task:
    """One planted threshold; counts trainings, rounds and effort of the rule that searches it."""

    def __init__(self, scenario: Scenario, seed: Sequence[int]) -> None:
        self.random = np.random.default_rng(seed)
        self.scenario = scenario
        self.n50 = math.exp(self.random.uniform(math.log(60), math.log(6000)))
        self.flaws = [(0.3, 0.65)] if scenario.island else []
        for _ in range(scenario.holes):
            start = self.random.uniform(0, math.log(self.n50 / SETTINGS.low))
            self.flaws.append((start, start + 0.24))
        self.trainings = self.rounds = 0
        self.effort = 0.0

    def probability(self, n: float) -> float:
        """Probability that a training on n samples fits."""
        below = math.log(self.n50 / n)
        if any(low <= below <= high for low, high in self.flaws):
            return FLAW
        return (1 - self.scenario.lapse) / (1 + math.exp(-below / self.scenario.slope))

    def round(self, values: Iterable[float]) -> list[bool]:
        """Train once at each value, all at the same time."""
        self.rounds += 1
        fits = []
        for n in values:
            fit = bool(self.random.random() < self.probability(n))
            self.trainings += 1
            self.effort += (n / self.n50) ** 1.5 if fit else 1
            fits.append(fit)
        return fits


@dataclass(frozen=True)
class Answer:
    """What a rule says: n50, and the ends of its 90 % interval (NaN where it has none)."""

    n50: float
    low: float = math.nan
    high: float = math.nan


Rule = Callable[[Task], Answer]


def sequential(factor: float, tries: int = 1) -> Rule:
    """Rungs a factor apart; stop at the first one where all tries fail."""

    def search(task: Task) -> Answer:
        n, largest = float(SETTINGS.low), SETTINGS.low / factor
        while n <= SETTINGS.high:
            for _ in range(tries):
                (fit,) = task.round([n])
                if fit:
                    break
            if not fit:
                break
            largest, n = n, n * factor
        return Answer(largest)

    return search


def doubling_then_bisection(task: Task) -> Answer:
    """Double n until a training fails, then halve the octave down to one lattice step."""
    fitted, failed = SETTINGS.low / 2, float(SETTINGS.low)
    while failed <= SETTINGS.high and all(task.round([failed])):
        fitted, failed = failed, failed * 2
    while failed / fitted > STEP * 1.001:
        middle = math.sqrt(fitted * failed)
        if all(task.round([middle])):
            fitted = middle
        else:
            failed = middle
    return Answer(fitted)


def staircase(task: Task) -> Answer:
    """24 single trainings: up after a fit, down after a failure; the step halves at reversals."""
    position, step, last = math.sqrt(SETTINGS.low * SETTINGS.high), STEP**16, None
    results = []
    for number in range(24):
        (fit,) = task.round([position])
        results.append((Trial(0, position, number), fit))
        if last is not None and fit != last and step > STEP * 1.001:
            step = math.sqrt(step)
        position *= step if fit else 1 / step
        position, last = min(max(position, SETTINGS.low), SETTINGS.high), fit
    return answer(SETTINGS, results)


def octaves_then_window(task: Task) -> Answer:
    """One training at each octave, then three at every second value of two octaves around n50."""
    octaves = [SETTINGS.low * 2**i for i in range(11)]
    results = train(task, octaves)
    centre = answer(SETTINGS, results).n50
    rungs = [centre * STEP**steps for steps in range(-8, 9, 2)]
    results += train(task, [n for n in rungs for _ in range(3)])
    return answer(SETTINGS, results)


def train(task: Task, values: Sequence[float]) -> list[tuple[Trial, bool]]:
    """A round of trainings as trials, numbered over all rounds."""
    first = task.trainings
    fits = task.round(values)
    trials = [Trial(0, value, number) for number, value in enumerate(values, start=first)]
    return list(zip(trials, fits, strict=True))


def adaptive(settings: Settings) -> Rule:
    """The search of this project."""

    def search(task: Task) -> Answer:
        outcomes: dict[Trial, bool] = {}
        state = threshold.progress(settings, outcomes)
        while state.open:
            fits = task.round(trial.value for trial in state.open)
            outcomes.update(zip(state.open, fits, strict=True))
            state = threshold.progress(settings, outcomes)
        return answer(settings, list(outcomes.items()))

    return search


def answer(settings: Settings, results: list[tuple[Trial, bool]]) -> Answer:
    """The posterior's median and interval, also where n50 is censored."""
    belief = threshold.posterior(settings, results)
    low, high = threshold.INTERVAL
    return Answer(belief.quantile(0.5), belief.quantile(low), belief.quantile(high))


OURS = "posterior, 4 a round"
RULES: dict[str, Rule] = {
    "sequential x1.19": sequential(STEP**2),
    "sequential x1.41": sequential(STEP**4),
    "sequential x1.19, best of 3": sequential(STEP**2, 3),
    "doubling, then bisection": doubling_then_bisection,
    "bisection, majority of 3": adaptive(replace(SETTINGS, method="bisect")),
    "staircase, 24 runs": staircase,
    "ladder x1.19, 2 a rung": adaptive(replace(SETTINGS, method="ladder", most=82)),
    "octaves, then a window": octaves_then_window,
    OURS: adaptive(SETTINGS),
    "posterior, 8 a round, most 48": adaptive(replace(SETTINGS, per_round=8, most=48)),
    "posterior, 6 a round, most 18": adaptive(replace(SETTINGS, per_round=6, until=1.2, most=18)),
    "posterior, 4 a round, verified": adaptive(replace(SETTINGS, verify=True)),
}


@dataclass(frozen=True)
class Summary:
    """What a rule did in a scenario, over the repeats."""

    rmse: float
    bias: float
    coverage: float
    trainings: float
    rounds: float
    effort: float

    def row(self) -> str:
        """The columns of the table."""
        covered = "-" if math.isnan(self.coverage) else f"{100 * self.coverage:.0f} %"
        return (
            f"{self.rmse:6.2f} {self.bias:6.2f} {covered:>8} {self.trainings:10.1f} "
            f"{self.rounds:7.1f} {self.effort:7.1f}"
        )


def simulate(rule: Rule, number: int, repeats: int) -> Summary:
    """One rule in the scenario with this number; a repeat plants the same curve for every rule."""
    scenario = list(SCENARIOS.values())[number]
    errors, covered, counts = [], [], []
    for repeat in range(repeats):
        task = Task(scenario, [number, repeat])
        said = rule(task)
        errors.append(math.log(said.n50 / task.n50))
        covered.append(said.low <= task.n50 <= said.high if said.low == said.low else math.nan)
        counts.append((task.trainings, task.rounds, task.effort))
    rmse = float(np.sqrt(np.mean(np.square(errors))))
    return Summary(rmse, float(np.mean(errors)), float(np.mean(covered)), *np.mean(counts, axis=0))


def report(repeats: int) -> list[str]:
    """The lines of the table and the ratios."""
    start = time.process_time()
    lines = [
        f"{repeats} repeats; range 16 to 16,384; n50 log-uniform in 60 to 6,000",
        f"{'rule':32} {'scenario':8}   rmse   bias coverage  trainings  rounds  effort",
    ]
    summaries = {}
    for name, rule in RULES.items():
        for number, scenario in enumerate(SCENARIOS):
            summary = summaries[name, scenario] = simulate(rule, number, repeats)
            lines.append(f"{name:32} {scenario:8} {summary.row()}")
    lines.append(f"{time.process_time() - start:.0f} CPU seconds")
    for scenario in SCENARIOS:
        ours = summaries[OURS, scenario]
        for name in ("sequential x1.19", "doubling, then bisection"):
            other, label = summaries[name, scenario], name.partition(",")[0].replace(" ", "_")
            lines.append(f"ratio rmse_{scenario}_{label} {other.rmse / ours.rmse:.1f}")
            lines.append(f"ratio effort_{scenario}_{label} {other.effort / ours.effort:.2f}")
    return lines


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"under a minute: {QUICK} repeats")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="per rule and scenario")
    options = parser.parse_args()
    for line in report(QUICK if options.quick else options.repeats):
        print(line)


if __name__ == "__main__":
    main()
