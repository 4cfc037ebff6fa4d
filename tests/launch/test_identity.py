"""The id of a cell: what enters it, what does not, and that it stays what it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launch.plan.identity import RESULT_FREE, cell_id, ids_of
from trainers import config
from trainers.config.later import LATER_KEYS

GOLDEN = json.loads((Path(__file__).parent / "golden_ids.json").read_text())
"""Configurations stored before any key was added to a kind, with the ids that they had then."""

GOLDEN_LATER = json.loads((Path(__file__).parent / "golden_later_ids.json").read_text())
"""Changes of "mlp on digits, adam" that came later, with the ids that they had then."""

# -0.0 and 0.0 are one value
numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
keys = st.text("abc._", min_size=1, max_size=6).filter(lambda key: not key.startswith(RESULT_FREE))
flats = st.dictionaries(keys, values, max_size=6)


def test_the_scheme_has_not_changed_by_accident() -> None:
    flat = {
        "seed": 3, "model.name": "resnet18", "model.width": 64, "optim.lr": 1e-4,
        "optim.weight_decay": 0.0,
        "data.train_samples": None, "data.source_rows": [50000, 10000],
        "trainer.deterministic": False,
        "run.device": "cuda", "data.root": "/data", "data.cache": "~/.cache", "data.download": True,
    }  # fmt: skip
    assert cell_id(flat) == "c1-8da43a5972f89057ba699f3be4fb5310"


@given(flats)
def test_id_is_the_version_and_128_bits(flat: dict[str, Any]) -> None:
    assert re.fullmatch(r"c1-[0-9a-f]{32}", cell_id(flat))


@given(flats, st.randoms())
def test_id_does_not_depend_on_the_order_of_keys(flat: dict[str, Any], random: Any) -> None:
    items = list(flat.items())
    random.shuffle(items)
    assert cell_id(dict(items)) == cell_id(flat)


@given(flats, st.sampled_from(RESULT_FREE), values)
def test_where_a_cell_runs_does_not_enter(flat: dict[str, Any], prefix: str, value: Any) -> None:
    assert cell_id({**flat, f"{prefix}x" if prefix.endswith(".") else prefix: value}) == cell_id(
        flat
    )


@given(flats, keys, values, values)
def test_every_other_key_and_value_enters(
    flat: dict[str, Any], key: str, one: Any, other: Any
) -> None:
    assume(repr(one) != repr(other))
    without = {k: v for k, v in flat.items() if k != key}
    assert (
        len({cell_id(without), cell_id({**without, key: one}), cell_id({**without, key: other})})
        == 3
    )


def test_every_key_of_a_configuration_but_the_named_ones_enters(flat: Mapping[str, Any]) -> None:
    entering = {
        key for key, value in flat.items() if cell_id({**flat, key: "another"}) != cell_id(flat)
    }
    assert set(flat) - entering == {"data.cache", *(key for key in flat if key.startswith("run."))}
    assert "data.root" in config.columns()  # of CIFAR-10; left out by name above


@pytest.mark.parametrize(
    "key", ["optim.lr", "optim.weight_decay", "data.label_noise.rate", "optim.momentum"]
)
def test_an_integer_in_a_number_field_gives_the_id_of_the_number(
    flat: Mapping[str, Any], key: str
) -> None:
    one, other = (config.flatten(config.parse({**flat, key: value})) for value in (1, 1.0))
    assert cell_id(one) == cell_id(other)


def test_zero_has_one_id_whatever_its_sign() -> None:
    assert cell_id({"optim.weight_decay": -0.0}) == cell_id({"optim.weight_decay": 0.0})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        [1.0, float("nan")],
        object(),
        (1, 2),
        {"a": 1},
        {1},
        b"x",
        1j,
    ],
    ids=lambda value: "object()" if type(value) is object else repr(value),
)
def test_values_without_a_stable_form_are_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"optim\.lr: .* has no stable form"):
        cell_id({"optim.lr": value})


def test_numpy_numbers_are_refused_too() -> None:
    for value in (np.float64(0.1), np.int64(3), np.bool_(True)):
        with pytest.raises(ValueError, match="no stable form"):
            cell_id({"optim.lr": value})


def golden(what: str) -> tuple[str, dict[str, Any]]:
    """The stored id and configuration of that description."""
    (entry,) = [entry for entry in GOLDEN if entry["what"] == what]
    return entry["id"], entry["flat"]


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["what"])
def test_ids_are_those_of_the_first_version(entry: Mapping[str, Any]) -> None:
    assert cell_id(entry["flat"]) == entry["id"]


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["what"])
def test_reading_a_stored_configuration_keeps_its_id(entry: Mapping[str, Any]) -> None:
    assert cell_id(config.flatten(config.parse(entry["flat"]))) == entry["id"]


@pytest.mark.parametrize("entry", GOLDEN_LATER, ids=lambda entry: str(entry["changes"]))
def test_ids_of_values_that_came_later_stay(entry: Mapping[str, Any]) -> None:
    _, flat = golden("mlp on digits, adam")
    changed = {**flat, **entry["changes"]}
    assert cell_id(changed) == entry["id"]
    assert cell_id(config.flatten(config.parse(changed))) == entry["id"]


def test_every_key_that_came_later_has_a_stored_id() -> None:
    keys = {key for kind, key in LATER_KEYS if kind in ("mlp", "digits", "vision")}
    changes = {key.partition(".")[2] for entry in GOLDEN_LATER for key in entry["changes"]}
    assert keys <= changes


def test_a_later_key_that_means_as_before_does_not_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    expected_id, flat = golden("mlp on digits, adam")
    before = {"model.activation": "relu", "trainer.weights_at": None}
    assert cell_id({**flat, **before}) == expected_id
    monkeypatch.delitem(LATER_KEYS, ("mlp", "activation"))
    assert cell_id({**flat, **before}) != expected_id


@pytest.mark.parametrize("change", [{"model.activation": "tanh"}, {"trainer.weights_at": "log"}])
def test_a_later_key_with_another_value_enters(change: Mapping[str, Any]) -> None:
    expected_id, flat = golden("mlp on digits, adam")
    assert cell_id({**flat, **change}) != expected_id


def test_a_later_key_is_that_of_its_kind_alone() -> None:
    """A transformer has had a `model.activation` from the start."""
    expected_id, flat = golden("transformer with relu")
    without = {key: value for key, value in flat.items() if key != "model.activation"}
    assert cell_id(flat) == expected_id
    assert cell_id(without) != expected_id


def test_as_before_means_the_same_type_too(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {"optim.name": "sgd", "optim.nesterov": False}
    monkeypatch.setitem(LATER_KEYS, ("sgd", "nesterov"), False)
    assert cell_id(flat) == cell_id({"optim.name": "sgd"})
    assert cell_id({**flat, "optim.nesterov": 0}) != cell_id(flat)


_scalars = st.sampled_from([0, 0.0, -0.0, 1, 1.5, True, None, "é", [1, 2.0], []])
_keys = st.sampled_from(
    ["seed", "model.name", "model.width", "model.activation", "run.threads", "data.root"]
)
_configurations = st.dictionaries(_keys, _scalars | st.sampled_from(["mlp", "vision", "relu"]))


@given(_configurations, _configurations)
def test_ids_from_a_base_are_those_of_whole_configurations(
    base: dict[str, Any], values: dict[str, Any]
) -> None:
    assert ids_of([{}, base], [(1, values), (1, {})]) == [
        cell_id({**base, **values}),
        cell_id(base),
    ]
