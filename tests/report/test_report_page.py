"""The page of a sweep in a real browser: its charts, its selectors, and what it may not do."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analysis import store
from analysis.stats.seed_curves import seed_curves
from launch.report import page as pages
from launch.report.data import load_page

if TYPE_CHECKING:
    from conftest import Browser

pytestmark = pytest.mark.timeout(280)
Report = Callable[[str], Path]

ALL = (
    "finished", "unfinished", "empty", "one_cell", "all_failed", "algorithmic", "measure", "search",
    "last_rows",
)  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_every_kind_of_sweep_has_a_page(browser: Browser, report: Report, name: str) -> None:
    browser.open(report(name))
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.script("return document.querySelector('h1').textContent") == name


def test_no_page_is_wider_than_a_telephone(browser: Browser, report: Report) -> None:
    for name in ("unfinished", "search"):
        browser.open(report(name), width=390)
        assert browser.script("return document.documentElement.scrollWidth") <= 390


def test_the_curves_are_those_of_the_store(browser: Browser, report: Report) -> None:
    path = report("finished")
    browser.open(path)
    folder = path.parent
    runs, rows = store.runs(folder), store.curves(folder, ["test_error"])
    expected = seed_curves(runs, rows, "optim.weight_decay", "test_error")
    lines = [trace for trace in browser.chart("curves-chart") if trace.get("fill") != "toself"]
    assert len(lines) == len(expected) == 9
    for line, curves in zip(lines, expected, strict=True):
        assert line["x"] == curves.x.tolist()
        assert line["y"] == pytest.approx(curves.mean.tolist(), rel=1e-5)
        error = curves.error[3]
        assert line["customdata"][3][0] == f" ± {float(f'{error:.4g}'):g}"
        assert line["customdata"][3][1] == "3 seeds"


@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_a_mean_over_changing_seeds_says_so(browser: Browser, report: Report, name: str) -> None:
    browser.open(report(name))
    note = browser.script("return document.getElementById('curves-note').textContent")
    assert ("not every seed has a row" in note) == (name == "unfinished")


def test_trainings_with_one_row_each_are_no_line(browser: Browser, report: Report) -> None:
    browser.open(report("last_rows"))
    (marks,) = browser.chart("curves-chart")
    assert marks["mode"] == "markers"
    assert marks["x"] == [10, 15, 20]


def test_every_seed_can_be_drawn_with_its_cell(browser: Browser, report: Report) -> None:
    path = report("finished")
    browser.open(path)
    browser.choose("curves.show", "seeds")
    lines = browser.chart("curves-chart")
    rows = store.curves(path.parent, ["test_error"])
    assert len(lines) == 27
    for line in lines[:3]:
        cell = next(cell for cell in rows["cell"].cat.categories if cell in line["hovertemplate"])
        values = rows.loc[rows["cell"] == cell, "test_error"].tolist()
        assert line["y"] == pytest.approx(values, rel=1e-5)


def test_the_selectors_change_the_curves(browser: Browser, report: Report) -> None:
    browser.open(report("finished"))
    before = browser.chart("curves-chart")[1]["y"]
    browser.choose("curves.metric", "test_loss")
    after = browser.chart("curves-chart")[1]["y"]
    assert after == pytest.approx([2.2 * value for value in before], rel=1e-4)
    browser.choose("curves.time", "step")
    assert browser.chart("curves-chart")[1]["x"][:2] == [22, 44]
    browser.choose("curves.by", "none")
    browser.choose("curves.optim.weight_decay", "0.01")
    assert len(browser.chart("curves-chart")) == 2


def test_a_reload_keeps_what_was_chosen(browser: Browser, report: Report) -> None:
    browser.open(report("finished"))
    browser.choose("curves.metric", "train_error")
    browser.driver.refresh()
    browser.wait("return document.documentElement.dataset.ready === 'yes'")
    assert browser.script("return document.getElementById('curves.metric').value") == "train_error"
    assert "train_error" in browser.script(
        "return document.getElementById('curves-caption').textContent"
    )


def test_the_map_of_time_has_the_values_of_the_curves(browser: Browser, report: Report) -> None:
    browser.open(report("finished"))
    lines = [trace for trace in browser.chart("curves-chart") if trace.get("fill") != "toself"]
    (heat_map,) = browser.chart("map-chart")
    columns = list(zip(*heat_map["z"], strict=True))
    assert [list(column) for column in columns] == [line["y"] for line in lines]


def test_the_map_of_results_has_the_means_of_the_runs(browser: Browser, report: Report) -> None:
    path = report("finished")
    browser.open(path, "#map.y=none&map.result=final_test_error")
    runs = store.runs(path.parent)
    means = runs.groupby("optim.weight_decay")["final_test_error"].mean()
    (heat_map,) = browser.chart("map-chart")
    assert heat_map["z"][0] == pytest.approx(means.tolist(), rel=1e-5)


def test_the_map_of_states_has_a_letter_for_each_cell(browser: Browser, report: Report) -> None:
    path = report("unfinished")
    browser.open(path)
    (states,) = browser.chart("progress-chart")
    letters = [letter for row in states["text"] for letter in row]
    counts = {count.letter: count.cells for count in load_page(path.parent).counts}
    assert {letter: letters.count(letter) for letter in set(letters)} == counts
    browser.choose("progress.y", "none")
    (states,) = browser.chart("progress-chart")
    assert states["text"][0][0] == "N 1/3"
    assert states["text"][0][-1] == "F"
    assert "out of memory" in " ".join(states["hovertext"][0])


def test_hover_names_what_stands_behind_a_line(browser: Browser, report: Report) -> None:
    path = report("finished")
    browser.open(path)
    template = browser.chart("curves-chart")[1]["hovertemplate"]
    cells = store.runs(path.parent).sort_values("optim.weight_decay")["cell"].tolist()
    assert all(cell in template for cell in cells[:3])
    assert "1 attempt, code 906a612f1c23d507" in template


def test_a_search_shows_its_trainings_and_estimate(browser: Browser, report: Report) -> None:
    path = report("search")
    browser.open(path)
    traces = {trace["name"]: trace for trace in browser.chart("search-chart")}
    searches = load_page(path.parent).searches
    fits = [value for search in searches for value, success, _ in search.trainings if success]
    assert sorted(traces["met the condition"]["x"]) == sorted(fits)
    assert traces["estimate, 90 % interval"]["x"] == [search.n50 for search in searches]


def test_text_of_errors_is_never_read_as_html(browser: Browser, report: Report) -> None:
    browser.open(report("all_failed"))
    assert "no </script> here" in browser.script("return document.body.innerText")
    browser.open(report("unfinished"))
    text = browser.script("return document.getElementById('failures').innerText")
    assert "CUDA error: <device-side> assert & more" in text


def test_an_open_page_follows_the_file(
    browser: Browser, example: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = example("unfinished")
    path, is_live = pages.write_page(folder, 5.0)
    assert is_live
    first = load_page(folder).written
    browser.open(path, "#curves.metric=train_error")
    pages.write_page(folder, 5.0)
    browser.wait(
        f"return JSON.parse(document.getElementById('data').textContent).written > {first}", 60
    )
    browser.wait("return document.documentElement.dataset.ready === 'yes'")
    assert browser.script("return document.getElementById('curves.metric').value") == "train_error"
    assert browser.complaints() == []


def test_dark_and_light_pages_have_readable_text(browser: Browser, report: Report) -> None:
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.open(report("one_cell"))
        colours = browser.script(
            "const look = getComputedStyle(document.body);return [look.color, look.backgroundColor]"
        )
        assert _contrast(*colours) > 7


def _contrast(first: str, second: str) -> float:
    """Contrast of two colours such as "rgb(1, 2, 3)", as WCAG 2.1 defines it."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(text) / 255 for text in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else math.pow((c + 0.055) / 1.055, 2.4) for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
