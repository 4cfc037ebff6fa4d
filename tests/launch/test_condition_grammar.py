"""One grammar of conditions, for the points of a sweep and the rows of the store and of figures."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import store
from analysis.figure import query
from launch.errors import UserError
from launch.sweep.condition import condition, conditions_on

CELLS: list[dict[str, Any]] = [
    {"seed": 0, "model.name": "mlp", "model.width": 4, "data.label_noise.rate": 0.0},
    {"seed": 1, "model.name": "mlp", "model.width": 16, "data.label_noise.rate": 0.2},
    {"seed": 0, "model.name": "cnn5", "model.width": 64, "data.label_noise.rate": 0.2},
    {"seed": 1, "model.name": "x.y.Net", "model.width": 64, "data.label_noise.rate": 1e-5},
]
OTHERS: list[dict[str, Any]] = [
    {"model.depth": 2, "trainer.weights_at": None, "data.augment": True, "data.rows": [1, 2]},
    {"model.depth": None, "trainer.weights_at": "log", "data.augment": False, "data.rows": [1]},
    {"model.depth": None, "trainer.weights_at": [1, 5], "data.augment": False, "data.rows": [2]},
    {"model.depth": 3, "trainer.weights_at": None, "data.augment": True, "data.rows": [1, 2]},
]
FLATS = [{**one, **other} for one, other in zip(CELLS, OTHERS, strict=True)]

CONDITIONS = [
    "model.width <= 16",
    "model.width=64",
    "model.width=4,16",
    "model.name=mlp",
    "model.name=x.y.Net,cnn5",
    "model.name == 'mlp' and seed == 1",
    "data.label_noise.rate=1e-5",
    "data.label_noise.rate in [0.2, 0]",
    "not data.augment",
    "data.augment=true",
    "model.depth=null",
    "model.depth != null and model.depth > 2",
    "trainer.weights_at == 'log'",
    "trainer.weights_at == [1, 5]",
    "data.rows == [1, 2] or seed == 1",
    "[model.width, seed] in [[4, 0], [64, 1]]",
    "trainer.weights_at != '5'",
    "data.augment == 1",
    "data.augment and model.depth in [2, 3]",
    "true",
]


def table() -> pd.DataFrame:
    """The cells as the store has them: integers with gaps are floats, mixed columns are texts."""
    frame = pd.DataFrame(FLATS).assign(cell=list("abcd"))
    frame["trainer.weights_at"] = [None, "log", "[1, 5]", None]
    frame["data.rows"] = [np.array(flat["data.rows"]) for flat in FLATS]
    return frame


def test_several_values_of_a_key_are_alternatives() -> None:
    assert store.where(table(), "model.width=4,16")["cell"].tolist() == ["a", "b"]
    assert store.where(table(), "model.name=x.y.Net,cnn5")["cell"].tolist() == ["c", "d"]


@pytest.mark.parametrize("text", ["seed in 4", "4 not in seed", "model.width in seed"])
def test_in_needs_a_list(text: str) -> None:
    with pytest.raises(UserError, match=r"expected a list after `in`, found [014]$"):
        condition(text)(FLATS[0])


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_condition_chooses_the_same_cells_everywhere(text: str) -> None:
    (meets,) = conditions_on([text], FLATS)
    expected = [cell for cell, flat in zip("abcd", FLATS, strict=True) if meets(flat)]
    assert expected
    assert store.where(table(), text)["cell"].tolist() == expected
    assert query.where(table(), [text])["cell"].tolist() == expected


BAD_CONDITIONS = [
    "model.width <",
    "open('x')",
    "model.depth < 3",
    "model.widht=4",
    "12345678",
    "'mlp'",
    "model.width=4,",
    "model.width == 4, seed == 1",
    "seed == 1 or [0]",
    "seed",
    "not model.width",
    "model.depth == 2 or model.name",
    "seed == '1'",
    "model.name in ['mlp', 3]",
    "seed=true",
    "seed == [0, 1]",
    "'4' <= model.width",
    "",
]


@pytest.mark.parametrize("text", BAD_CONDITIONS)
def test_what_one_refuses_all_refuse(text: str) -> None:
    with pytest.raises(UserError, match="condition"):
        [meets(flat) for (meets,) in [conditions_on([text], FLATS)] for flat in FLATS]
    with pytest.raises(ValueError, match="condition"):
        store.where(table(), text)
    with pytest.raises(query.FigureError, match="--where"):
        query.where(table(), [text])


@pytest.mark.parametrize(("key", "meant"), [("sed", "seed"), ("width", "model.width")])
def test_an_unknown_key_is_answered_with_the_keys_like_it(key: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"known: {meant}$"):
        condition(f"{key} == 4")(FLATS[0])


def test_the_equality_of_a_message_is_understood() -> None:
    values = ["64", "0.2", "null", "true", "mlp", "x.y.Net", "[1, 2]", "a b", "wrong <= 3", "x*y"]
    for value in values:
        frame = pd.DataFrame({"a.b": [value, "other"]})
        (written,) = shlex.split(query.equality("a.b", value))
        assert len(store.where(frame, written)) == 1


@pytest.mark.parametrize("value", [None, "wide", [4]])
def test_a_value_without_an_order_is_named(value: object) -> None:
    with pytest.raises(
        UserError, match=r"'width < 8': it compares .* with 8, expected two numbers"
    ):
        condition("width < 8")({"width": value})
