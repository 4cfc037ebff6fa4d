"""Rows of earlier versions have the values that their configuration had then."""

from __future__ import annotations

import pandas as pd

from analysis.store.later import AS_BEFORE, fill_in, fill_in_table
from trainers.config.later import LATER_KEYS


def test_the_values_are_those_of_the_trainers() -> None:
    ours = {}
    for (_, kind), keys in AS_BEFORE.items():
        for key, value in keys.items():
            ours[kind, key] = value
    theirs = {key: value for key, value in LATER_KEYS.items() if value is not None}
    assert ours == theirs


def test_only_missing_values_of_the_kind_are_filled_in() -> None:
    rows = pd.DataFrame(
        {
            "data.name": ["cifar10", "cifar10", "arithmetic", None],
            "data.label_noise.count": [None, "nearest", None, None],
            "trainer.name": ["vision", "vision", "algorithmic", None],
            "trainer.least_steps": [float("nan"), 3000.0, float("nan"), float("nan")],
        }
    )
    filled = fill_in_table(rows)
    assert filled["data.label_noise.count"].fillna("-").tolist() == ["floor", "nearest", "-", "-"]
    assert filled["trainer.least_steps"].fillna(0.0).tolist() == [1.0, 3000.0, 0.0, 0.0]
    assert filled["trainer.stop_at_fit"].tolist()[:2] == [False, False]
    assert rows["data.label_noise.count"].isna().sum() == 3
    assert fill_in_table(filled).equals(filled)


def test_a_configuration_keeps_its_own_values() -> None:
    flat = {"data.name": "digits", "data.inputs": "noise"}
    expected = {"data.name": "digits", "data.inputs": "noise", "data.label_noise.count": "floor"}
    assert fill_in(flat) == expected
