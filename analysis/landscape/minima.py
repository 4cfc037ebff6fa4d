"""Which trained cells count as minima, and how well they do. Pure functions of a runs table."""

from __future__ import annotations

import pandas as pd

from analysis.figure import query


def test_accuracy(trained: pd.DataFrame) -> pd.Series:
    """Share of right answers on the test set at the end of each training; NaN without one.

    Trainings on operation tables log the accuracy, the others the error.
    """
    accuracy = 1.0 - query.numbers(trained, "final_test_error")
    return accuracy.fillna(query.numbers(trained, "final_test_accuracy"))


def fits(trained: pd.DataFrame) -> pd.Series:
    """Whether each trained cell has no wrong answer on its clean training set."""
    right = query.numbers(trained, "final_train_right")
    samples = query.numbers(trained, "final_train_examples")
    return (query.numbers(trained, "final_train_eval_wrong") == 0) | (right == samples)


def is_minimum(trained: pd.DataFrame, kappa: float) -> pd.Series:
    """Whether each trained cell counts as a minimum: it fits, and its clean loss is at most a tenth
    of the cut `kappa`, in nats.
    """
    return fits(trained) & (clean_loss(trained) <= kappa / 10)


def clean_loss(trained: pd.DataFrame) -> pd.Series:
    """The loss of each trained cell on its training set in evaluation mode, in nats."""
    loss = query.numbers(trained, "final_train_eval_loss")
    if "final_train_right" in trained:  # operation tables are always evaluated whole
        loss = loss.fillna(query.numbers(trained, "final_train_loss"))
    return loss
