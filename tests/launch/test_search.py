"""The key `search` of a sweep: what it becomes, and how mistakes are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.errors import UserError
from launch.plan import Search
from launch.sweep import condition
from launch.sweep.adaptive import newest_searches
from launch.sweep.compose import expand_sweep

ROOT = Path(__file__).resolve().parents[2]
LOCAL = "hydra/launcher=local"
SEARCH = {"axis": "data.train_samples", "success": "fitted == true", "range": [16, 512]}
WriteSweep = Callable[[str, str], None]
Expand = Callable[..., list[Search]]


@pytest.fixture
def expand(write_sweep: WriteSweep) -> Expand:
    """Writes a sweep over two widths with this search, and expands it."""

    def searches(search: Any = SEARCH, *overrides: str, **keys: Any) -> list[Search]:
        sweep = {
            "defaults": [{"override /data": "digits"}, {"override /model": "mlp"}],
            "axes": {"model.width": [2, 4]},
            "seeds": [3, 5, 7],
            "search": search,
        }
        write_sweep("hunt", yaml.safe_dump({**sweep, **keys}))
        request = expand_sweep("hunt", [LOCAL, *overrides])
        assert list(request.cells) == []
        return list(request.searches)

    return searches


def test_a_sweep_with_search_is_a_search_at_each_point(expand: Expand) -> None:
    searches = expand({**SEARCH, "until": 1.2}, "+search.most=12")
    assert [search.point["model.width"] for search in searches] == [2, 4]
    assert {search.axis for search in searches} == {"data.train_samples"}
    assert searches[0].seeds == [3, 5, 7]
    assert searches[0].budget == ["trainer.epochs", "trainer.least_steps"]
    settings = searches[0].settings
    assert (settings["most"], settings["until"], settings["seeds"]) == (12, 1.2, 3)
    assert (settings["low"], settings["high"], settings["lattice"]) == (16, 512, 8)
    assert settings["integer"] is True


def test_a_float_axis_on_a_linear_lattice_has_float_values(expand: Expand) -> None:
    search = {"axis": "optim.lr", "range": [0.1, 1], "lattice": {"step": 0.1}, "falling": False}
    settings = expand({**SEARCH, **search})[0].settings
    assert (settings["lattice"], settings["step"], settings["integer"]) == (None, 0.1, False)
    assert settings["falling"] is False


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ([1], r"search: found \[1\], expected a mapping with axis, success, range"),
        ({**SEARCH, "untill": 2}, "search.untill: unknown key; known: axis, success"),
        ({"axis": "data.train_samples"}, "search.success: missing"),
        ({**SEARCH, "axis": "model.name"}, "search.axis: found 'model.name', expected an integer"),
        ({**SEARCH, "axis": "seed"}, "search.axis: found 'seed'"),
        ({**SEARCH, "axis": "run.threads"}, "search.axis: found 'run.threads'"),
        ({**SEARCH, "axis": ["optim.lr"]}, "search.axis: found"),
        ({**SEARCH, "axis": "model.width"}, "model.width is also an axis of the sweep"),
        ({**SEARCH, "axis": "data.modulus"}, "'data.modulus' is no key of every point"),
        ({**SEARCH, "range": [512, 16]}, "search.range: found .*expected .low, high."),
        ({**SEARCH, "range": [16]}, "search.range"),
        ({**SEARCH, "range": [float("nan"), 512]}, "search.range: found .nan, 512., expected"),
        ({**SEARCH, "range": [16, float("inf")]}, "search.range: found .16, inf."),
        ({**SEARCH, "range": [16, 10**400]}, "search.range: found .16, 1000"),
        ({**SEARCH, "range": ["16", "512"]}, "search.range: found .'16', '512'."),
        ({**SEARCH, "range": [16, 2**60]}, "search: range 16 to .*: expected two numbers between"),
        ({**SEARCH, "lattice": 10**9}, "search.lattice: found 1000000000"),
        ({**SEARCH, "lattice": {"step": float("inf")}}, "search.lattice: found .'step': inf."),
        ({**SEARCH, "lattice": {"step": 1e-9}}, "more than 10000 values of the lattice"),
        ({**SEARCH, "until": float("nan")}, "search.until: found nan"),
        ({**SEARCH, "most": 0}, "search.most: found 0, expected an integer of at least 1"),
        ({**SEARCH, "most": 10**9}, "search.most: found 1000000000, expected .* at most 100000"),
        ({**SEARCH, "doublings": 99}, "search.doublings: found 99, expected .* at most 20"),
        ({**SEARCH, "budget": [["trainer.epochs"]]}, "search.budget: found"),
        ({**SEARCH, "success": "x" * 9999}, "search.success: .* stands alone"),
        ({**SEARCH, "success": "status == done"}, "done names no column; write 'done' in quotes"),
        ({**SEARCH, "success": "wrong == '0'"}, "wrong is a number, .* write 0 without quotes"),
        ({**SEARCH, "success": "fitted == 'true'"}, "fitted is true or false, and 'true' is a te"),
        ({**SEARCH, "success": "final_loss < '1'"}, "final_loss is a number, and '1' is a text"),
        ({**SEARCH, "axis": "optim.lr", "range": [-1, 1], "lattice": {"step": 0.5}}, "optim.lr"),
        ({**SEARCH, "range": [400, 401]}, "search: range 400 to 401"),
        ({**SEARCH, "lattice": {"stop": 1}}, "search.lattice: found"),
        ({**SEARCH, "lattice": 0}, "search.lattice: found 0"),
        ({**SEARCH, "method": "guess"}, "search.method: found 'guess', expected one of posterior"),
        ({**SEARCH, "falling": "yes"}, "search.falling: found 'yes', expected true or false"),
        ({**SEARCH, "first": 0}, "search.first: found 0, expected an integer of at least 1"),
        ({**SEARCH, "most": 7.5}, "search.most: found 7.5"),
        ({**SEARCH, "until": "small"}, "search.until: found 'small'"),
        ({**SEARCH, "until": 1}, "search: until 1"),
        ({**SEARCH, "advance": "never"}, "search.advance: found 'never', expected one of auto"),
        ({**SEARCH, "budget": "trainer.epochs"}, "search.budget: found 'trainer.epochs'"),
        ({**SEARCH, "budget": ["data.train_samples"]}, "search.budget: found"),
        ({**SEARCH, "success": 1}, "search.success: found 1, expected a condition"),
        ({**SEARCH, "success": "1 == 1"}, "search.success: found '1 == 1'"),
        ({**SEARCH, "success": " "}, "search.success: found ' '"),
        ({**SEARCH, "success": "final_wrong"}, "search.success: .* such as 'final_wrong == 0'"),
        ({**SEARCH, "success": "fitted and not wrong + 1"}, "'wrong . 1' is neither true nor"),
        ({**SEARCH, "success": "fitted =="}, "condition 'fitted =='"),
        (
            {**SEARCH, "success": "final_train_eval_worng == 0"},
            "'final_train_eval_worng' is no column .* did you mean final_train_eval_wrong or",
        ),
        ({**SEARCH, "success": "zzz == 0"}, "'zzz' is no column of .*; expected a column of it"),
        ({**SEARCH, "success": "len(error) > 3"}, "'len.error.' is not understood"),
    ],
)
def test_a_mistake_in_search_is_named(expand: Expand, search: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        expand(search)


def test_a_search_needs_a_list_of_integer_seeds(expand: Expand) -> None:
    with pytest.raises(UserError, match=r"seeds: found null, but a search needs a list"):
        expand(seeds=None)
    with pytest.raises(UserError, match=r"seeds: found 0.5, expected integers"):
        expand(seeds=[0.5])


def test_a_seed_that_no_cell_can_have_is_refused_before_the_first_round(expand: Expand) -> None:
    with pytest.raises(UserError, match=f"seed.*{2**63}"):
        expand(seeds=[0, 1, 2**63])


def test_what_the_search_decides_cannot_be_set_or_filtered(expand: Expand) -> None:
    with pytest.raises(UserError, match=r"data.train_samples: the sweep has an axis of that name"):
        expand(SEARCH, "data.train_samples=100")
    with pytest.raises(UserError, match=r"where: .*the search decides data.train_samples and seed"):
        expand(where=["data.train_samples > 100"])
    assert len(expand(where=["model.width > 2"])) == 1


def test_an_override_of_an_absent_key_says_how_to_add_it(expand: Expand) -> None:
    with pytest.raises(UserError, match=r"search.most: the sweep's file does not set it; add it"):
        expand(SEARCH, "search.most=12")
    with pytest.raises(UserError, match=r"search.mots: unknown key; did you mean search.most"):
        expand(SEARCH, "search.mots=12")


def test_a_doubling_needs_a_budget(expand: Expand) -> None:
    groups = {"model": "none", "data": "none", "optim": "none", "trainer": "noop"}
    noop = {"defaults": [{f"override /{group}": name} for group, name in groups.items()]}
    search = {"axis": "trainer.epochs", "success": "trainer.epochs < 9", "range": [2, 32]}
    assert expand(search, **noop, axes={})[0].budget == []
    with pytest.raises(UserError, match=r"search.doublings: found 1, but no key sets the budget"):
        expand({**search, "doublings": 1}, **noop, axes={})


def test_a_truth_needs_no_comparison(expand: Expand) -> None:
    success = "fitted and not trainer.deterministic and not (abandoned or wrong > 3)"
    assert expand({**SEARCH, "success": success})[0].success == success


def test_the_columns_of_a_search_are_known_without_torch() -> None:
    program = (
        "import sys, trainers\n"
        "for name in ('vision', 'minima', 'algorithmic', 'noop'):\n"
        "    assert 'final_progress' in trainers.run_columns(name) or name != 'noop'\n"
        "assert 'best_epoch_test_accuracy' in trainers.run_columns('algorithmic')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_names_in_a_condition_are_its_keys() -> None:
    assert condition.names("a.b <= 2 and (status == 'done' or not c)") == ["a.b", "status", "c"]
    assert condition.names("fitted == true") == ["fitted"]
    assert condition.names("model.width=64") == ["model.width"]


def test_the_newest_settings_of_a_search_count(expand: Expand) -> None:
    old, new = expand(), expand({**SEARCH, "until": 1.05})
    other = expand({**SEARCH, "success": "final_test_error < 0.1"})
    searches = newest_searches([old, new[:1], other[:1]])
    assert [search.settings["until"] for search in searches] == [1.05, 1.15, 1.15]
