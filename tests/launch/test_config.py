"""The strict reading of configurations: what is refused and how, and that nothing changes on the
way through.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Mapping
from typing import Any, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch.sweep import compose
from launch.sweep.request import leaves
from trainers.config import (
    MEASURES,
    Cell,
    ConfigError,
    check_last_batch,
    columns,
    flatten,
    parse,
)
from trainers.config.later import fill_in

MODELS = [
    {"model.name": "resnet18", "model.variant": "preactivation", "model.width": 2},
    {"model.name": "cnn5", "model.width": 2},
    {"model.name": "mlp", "model.width": 2, "model.depth": 1},
    {"model.name": "convnet", "model.width": 2, "model.stages": 2, "model.blocks": 1,
     "model.down": "stride", "model.norm": "none", "model.activation": "relu"},
    {"model.name": "vit", "model.width": 6, "model.depth": 2, "model.heads": 3,
     "model.feedforward": 2, "model.patch": 4},
]  # fmt: skip
CIFAR10 = {
    "data.name": "cifar10",
    "data.root": None,
    "data.download": False,
    "data.source_rows": [50000, 10000],
    "data.classes": None,
    "data.downscale": 1,
}
DIGITS = {"data.name": "digits"}
SGD = {"optim.name": "sgd", "optim.momentum": 0.9}
ADAM = {"optim.name": "adam", "optim.beta1": 0.9, "optim.beta2": 0.999, "optim.eps": 1e-8,
        "optim.decay_towards": "zero", "optim.update_noise": 0.0}  # fmt: skip
ADAMW = ADAM | {"optim.name": "adamw"}
SHAMPOO = {"optim.name": "shampoo", "optim.momentum": 0.9, "optim.eps": 1e-6, "optim.every": 1}
SOAP = {"optim.name": "soap", "optim.beta1": 0.95, "optim.beta2": 0.95, "optim.eps": 1e-8,
        "optim.every": 10}  # fmt: skip
OPTIMISERS = [SGD, ADAM, ADAMW, SHAMPOO, SOAP]
UNIONS = {"model.": MODELS, "data.": [CIFAR10, DIGITS], "optim.": OPTIMISERS}
NOOP = {
    "model.name": "none",
    "data.name": "none",
    "optim.name": "none",
    "trainer.name": "noop",
    "trainer.epochs": 1,
    "trainer.seconds": 0.5,
    "trainer.fail": "none",
}
OWN = {key for options in UNIONS.values() for option in options for key in option}


def section(group: str, name: str) -> dict[str, Any]:
    """The flat section of a file in configs/, as it stands there."""
    content = yaml.safe_load((compose.CONFIGS / group / f"{name}.yaml").read_text())
    return dict(leaves(content.get(group, content), f"{group}."))


def minima_and_measures(where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every kind of model, data and optimiser that trainer `minima` alone takes, and every
    measure.
    """
    base = {**where, **section("trainer", "minima")}
    base |= section("model", "fully_connected") | section("optim", "rmsprop")
    base |= section("data", "swiss_roll")
    kinds = {
        "model": ["fully_connected", "resnet20", "vgg13", "quadratic"],
        "data": ["swiss_roll", "spirals", "rings", "svhn", "table"],
        "optim": ["nesterov", "rmsprop", "amsgrad", "adamax", "adagrad", "adadelta", "asgd"],
    }
    cells = []
    for group, names in kinds.items():
        others = {key: value for key, value in base.items() if not key.startswith(f"{group}.")}
        cells += [{**others, **section(group, name)} for name in names]
    schedule = {"name": "milestones", "at": [102.4], "factor": 0.1, "unit": "epochs", "warmup": 0}
    others = {key: value for key, value in base.items() if ".schedule." not in key}
    cells.append({**others, **{f"optim.schedule.{key}": v for key, v in schedule.items()}})
    network = {key: value for key, value in base.items() if key.startswith(("model.", "data."))}
    for measure in MEASURES:
        settings = section("trainer", measure) | {"trainer.of": "c1-0"}
        if measure == "line":
            settings["trainer.to"] = "c1-1"
        cells.append({**where, **network, "optim.name": "none", **settings})
    return cells


def every_kind(flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`flat` with every kind of model, data and optimiser in turn, a cell of the trainer on
    operation tables, cells of minima and of measures, and one that computes nothing."""
    shared = {key: value for key, value in flat.items() if key not in OWN}
    where = {key: value for key, value in flat.items() if key == "seed" or key.startswith("run.")}
    tables = dict(compose.expand_sweep("demo_grokking", ["hydra/launcher=local"]).cells[0].flat)
    combinations = itertools.product(*UNIONS.values())
    images = [fill_in({**shared, **a, **b, **c}) for a, b, c in combinations]
    return [*images, tables, *minima_and_measures(where), where | NOOP]


def plain_type(key: str) -> Any:
    """The type of the key's values in a flat configuration."""
    return get_origin(columns()[key]) or columns()[key]


def refusal(flat: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse(flat)
    return str(error.value)


def test_every_kind_of_cell_is_read_and_written_back_unchanged(flat: Mapping[str, Any]) -> None:
    for cell in every_kind(flat):
        assert flatten(parse(cell)) == cell
        assert {key: type(value) for key, value in flatten(parse(cell)).items()} == {
            k: type(v) for k, v in cell.items()
        }


def test_columns_are_exactly_the_keys_of_all_kinds_with_their_types(
    flat: Mapping[str, Any],
) -> None:
    cells = every_kind(flat)
    assert set(columns()) == {key for cell in cells for key in cell}
    for cell in cells:
        assert all(value is None or type(value) is plain_type(key) for key, value in cell.items())


@given(
    changes=st.fixed_dictionaries(
        {
            "seed": st.integers(-(2**63), 2**63 - 1),
            "model.width": st.integers(1, 10**6),
            "optim.lr": st.floats(0, allow_nan=False, allow_infinity=False) | st.integers(0, 10**9),
            "data.train_samples": st.none() | st.integers(1, 2**63 - 1),
            "data.augment": st.booleans(),
            "data.label_noise.rate": st.floats(0, 1) | st.integers(0, 1),
            "run.device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
            "trainer.eval_train": st.sampled_from(["every", "log", "never"]),
        }
    )
)
def test_flatten_gives_back_every_value_in_its_declared_type(
    flat: Mapping[str, Any], changes: dict[str, Any]
) -> None:
    cell = parse({**flat, **changes})
    repeated_flat = flatten(cell)
    assert repeated_flat == fill_in({**flat, **changes})
    assert all(type(repeated_flat[key]) in (plain_type(key), type(None)) for key in repeated_flat)
    assert parse(repeated_flat) == cell


def test_order_of_the_keys_does_not_matter(flat: Mapping[str, Any]) -> None:
    assert parse(dict(reversed(flat.items()))) == parse(flat)
    assert list(flatten(parse(dict(reversed(flat.items()))))) == list(flatten(parse(flat)))


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("model.widht", "model.width"),
        ("optim.weight_decya", "optim.weight_decay"),
        ("data.label_noise.rat", "data.label_noise.rate"),
        ("optim.schedule.perod", "optim.schedule.period"),
        ("trainer.epoch", "trainer.epochs"),
        ("sead", "seed"),
        ("modle.width", "modle"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_known_one(
    flat: Mapping[str, Any], key: str, near: str
) -> None:
    output = refusal({**flat, key: 1})
    assert f"{key.rpartition('.')[0]}" in output
    assert "unknown key" in output
    assert near in output


def test_unknown_key_without_a_neighbour_lists_the_known_ones(flat: Mapping[str, Any]) -> None:
    output = refusal({**flat, "model.qqqqqq": 1})
    assert output.startswith(
        "model.qqqqqq: unknown key; known here: model.name, model.width, model.depth"
    )


def test_a_key_of_another_kind_is_unknown_here(flat: Mapping[str, Any]) -> None:
    assert "model.variant: unknown key" in refusal({**flat, "model.variant": "preactivation"})
    assert "optim.beta1: unknown key" in refusal({**flat, "optim.beta1": 0.9})


@pytest.mark.parametrize(
    "key", ["seed", "model.width", "data.label_noise.rate", "optim.schedule.name", "run.threads"]
)
def test_missing_key_is_named(flat: Mapping[str, Any], key: str) -> None:
    assert refusal({k: v for k, v in flat.items() if k != key}).startswith(f"{key}: ")


def test_missing_section_is_named(flat: Mapping[str, Any]) -> None:
    assert refusal({k: v for k, v in flat.items() if not k.startswith("trainer.")}).startswith(
        "trainer: missing"
    )
    assert refusal({k: v for k, v in flat.items() if "label_noise" not in k}).startswith(
        "data.label_noise.kind: missing"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", 1.0, "an integer"),
        ("seed", True, "an integer"),
        ("seed", "1", "an integer"),
        ("seed", None, "an integer"),
        ("optim.lr", "0.1", "a number"),
        ("optim.lr", True, "a number"),
        ("optim.lr", None, "a number"),
        ("optim.lr", [0.1], "a number"),
        ("data.augment", 1, "true or false"),
        ("data.augment", "true", "true or false"),
        ("run.device", 0, "a text"),
        ("data.train_samples", 1.0, "an integer or null"),
        ("data.train_samples", True, "an integer or null"),
        ("data.scaling", "half", "one of unit, symmetric, standardised"),
        ("trainer.eval_test", "never", "one of every, log, last"),
        (
            "optim.schedule.name",
            "linear",
            "one of constant, cosine, step, inverse_sqrt, milestones",
        ),
    ],
)
def test_wrong_type_says_what_was_found_and_expected(
    flat: Mapping[str, Any], key: str, value: Any, expected: str
) -> None:
    output = refusal({**flat, key: value})
    assert output.startswith(f"{key}: found ")
    assert output.endswith(f"expected {expected}")


def test_an_unknown_device_is_refused(flat: Mapping[str, Any]) -> None:
    assert refusal({**flat, "run.device": "cudda"}).startswith(
        "run.device: found 'cudda', expected auto, cpu, cuda"
    )
    assert parse({**flat, "run.device": "cuda:1"}).run.device == "cuda:1"


@pytest.mark.parametrize("value", [[1, 2, 3], [1], [1.0, 2], [True, 2], "ab", 5, None])
def test_a_list_of_wrong_length_or_content_is_refused(flat: Mapping[str, Any], value: Any) -> None:
    cell = every_kind(flat)[0] | {"data.source_rows": value}
    assert refusal(cell).startswith("data.source_rows: found ")


@pytest.mark.parametrize(
    ("section", "suggestion"),
    [
        ("model", "resnet18, cnn5, mlp, convnet, vit"),
        ("data", "cifar10, digits, table"),
        ("optim", "sgd, adam, adamw, shampoo, soap"),
    ],
)
def test_bad_name_of_a_kind_lists_the_kinds(
    flat: Mapping[str, Any], section: str, suggestion: str
) -> None:
    assert (
        refusal({**flat, f"{section}.name": "vgg"})
        == f"{section}.name: found 'vgg', expected one of {suggestion}, or an import path, such as "
        "package.module.Class"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.width", 0), ("model.depth", 0), ("data.label_noise.rate", 1.01),
     ("data.label_noise.rate", -0.01), ("optim.lr", -1.0), ("optim.momentum", 1.5),
     ("run.checkpoint_seconds", -1.0),
     ("data.label_noise.rate", float("nan")), ("data.train_samples", 0), ("data.test_samples", -1),
     ("trainer.epochs", 0), ("trainer.batch_size", 0), ("optim.schedule.period", 0),
     ("run.threads", 0), ("run.threads", 100_000), ("trainer.evals_per_decade", 10**9),
     ("trainer.step_rows_per_decade", 10**9), ("trainer.epochs", 2**31)],
)  # fmt: skip
def test_out_of_range_is_refused_with_the_bound(
    flat: Mapping[str, Any], key: str, value: Any
) -> None:
    assert refusal({**flat, key: value}).startswith(f"{key}: found {value!r}, expected ")


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        ("adam", "beta1", 1.0, "at least 0 and less than 1"),
        ("soap", "beta2", 1.0, "at least 0 and less than 1"),
        ("adam", "eps", -1.0, "at least 0"),
        ("rmsprop", "eps", -1.0, "at least 0"),
        ("adagrad", "eps", float("nan"), "at least 0"),
        ("nesterov", "momentum", 0.0, "more"),
        ("sgd", "schedule.factor", float("nan"), "at least 0"),
        ("adam_milestones", "schedule.at", [float("nan")], "increasing numbers of at least 0"),
        ("adam_milestones", "schedule.at", [1.0, float("inf")], "increasing numbers"),
    ],
)
def test_what_an_optimiser_would_refuse_in_every_job_is_refused_before(
    flat: Mapping[str, Any], file: str, key: str, value: Any, expected: str
) -> None:
    rest = {name: item for name, item in flat.items() if not name.startswith("optim.")}
    minima = section("trainer", "minima")
    rest = {name: item for name, item in rest.items() if not name.startswith("trainer.")} | minima
    optimiser = section("optim", file)
    assert parse({**rest, **optimiser})
    assert f"expected {expected}" in refusal({**rest, **optimiser, f"optim.{key}": value})


def test_a_value_for_a_section_and_a_section_for_a_value_are_refused(
    flat: Mapping[str, Any],
) -> None:
    without = {k: v for k, v in flat.items() if not k.startswith("model.")}
    assert refusal({**without, "model": 3}).startswith("model: found 3, expected a section")
    assert "seed.x" in refusal({k: v for k, v in flat.items() if k != "seed"} | {"seed.x": 3})


NEW = itertools.count(10_000)
"""Values that no configuration before held, so that sections are not read already."""

ACCEPTED: dict[str, Callable[[Any], bool]] = {
    "trainer.epochs": lambda value: type(value) is int,
    "trainer.deterministic": lambda value: type(value) is bool,
    "run.checkpoint_seconds": lambda value: type(value) in (int, float),
}


@pytest.mark.parametrize("key", ACCEPTED)
@pytest.mark.parametrize("order", [*itertools.permutations([1, 1.0, True])], ids=str)
def test_equal_values_of_different_type_are_never_confused(
    flat: Mapping[str, Any], key: str, order: Any
) -> None:
    cell = {**flat, "trainer.eval_batch_size": next(NEW), "run.device": f"cuda:{next(NEW)}"}
    for value in order * 2:
        if ACCEPTED[key](value):
            result = flatten(parse({**cell, key: value}))[key]
            assert result == 1
            assert type(result) is columns()[key]
        else:
            refusal({**cell, key: value})


@pytest.mark.parametrize("order", [*itertools.permutations([[2, 1], [2, 1.0], [2, True]])], ids=str)
def test_equal_lists_of_different_types_are_never_confused(
    flat: Mapping[str, Any], order: Any
) -> None:
    cell = every_kind(flat)[0] | {"data.train_samples": next(NEW)}
    for value in order * 2:
        if all(type(item) is int for item in value):
            assert parse({**cell, "data.source_rows": value}).data.source_rows == (2, 1)
        else:
            refusal({**cell, "data.source_rows": value})


def test_the_fields_of_a_kind_are_looked_up_once_for_all_cells(
    flat: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type hints are slow to resolve, and a grid can have 300,000 cells."""
    parse(flat)
    monkeypatch.setattr(typing, "get_type_hints", pytest.fail)
    for _ in range(2):
        parse({**flat, "optim.lr": 1.0 / next(NEW), "seed": next(NEW)})


def test_a_cell_can_be_a_key_of_a_dictionary(flat: Mapping[str, Any]) -> None:
    assert isinstance(parse(flat), Cell)
    assert len({parse(flat), parse(dict(flat)), parse({**flat, "seed": 1})}) == 2


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ([], "expected a list of at least one item, each a list of 2 float or null"),
        ([0.3, 0.3], "expected a list of at least one item, each a list of 2 float or null"),
        ([[0.3]], "expected a list of at least one item, each a list of 2 float or null"),
        ([[0.3, "x"]], "expected a list of at least one item, each a list of 2 float or null"),
        ([[0.5, 0.1], [0.3, 0.3]], "found a look at 0.3 of the budget after 0.5"),
        ([[1.0, 0.1]], "expected increasing shares between 0 and 1"),
        ([[0.5, 1.5]], "trainer.abandon: found 1.5, expected 0.0 to 1.0"),
    ],
)
def test_looks_that_cannot_abandon_a_training_are_refused(
    flat: Mapping[str, Any], looks: Any, message: str
) -> None:
    assert message in refusal({**flat, "trainer.abandon": looks})


def test_looks_are_read_as_numbers_and_written_back_as_lists(flat: Mapping[str, Any]) -> None:
    cell = parse({**flat, "trainer.abandon": [[0.25, 1], [0.5, 0.1]]})
    assert cell.trainer.abandon == ((0.25, 1.0), (0.5, 0.1))
    looks = flatten(cell)["trainer.abandon"]
    assert looks == [[0.25, 1.0], [0.5, 0.1]]
    assert type(looks[0][1]) is float


@pytest.mark.parametrize(
    "noise", [{"kind": "uniform", "rate": 1.0}, {"kind": "random", "rate": 0.5}]
)
def test_classes_of_random_labels_need_only_random_labels(
    flat: Mapping[str, Any], noise: Mapping[str, Any]
) -> None:
    changes = {f"data.label_noise.{key}": value for key, value in noise.items()}
    message = refusal({**flat, **changes, "data.label_noise.classes": 5})
    assert "expected kind random and rate 1.0" in message


@pytest.mark.parametrize(
    ("epochs", "least_steps", "batch_size", "expected"),
    [(3, 1, 16, 9), (3, 9, 16, 9), (3, 10, 16, 10), (3, 1, None, 3), (3, 100, None, 100)],
)
def test_the_budget_is_whole_epochs_or_the_least_steps(
    flat: Mapping[str, Any], epochs: int, least_steps: int, batch_size: int | None, expected: int
) -> None:
    changes = {
        "trainer.epochs": epochs,
        "trainer.least_steps": least_steps,
        "trainer.batch_size": batch_size,
    }
    assert parse({**flat, **changes}).trainer.budget(40) == expected


def test_a_vision_transformer_needs_a_width_for_its_heads(flat: Mapping[str, Any]) -> None:
    vit = next(cell for cell in every_kind(flat) if cell["model.name"] == "vit")
    assert refusal({**vit, "model.heads": 4}) == (
        "model.width: found 6, expected a multiple of model.heads, 4"
    )


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_that_no_column_can_hold_is_refused(flat: Mapping[str, Any], value: int) -> None:
    with pytest.raises(ConfigError, match=r"seed: found -?\d+, expected an integer from -2\^63"):
        parse({**flat, "seed": value})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"trainer.batch_size": 13}, "trainer.batch_size"),
        ({"trainer.batch_size": 1}, "trainer.batch_size"),
        ({"trainer.batch_size": None, "trainer.eval_batch_size": 13}, "trainer.eval_batch_size"),
        ({"trainer.batch_size": None, "trainer.eval_batch_size": 1}, "trainer.eval_batch_size"),
        ({"trainer.batch_size": None, "trainer.eval_batch_size": 40}, None),
        ({"trainer.batch_size": 16, "trainer.eval_batch_size": 13}, None),
        ({"trainer.batch_size": 13, "model.name": "mlp"}, None),
        (
            {
                "trainer.batch_size": None,
                "trainer.eval_batch_size": 13,
                "trainer.poison.samples": 9,
            },
            None,
        ),
    ],
)
def test_batch_norm_needs_more_than_one_value_in_a_batch_and_in_a_block(
    changes: dict[str, Any], key: str | None
) -> None:
    cell = {"model.name": "resnet18", "data.name": "digits", "data.train_samples": 40, **changes}
    if key is None:
        check_last_batch(cell)
        return
    with pytest.raises(ConfigError, match=rf"^{key}: .* 40 training images, which leaves 1 for"):
        check_last_batch(cell)


def test_nan_is_below_every_bound(flat: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"run\.checkpoint_seconds: found nan, expected"):
        parse({**flat, "run.checkpoint_seconds": float("nan")})


@pytest.mark.parametrize(
    ("trainer", "key", "value", "message"),
    [
        ("minima", "weights_at", [3, 1], "expected increasing numbers of at least 0"),
        ("minima", "weights_at", "first", "expected one of final, log or a list"),
        ("minima", "start_of", "c1-0", "expected both or neither"),
        ("minima", "poison.share", 1.0, "expected at least 0 and less than 1"),
        ("radius", "of", None, "trainer.of: found None"),
        ("radius", "kappa", 0.0, "expected more than 0"),
        ("radius", "c_max", float("inf"), "expected a finite number"),
        ("line", "low", float("-inf"), "trainer.low: found -inf, expected a finite number"),
        ("radius", "weights", -1, "trainer.weights: found -1, expected at least 0"),
        ("surface", "block", 17, "expected less than 17: a grid of 51 rows has 17 blocks of 3"),
        ("surface", "points", 1_000_001, "trainer.points: found 1000001, expected 1 to 10001"),
        ("surface", "points", 50, "expected an odd number: the centre is a point"),
        ("line", "low", 0.5, "expected a range with 0 and 1 in it"),
        ("curvature", "block", 1, "expected 0 with part=ends"),
    ],
)
def test_settings_of_minima_and_measures_that_mean_nothing_are_refused(
    flat: Mapping[str, Any], trainer: str, key: str, value: Any, message: str
) -> None:
    where = {key: value for key, value in flat.items() if key == "seed" or key.startswith("run.")}
    cells = {cell["trainer.name"]: cell for cell in minima_and_measures(where)}
    assert message in refusal({**cells[trainer], f"trainer.{key}": value})


def test_the_last_block_of_a_surface_has_the_rows_that_are_left(flat: Mapping[str, Any]) -> None:
    (surface,) = [c for c in every_kind(flat) if c["trainer.name"] == "surface"]
    whole = {**surface, "trainer.points": 7}
    cells = [parse({**whole, "trainer.block": block}) for block in range(3)]
    assert [cell.trainer.units for cell in cells] == [3, 3, 1]
