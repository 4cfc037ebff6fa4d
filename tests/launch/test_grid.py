"""Grids: the values of an axis, the points of several, and the conditions that a point must
meet.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import UserError
from launch.sweep.condition import condition
from launch.sweep.grid import Grid, axis_values

FLAT = {
    "model.width": 4,
    "model.name": "mlp",
    "optim.lr": 0.1,
    "data.train_samples": None,
    "data.augment": True,
}


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Up to four axes of distinct values, some of equal length zipped in groups."""
    names = draw(st.permutations("abcd"))[: draw(st.integers(0, 4))]
    lengths = {name: draw(st.integers(1, 4)) for name in names}
    values = st.integers(-99, 99) | st.text("xyz", max_size=3)
    axes = {
        n: draw(st.lists(values, min_size=k, max_size=k, unique_by=repr))
        for n, k in lengths.items()
    }
    groups = {k: [n for n in names if lengths[n] == k] for k in set(lengths.values())}
    return Grid(axes, [group for group in groups.values() if draw(st.booleans())])


def expected_count(grid: Grid) -> int:
    """How many points the axes and zipped groups make."""
    zipped = {name for group in grid.zipped for name in group}
    single_lengths = [len(values) for name, values in grid.axes.items() if name not in zipped]
    return math.prod([*single_lengths, *(len(grid.axes[group[0]]) for group in grid.zipped)])


def as_set(points: list[dict[str, Any]]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset((key, repr(value)) for key, value in point.items()) for point in points}


@given(grids())
def test_points_are_as_many_as_the_product_and_all_distinct(grid: Grid) -> None:
    points = list(grid.points())
    assert len(points) == expected_count(grid)
    assert len(as_set(points)) == len(points)
    assert all(set(point) == set(grid.axes) for point in points)


@given(grids(), st.randoms())
def test_points_do_not_depend_on_the_order_of_the_axes(grid: Grid, random: Any) -> None:
    names = list(grid.axes)
    random.shuffle(names)
    groups = [random.sample(list(group), len(group)) for group in grid.zipped]
    shuffled = Grid({name: grid.axes[name] for name in names}, groups)
    assert as_set(list(shuffled.points())) == as_set(list(grid.points()))


@given(grids())
def test_zipped_axes_advance_together(grid: Grid) -> None:
    for group in grid.zipped:
        combinations = {tuple(repr(point[name]) for name in group) for point in grid.points()}
        assert combinations == set(
            zip(*([repr(v) for v in grid.axes[name]] for name in group), strict=True)
        )


def test_the_last_axis_varies_fastest() -> None:
    points = [
        tuple(point.values())
        for point in Grid({"a": [1, 2], "b": "xy", "c": [True, False]}).points()
    ]
    assert points == list(itertools.product([1, 2], "xy", [True, False]))


def test_a_zipped_group_takes_the_position_of_its_first_axis() -> None:
    grid = Grid({"a": [1, 2], "b": [3, 4], "c": [5, 6]}, [["c", "a"]])
    assert [(p["a"], p["b"], p["c"]) for p in grid.points()] == [
        (1, 3, 5),
        (1, 4, 5),
        (2, 3, 6),
        (2, 4, 6),
    ]


def test_no_axes_make_one_point() -> None:
    assert list(Grid({}).points()) == [{}]


@pytest.mark.parametrize(
    ("zipped", "message"),
    [
        ([["a", "q"]], "'q' is not an axis; the axes are a, b, c"),
        ([["a", "a"]], "'a' is listed twice"),
        ([["a", "b"], ["b", "c"]], "'b' is listed twice"),
        ([["a", "c"]], r"equally many values, found .*'a': 2.*'c': 3"),
    ],
)
def test_bad_zip_is_named(zipped: list[list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(Grid({"a": [1, 2], "b": [3, 4], "c": [5, 6, 7]}, zipped).points())


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ([3, 1, 2], [3, 1, 2]),
        (["adam", "sgd"], ["adam", "sgd"]),
        ([None, 10], [None, 10]),
        ({"log": [0.1, 0.001, 3]}, [0.1, 0.01, 0.001]),
        ({"log": [0.1, 1e-8, 8]}, [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]),
        ({"log": [1, 1000, 4]}, [1.0, 10.0, 100.0, 1000.0]),
        ({"linear": [0, 1, 11]}, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ({"linear": [1, -1, 3]}, [1.0, 0.0, -1.0]),
        ({"range": [1, 6, 2]}, [1, 3, 5]),
        ({"range": [3, 0, -1]}, [3, 2, 1]),
    ],
    ids=str,
)
def test_axis_values_are_exactly_what_a_user_would_type(spec: Any, values: list[Any]) -> None:
    result = axis_values("x", spec)
    assert result == values
    assert [type(value) for value in result] == [type(value) for value in values]


@given(st.floats(1e-9, 1e9), st.floats(1.1, 1e6), st.integers(2, 200))
def test_logarithmic_values_have_12_digits_both_ends_and_one_ratio(
    low: float, ratio: float, num: int
) -> None:
    values = axis_values("x", {"log": [low, low * ratio, num]})
    assert values == [float(f"{value:.12g}") for value in values]
    assert values == pytest.approx([low * ratio ** (i / (num - 1)) for i in range(num)], rel=1e-11)
    assert axis_values("x", {"log": [low * ratio, low, num]}) == pytest.approx(
        values[::-1], rel=1e-11
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], r"found \[\], expected a non-empty list"),
        ({}, r"found \{\}"),
        (None, "found None"),
        (5, "found 5"),
        ("abc", "found 'abc'"),
        ({"logs": [1, 2, 3]}, r"\{log: \[start, stop, num\]\}"),
        ({"log": [1, 2]}, r"found \{'log': \[1, 2\]\}"),
        ({"log": [1, 2, 3], "linear": [1, 2, 3]}, "expected a non-empty list"),
        ([1, 2, 1], "a value twice"),
        ({"log": [0, 1, 3]}, "positive ends, found 0 and 1; list a 0 by itself"),
        ({"log": [1, -1, 3]}, "positive ends"),
        ({"log": [1, 10, 1]}, "found 1 values, expected an integer of at least 2"),
        ({"linear": [1, 10, 2.5]}, r"found 2\.5 values"),
        ({"range": [0, 5, 0]}, "at least one value"),
        ({"range": [5, 0, 1]}, "at least one value"),
        ({"range": [0, 1.5, 1]}, "three integers"),
        ({"log": ["a", 1, 3]}, "a"),
        ({"log": [1, None, 3]}, "None"),
        ({"linear": ["a", "b", 3]}, "a"),
    ],
    ids=str,
)
def test_bad_axis_names_the_axis_and_what_was_found(spec: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"axes\.optim\.lr: .*{message}"):
        axis_values("optim.lr", spec)


@pytest.mark.parametrize("spec", [{"linear": [1, 1, 3]}, {"log": [2, 2.0000000000001, 3]}], ids=str)
def test_computed_values_that_coincide_are_refused_like_listed_ones(spec: Any) -> None:
    with pytest.raises(UserError, match=r"x: .*twice"):
        axis_values("x", spec)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.width == 4", True),
        ("model.width=4", True),
        ("model.width = 5", False),
        ("model.name = 'mlp'", True),
        ("model.name=mlp", True),
        ("model.name=cnn5, vit", False),
        ("model.width=2,4", True),
        ("model.width=5,6", False),
        ("model.width=[4, 5]", False),
        ("model.width=2*2", True),
        ("data.train_samples=null", True),
        ("model.width != 4", False),
        ("3 < model.width <= 4", True),
        ("4 < model.width <= 5", False),
        ("3 < model.width < 4", False),
        ("model.width in [1, 4]", True),
        ("model.width not in (1, 4)", False),
        ("model.width > 9 or optim.lr < 0.2", True),
        ("model.width > 9 and optim.lr < 0.2", False),
        ("not model.width > 9", True),
        ("model.width * 2 - 1 == 7 and model.width / 8 + 1 == 1.5", True),
        ("model.width % 3 == 1 and model.width ** 2 == 16", True),
        ("-model.width < 0", True),
        ("data.train_samples == null and data.train_samples == None", True),
        ("data.augment == true", True),
        ("data.augment == false or not data.augment", False),
    ],
)
def test_condition_means_what_it_says(text: str, expected: bool) -> None:
    assert condition(text)(FLAT) is expected


OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@given(st.sampled_from(sorted(OPERATORS)), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_comparisons_agree_with_python(sign: str, left: float, right: float) -> None:
    assert condition(f"optim.lr {sign} {right!r}")({"optim.lr": left}) == OPERATORS[sign](
        left, right
    )


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "model.width.bit_length()",
        "lambda: 1",
        "(lambda: 1)()",
        "[x for x in [1]]",
        "f'{1}'",
        "{1}",
        "{'a': 1}",
        "(1, 2)[0]",
        "1 if true else 2",
        "(x := 3) > 2",
        "model.width is 4",
        "model.width & 4",
        "'a' 'b'.upper",
        "model.width.__class__ != 3",
        "import os",
        "model.width <",
        "model.width 4",
        "model.width=4=5",
        "",
    ],
)
def test_other_syntax_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(UserError, match="condition"):
        condition(text)(FLAT)


@pytest.mark.parametrize(
    "text", ["model.name > 3", "1 / (model.width - 4) < 2", "model.width in 4", "-model.name < 2"]
)
def test_a_condition_that_cannot_be_computed_is_an_error_of_the_user(text: str) -> None:
    with pytest.raises(UserError, match="condition"):
        condition(text)(FLAT)


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9 ** 9 > 1",
        "9 ** 64 ** 2 > 1",
        "9 ** 60 * 9 ** 60 * 9 > 1",
        "'a' * 100000000000 == 'b'",
        "[1] * 100000000000 == 2",
        "'%q' % 1 == 'b'",
        "+".join(["1"] * 20_000) + " > 1",
        "(" * 3000 + "1" + ")" * 3000,
        "not " * 2000 + "true",
        "\0 == 1",
        "1" * 5000 + " > 1",
    ],
    ids=lambda text: text[:20],
)
def test_a_condition_that_would_take_for_ever_is_refused_at_once(text: str) -> None:
    with pytest.raises(UserError, match="condition") as error:
        condition(text)(FLAT)
    assert len(str(error.value)) < 400


def test_a_text_without_quotes_is_named() -> None:
    with pytest.raises(UserError, match=r"'mlp' \(a text is written in quotes: 'mlp'\)"):
        condition("model.name == mlp")(FLAT)


def test_a_grid_is_counted_before_it_is_expanded() -> None:
    axes = {"a": range(3000), "b": range(3334), "c": range(7), "d": range(7)}
    assert Grid(axes, [["c", "d"]]).size() == 3000 * 3334 * 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"range": [1, 10**9, 1]}, "found 999999999 values, expected at most 1000000"),
        ({"range": [0, 10**20, 1]}, "expected at most 1000000"),
        ({"linear": [0, 1, 10**9]}, "found 1000000000 values"),
        ({"log": [1, float("inf"), 3]}, "with finite numbers"),
        ({"log": [1, 10**400, 3]}, "with finite numbers"),
        ({"linear": [float("nan"), 1, 3]}, "with finite numbers"),
        ([1, 1.0], "found a value twice"),
    ],
    ids=str,
)
def test_an_axis_that_cannot_be_meant_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        axis_values("x", spec)


def test_unknown_key_lists_its_neighbours() -> None:
    with pytest.raises(
        UserError, match=r"no configuration key 'model\.widht'; known: model\.width, model\.name$"
    ):
        condition("model.widht > 1")(FLAT)
