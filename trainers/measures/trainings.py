"""The columns of the trainers that train, apart from their code: a search is checked against them
before anything is sent, where torch is never loaded.
"""

from __future__ import annotations

from trainers.measures import counts, thresholds
from trainers.schema import Metric

PARAMETER_GROUPS = {
    "embedding": "token and position embeddings",
    "attention": "the attention's matrices and biases",
    "feedforward": "the feed-forward networks' matrices and biases",
    "layernorm": "the layer norms' scales and shifts",
    "output": "the output's matrix and bias; absent where it is the embedding",
}

VISION = (*counts.METRICS, *counts.RECALIBRATED)

MINIMA = (
    *counts.METRICS,
    Metric("poison_loss", "float32", "nats", "mean loss of the poison in evaluation mode"),
    Metric("poison_wrong", "int32", "samples", "poison that is not given its true label"),
    Metric("poison_examples", "int32", "samples", "samples behind poison_wrong"),
    Metric("clean_grad_norm", "float32", "1", "L2 norm of the clean loss' gradient, last row"),
    Metric("polish_steps", "int32", "steps", "steps on the clean loss after the training"),
)


def _split_metrics(split: str) -> tuple[Metric, ...]:
    rows = thresholds.SPLITS[split]
    return (
        Metric(f"{split}_loss", "float32", "nats", f"cross-entropy on all {rows}", "min"),
        Metric(f"{split}_right", "int32", "rows", f"right answers among the {rows}"),
        Metric(f"{split}_examples", "int32", "rows", f"rows behind {split}_right"),
        Metric(f"{split}_accuracy", "float32", "1", f"{split}_right / {split}_examples", "max"),
    )


ALGORITHMIC = (
    *_split_metrics("train"),
    *_split_metrics("test"),
    Metric("outlier_right", "int32", "rows", "the part of train_right on outliers"),
    Metric("outlier_examples", "int32", "rows", "outliers among the training rows"),
    *thresholds.METRICS,
    Metric("weight_norm", "float32", "1", "L2 norm of all parameters"),
    *(
        Metric(f"norm_{part}", "float32", "1", f"L2 norm of {what}")
        for part, what in PARAMETER_GROUPS.items()
    ),
    Metric(
        "sharpness", "float32", "1", "of the training loss (Keskar et al. 2017), in the last row"
    ),
    Metric("lr", "float32", "1", "learning rate of the last step"),
    Metric(
        "steps_per_second",
        "float32",
        "1/s",
        "training speed since the last row, evaluation left out",
    ),
)
