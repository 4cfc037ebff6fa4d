"""The first steps at which a training has reached given accuracies. Pure functions of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.schema import Metric

PERCENTS = (50, 90, 95, 99)
SPLITS = {"train": "training rows, outliers with the answers given to them", "test": "test rows"}


def _step_metrics(split: str) -> list[Metric]:
    metrics = []
    for percent in PERCENTS:
        meaning = f"first step with {percent} % right of the {SPLITS[split]}"
        metrics.append(Metric(f"{split}_steps_{percent}", "int32", "steps", meaning))
    return metrics


def _gap_metrics() -> list[Metric]:
    metrics = []
    for percent in PERCENTS:
        meaning = f"test_steps_{percent} - train_steps_{percent}"
        metrics.append(Metric(f"gap_{percent}", "int32", "steps", meaning))
    return metrics


METRICS = (*_step_metrics("train"), *_step_metrics("test"), *_gap_metrics())


def is_open(split: str, reached: Mapping[str, int]) -> bool:
    """Whether `reached`, steps by metric, lacks a threshold of the split."""
    return any(f"{split}_steps_{percent}" not in reached for percent in PERCENTS)


def new_crossings(row: Mapping[str, Any], step: int, reached: Mapping[str, int]) -> dict[str, int]:
    """Thresholds that `row`, the counts of `step`, reaches for the first time, as {metric: step}.

    A split without counts in the row is skipped. Counts are compared as integers: 99 % is
    99 of 100.
    """
    crossings = {}
    for split in SPLITS:
        if f"{split}_right" not in row:
            continue
        right, examples = row[f"{split}_right"], row[f"{split}_examples"]
        for percent in PERCENTS:
            name = f"{split}_steps_{percent}"
            if name not in reached and right * 100 >= percent * examples:
                crossings[name] = step
    return crossings


def gaps(reached: Mapping[str, int]) -> dict[str, int]:
    """Steps between the splits, for every threshold that both have reached."""
    steps = {}
    for percent in PERCENTS:
        train, test = f"train_steps_{percent}", f"test_steps_{percent}"
        if train in reached and test in reached:
            steps[f"gap_{percent}"] = reached[test] - reached[train]
    return steps
