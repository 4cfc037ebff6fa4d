"""The table of published numbers: what agrees, where ours are taken from, what is missing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with a table and a record of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    module = importlib.import_module("fidelity")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    curves = [
        {"label": "a", "sizes": {"n": 5}, "peaks": [{"error": 0.25}]},
        {"label": "a", "sizes": {"n": 6}, "peaks": [{"error": None}]},
    ]
    (tmp_path / "record.json").write_text(json.dumps({"curves": curves}))
    (tmp_path / "table.csv").write_text(
        "width,rate,error,low,high,found\n4,0.2,0.5,0.4,0.6,True\n4,0.4,0.7,0.65,0.9,False\n"
    )
    return module


@pytest.mark.parametrize(("published", "ours", "expected"), [
    ("0.2327", (0.23274, 0.23274), "yes"),
    ("0.2327", (0.23276, 0.23276), "no"),
    ("0.2327", (0.2, 0.25), "yes"),
    ("1.4 to 1.5", (1.2, 1.36), "yes"),  # 1.35 rounds to 1.4
    ("1.4 to 1.5", (1.2, 1.34), "no"),
    ("9,409", (9409, 9409), "yes"),
    ("9,409", (9410, 9410), "no"),
    ("-0.795", (-0.83, -0.1), "yes"),
    ("above 1", (0.9, 1.2), "open"),
    ("above 1", (1.1, 1.2), "yes"),
    ("above 1", (0.3, 0.9), "no"),
    ("below -0.8", (-0.9, -0.7), "open"),
    ("at most 3", (2, 3), "yes"),
    ("yes", (1, 1), "yes"),
    ("yes", (0, 0), "no"),
])  # fmt: skip
def test_an_interval_agrees_with_a_published_value(
    fidelity: ModuleType, published: str, ours: tuple[float, float], expected: str
) -> None:
    value = fidelity.Ours(ours[0], *ours)
    assert fidelity.agreement(fidelity.parse(published), value) == expected


@pytest.mark.parametrize("published", ["", "about 3", "1.4 to", "2,3 x"])
def test_an_unreadable_published_value_is_refused(fidelity: ModuleType, published: str) -> None:
    with pytest.raises(fidelity.FidelityError, match="expected a number"):
        fidelity.parse(published)


def test_a_rule_takes_a_value_and_its_interval(fidelity: ModuleType) -> None:
    rows = [{"width": 4.0, "rate": 0.4}]
    rule = fidelity.Rule("table.csv", "error", rows, low="low", high="high")
    assert fidelity.find(rule) == fidelity.Ours(0.7, 0.65, 0.9)
    assert fidelity.find(fidelity.Rule("table.csv", "error", [{"rate": 0.2001}])).value == 0.5
    at = ["curves", {"label": "a", "sizes": {"n": 5}}, "peaks", 0]
    assert fidelity.find(fidelity.Rule("record.json", "error", at)) == fidelity.Ours(
        0.25, 0.25, 0.25
    )


def test_several_rows_need_a_choice(fidelity: ModuleType) -> None:
    rows = [{"width": 4.0}]
    with pytest.raises(fidelity.FidelityError, match="chooses 2 rows, expected one"):
        fidelity.find(fidelity.Rule("table.csv", "error", rows))
    mean = fidelity.find(fidelity.Rule("table.csv", "error", rows, take="mean"))
    assert mean == fidelity.Ours(pytest.approx(0.6), 0.5, 0.7)
    most = fidelity.find(fidelity.Rule("table.csv", "error", take="greatest", high="high"))
    assert most == fidelity.Ours(0.7, 0.7, 0.9)


@pytest.mark.parametrize(("file", "at", "value"), [
    ("absent.csv", [], "error"),
    ("record.json", ["curves", {"sizes": {"n": 6}}, "peaks", 0], "error"),
])  # fmt: skip
def test_what_has_not_been_run_is_said(
    fidelity: ModuleType, file: str, at: list[object], value: str
) -> None:
    row = fidelity.Row("w", "0.5", "s", fidelity.Rule(file, value, at))
    assert fidelity.compare(row) == ("", "not run")


@pytest.mark.parametrize(("file", "at", "value"), [
    ("table.csv", [{"width": 4.0, "rate": 0.2}], "mean_error"),
    ("record.json", ["curve"], "error"),
    ("record.json", ["curves", 7], "error"),
    ("table.csv", [{"widht": 4.0}], "error"),
])  # fmt: skip
def test_a_rule_that_fits_no_entry_is_an_error(
    fidelity: ModuleType, file: str, at: list[object], value: str
) -> None:
    with pytest.raises(fidelity.FidelityError, match=file):
        fidelity.find(fidelity.Rule(file, value, at))


def test_values_are_shown_as_precisely_as_published(fidelity: ModuleType) -> None:
    ours = fidelity.Ours(0.31499, 0.3, 0.32)
    assert fidelity.shown(ours, "0.315", 3) == "0.3150 [0.3000, 0.3200]"
    assert fidelity.shown(ours, "0", 0) == "0 [0, 0]"
    alone = fidelity.Ours(0.31499, 0.31499, 0.31499)
    assert fidelity.shown(alone, "0.315", 3) == "0.315"
    assert fidelity.shown(ours, "above 0", None) == "0.315 [0.3, 0.32]"
    exact = fidelity.Ours(11173962, 11173962, 11173962)
    assert fidelity.shown(exact, "11,173,962", 0) == "11,173,962"
    assert fidelity.shown(fidelity.Ours(0, 0, 0), "no", None) == "no"


def test_every_row_is_complete(fidelity: ModuleType) -> None:
    for section in fidelity.read(fidelity.PUBLISHED):
        assert section.setting
        assert not section.setting.endswith(".")
        for row in section.rows:
            fidelity.parse(row.published)
            assert row.ours is None or section.commands, f"{section.title}: no command gives ours"
