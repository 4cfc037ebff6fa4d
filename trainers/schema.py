"""What the files of a part contain: metrics, facts of a run, statuses and the columns of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

import pyarrow as pa

from trainers import config
from trainers.config.main_metrics import MAIN_METRICS

SCHEMA_VERSION = 1
_VERSION = {"redescent.schema": str(SCHEMA_VERSION)}

Status = Literal["running", "done", "stopped", "nonfinite", "failed"]
FINAL = ("done", "nonfinite")


@dataclass(frozen=True)
class Metric:
    """A column that a trainer logs; `best` is the direction of better values, if there is one."""

    name: str
    dtype: Literal["float32", "int32"]
    unit: str
    meaning: str
    best: Literal["min", "max"] | None = None


def _described(name: str, kind: pa.DataType, meaning: str, unit: str | None = None) -> pa.Field:
    """A column with its unit and meaning as metadata."""
    texts = {"meaning": meaning} if unit is None else {"unit": unit, "meaning": meaning}
    return pa.field(name, kind, metadata=texts)


_POSITION = (
    _described("cell", pa.dictionary(pa.int32(), pa.string()), "id of the cell"),
    _described("attempt", pa.int16(), "attempt that computed the row"),
    _described("epoch", pa.int32(), "1-based; 0 is before training", "epochs"),
    _described("step", pa.int64(), "optimiser steps so far", "steps"),
    _described("examples", pa.int64(), "training examples seen so far", "examples"),
    _described("seconds", pa.float64(), "training time so far, excluding waits", "s"),
)
"""Where in its training a row was logged."""

FACTS: dict[str, pa.DataType] = {
    "host": pa.string(),
    "gpu": pa.string(),
    "gpu_seconds": pa.float64(),
    "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "epochs": pa.int32(),
    "steps": pa.int64(),
    "first_attempt": pa.int16(),  # that its training began with, where it resumed
    "parameters": pa.int64(),
    "noise_rate": pa.float64(),
    "noise_chosen": pa.int64(),
    "noise_mask_hash": pa.string(),
    "data_hash": pa.string(),
    "source_hash": pa.string(),  # of the files of data.root; data_hash is that of what a cell uses
    "fitted": pa.bool_(),  # some check had no wrong training sample
    "fit_step": pa.int64(),  # steps: the first such check
    "wrong": pa.int64(),  # training samples, at the last check
    "best_wrong": pa.int64(),  # training samples, the fewest at a check
    "abandoned": pa.bool_(),  # given up by trainer.abandon
    "bits": pa.float64(),  # bits known of random labels at the last check
    "full_grad_norm": pa.float64(),  # of the loss over all training samples, / sqrt(parameters)
    "lambda_min": pa.float64(),  # smallest eigenvalue of that loss' Hessian
    "lambda_max": pa.float64(),  # its largest eigenvalue
    "loss_trend": pa.float64(),  # relative change of that loss over the last 20 % of the steps
    "of_code": pa.string(),  # of the trained cell that a measure measures
    "of_data_hash": pa.string(),  # its data_hash
    "norm_weights": pa.float64(),  # L2 norm of its weights: tensors of two or more dimensions
    "dimensions": pa.int64(),  # entries of these weights, without filters of norm 0
    "cosine": pa.float64(),  # of the angle between the two directions of a surface
    "barrier": pa.float64(),  # nats: largest rise of the loss above the chord of a line
    "distance": pa.float64(),  # L2 distance of the two ends of a line
    "radius_mean": pa.float64(),  # over the block's directions that crossed the cut
    "radius_median": pa.float64(),
    "radius_sd": pa.float64(),
    "radius_q05": pa.float64(),  # quantile of 5 %
    "radius_q95": pa.float64(),  # quantile of 95 %
    "undefined": pa.float64(),  # share of the block's directions without a radius: base too high
    "never": pa.float64(),  # share of those that do not cross up to c_max
    "precision": pa.string(),
    "matrix_library": pa.string(),
    "code": pa.string(),
    "earlier_code": pa.string(),  # of attempts whose checkpoints it continued, where it differs
    "environment": pa.string(),
    "error_class": pa.string(),
    "error": pa.string(),
}
STATE_COLUMNS = (
    "cell", "status", "attempt", "updated", "epochs", "steps", "seconds", "gpu_seconds",
    "error_class", "error", "code", "earlier_code", "source_hash", "first_attempt",
)  # fmt: skip
"""Columns of the run records that a part repeats in its block of states: what `status` needs."""

HEADLINE_COLUMNS = tuple(f"final_{metric}" for metric in MAIN_METRICS)
"""Columns that the block repeats too where the records have them: one is the metric of `status`."""

_ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}


def _arrow(kind: type) -> pa.DataType:
    """The column type of a configuration key, from the type that `config.columns` has for it."""
    if get_origin(kind) is list:
        return pa.list_(_arrow(get_args(kind)[0]))
    return _ARROW[kind]


def curve_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the rows: position, then the metrics with unit and meaning as metadata."""
    fields = list(_POSITION)
    for metric in metrics:
        kind = pa.type_for_alias(metric.dtype)
        fields.append(_described(metric.name, kind, metric.meaning, metric.unit))
    return pa.schema(fields, metadata=_VERSION)


def run_schema(metrics: Sequence[Metric], columns: Mapping[str, type] | None = None) -> pa.Schema:
    """Columns of the run records: status, configuration, facts, final and best metrics.

    `columns` are those of the configuration with their types; by default those of our own kinds.
    """
    fields = [
        ("cell", pa.string()),
        ("status", pa.string()),
        ("attempt", pa.int16()),
        ("updated", pa.float64()),
    ]
    columns = config.columns() if columns is None else columns
    fields += [(key, _arrow(kind)) for key, kind in columns.items()]
    fields += list(FACTS.items())
    for metric in metrics:
        fields.append((f"final_{metric.name}", pa.type_for_alias(metric.dtype)))
        if metric.best:
            fields.append((f"best_{metric.name}", pa.type_for_alias(metric.dtype)))
            fields.append((f"best_epoch_{metric.name}", pa.int32()))
    return pa.schema([pa.field(*field) for field in fields], metadata=_VERSION)
