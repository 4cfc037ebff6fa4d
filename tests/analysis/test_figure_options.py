"""The options that every figure script has, and what picture files say of their origin."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import analysis
from analysis import fig1
from analysis.figure import fit, heatmap, options, origin, output, query, style
from analysis.landscape import plot as landscape

VALUES = np.linspace(0.0, 1.0, 12).reshape(3, 4)


def parsed(folder: Path, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add(parser, "x")
    return parser.parse_args(["--out", str(folder), *arguments])


def picture(colours: bool = True) -> Figure:
    with style.styled():
        figure = Figure(figsize=(6, 3))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], lw=2)
        axes.set_xlabel("weight decay")
        if colours:
            grid = heatmap.Grid(np.arange(4.0), np.arange(1.0, 4.0), VALUES, 3)
            mesh = heatmap.draw(axes, grid, 0.0, 1.0)
            heatmap.colour_bar([mesh], axes, "test error")
    return figure


def test_the_formats_are_those_asked_for(tmp_path: Path):
    output.write(parsed(tmp_path, "--format", "svg", "png"), picture(), {}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.png", "x.svg"]


def test_a_record_has_null_for_numbers_that_are_not_finite(tmp_path: Path):
    record = {"low": float("nan"), "rows": [{"high": np.float64("inf"), "n": np.int64(3)}]}
    record["none"] = [pd.NA, None]
    output.write(parsed(tmp_path, "--format", "svg"), picture(), {}, record)
    written = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert written == {"low": None, "rows": [{"high": None, "n": 3}], "none": [None, None]}


def test_a_table_has_lists_whole(tmp_path: Path):
    table = pd.DataFrame({"at": [np.arange(1500.0), None], "name": ["a", "b"]})
    output.write(parsed(tmp_path, "--format", "svg"), picture(), {"": table}, {})
    written = pd.read_csv(tmp_path / "x.csv")
    assert json.loads(written["at"][0]) == list(range(1500))
    assert written["name"].tolist() == ["a", "b"]


def test_a_width_keeps_the_ratio_and_readable_text(tmp_path: Path):
    figure = picture()
    options.apply(figure, parsed(tmp_path, "--width", "column"))
    assert figure.get_size_inches().tolist() == pytest.approx([3.35, 3.35 / 2])
    sizes = [figure.axes[0].xaxis.label.get_fontsize(), figure.axes[1].yaxis.label.get_fontsize()]
    assert min(sizes) >= fit.SMALLEST_TEXT
    assert max(sizes) < style.FONT_SIZE


def test_panels_too_narrow_side_by_side_go_below_one_another(tmp_path: Path):
    with style.styled():
        figure = Figure(figsize=(12, 4))
        grid = figure.add_gridspec(2, 2)
        for place in (grid[:, 0], grid[0, 1], grid[1, 1]):
            figure.add_subplot(place).plot([0, 1], [0, 1])
    options.apply(figure, parsed(tmp_path, "--width", "column"))
    figure.savefig(tmp_path / "x.png")
    left, upper, lower = (axes.get_position() for axes in figure.axes)
    assert left.y0 > upper.y1 > upper.y0 > lower.y1
    assert left.width == pytest.approx(upper.width, rel=0.05)
    assert left.height > 1.5 * upper.height
    assert figure.get_size_inches().tolist() == pytest.approx([3.35, 2 * 3.35 * 4 / 6])


def test_stacked_panels_each_have_their_vertical_labels(tmp_path: Path):
    figure = Figure(figsize=(12, 4), layout="constrained")
    first, second, third = figure.subplots(1, 3, sharey=True)
    first.set_ylabel("test error")
    second.set_title("a long sentence " * 6, loc="left")
    options.apply(figure, parsed(tmp_path, "--width", "column"))
    figure.savefig(tmp_path / "x.png")
    assert [axes.get_ylabel() for axes in (first, second, third)] == ["test error"] * 3
    assert all(axes.yaxis.get_tick_params()["labelleft"] for axes in (first, second, third))
    titles = [child for child in second.get_children() if isinstance(child, Text)]
    (title,) = [title for title in titles if title.get_text().startswith("a long sentence")]
    assert title.get_window_extent().x1 <= figure.bbox.x1 + 1


def test_a_matrix_of_panels_stays_one(tmp_path: Path):
    figure = Figure(figsize=(12, 4))
    figure.subplots(2, 3)
    options.apply(figure, parsed(tmp_path, "--width", "column"))
    figure.savefig(tmp_path / "x.png")
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 2
    assert figure.get_size_inches()[0] == pytest.approx(3.35)
    with pytest.raises(ValueError, match=r"--width 2: each of 3 .* at least 3.3 inches"):
        options.apply(figure, parsed(tmp_path, "--width", "2"))


@pytest.mark.parametrize("arguments", [("--width", "column"), ("--style", "talk")])
def test_a_legend_of_the_figure_goes_above_its_panels(tmp_path: Path, arguments):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number in range(5):
        axes.plot([0, 1], [0, number], label=f"label-noise rate 0.{number}, at the best epoch")
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", title="noise")
    options.apply(figure, parsed(tmp_path, *arguments))
    figure.savefig(tmp_path / "x.png", dpi=figure.dpi)
    (legend,) = figure.legends
    box, panel = legend.get_window_extent(), axes.get_window_extent()
    assert [text.get_text() for text in legend.get_texts()] == handles[1]
    assert legend.get_title().get_text() == "noise"
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert panel.y1 < box.y0 < box.y1 <= figure.bbox.height
    assert panel.width > 0.7 * figure.bbox.width


@pytest.mark.parametrize("arguments", [(), ("--width", "column"), ("--style", "talk")])
def test_a_title_is_above_the_legend_of_the_figure_and_wrapped(tmp_path: Path, arguments):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="at the best epoch")
    figure.legend(loc="outside upper center")
    options.apply(figure, parsed(tmp_path, "--title", "digits with wrong labels " * 6, *arguments))
    figure.savefig(tmp_path / "x.png", dpi=figure.dpi)
    (legend,) = figure.legends
    title = next(text for text in figure.texts if "digits" in text.get_text())
    over, box = title.get_window_extent(), legend.get_window_extent()
    assert axes.get_window_extent().y1 < box.y0 < box.y1 <= over.y0 < over.y1 <= figure.bbox.height
    assert 0 <= over.x0 < over.x1 <= figure.bbox.width
    assert axes.get_window_extent().height > 0.3 * figure.bbox.height


def test_panels_outside_a_grid_are_drawn_at_another_width(tmp_path: Path):
    figure = Figure(figsize=(6, 4))
    figure.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1], [0, 1])
    figure.legend(handles=[])
    options.apply(figure, parsed(tmp_path, "--width", "column", "--style", "talk"))
    figure.savefig(tmp_path / "x.png")
    assert figure.get_size_inches().tolist() == pytest.approx([3.35, 3.35 * 4 / 6])


def test_square_panels_below_one_another_are_whole_and_leave_no_gap(tmp_path: Path):
    figure, panels = landscape.panels(4)
    for axes in panels:
        axes.set_title("10 points at 0.001, 10 wrong, boundary at 0.494 (0.464 to 0.590)")
    landscape.label_outer(panels, "first input", "second input")
    landscape.foot(figure, "distance from the centre along 360 rays, median and 5 to 95 % " * 2)
    options.apply(figure, parsed(tmp_path, "--width", "column"))
    figure.savefig(tmp_path / "x.png", dpi=figure.dpi)
    boxes = [axes.get_tightbbox() for axes in panels]
    boxes.append(figure.texts[0].get_window_extent())
    for box in boxes:
        assert -1 < box.x0 < box.x1 < figure.bbox.width + 1
    tops, bottoms = [box.y1 for box in boxes], [box.y0 for box in boxes]
    gaps = np.subtract(bottoms[:-1], tops[1:])
    assert (gaps > -1).all()
    assert gaps.max() < 0.2 * figure.dpi


def test_a_colour_bar_stays_beside_its_map_at_another_width(tmp_path: Path):
    figure = picture()
    options.apply(figure, parsed(tmp_path, "--width", "4"))
    figure.savefig(tmp_path / "x.png")
    mesh = figure.axes[0].collections[0]
    gap = mesh.colorbar.ax.get_position().x0 - figure.axes[0].get_position().x1
    assert 0 < gap < 0.1


@pytest.mark.parametrize("name", ["a/b", ""])
def test_a_name_with_a_folder_is_refused(tmp_path: Path, name: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed(tmp_path, "--name", name)
    assert f"found '{name}', expected a name without a folder; --out" in capsys.readouterr().err


def test_an_out_that_is_a_file_is_refused(tmp_path: Path, capsys):
    (tmp_path / "file").write_text("")
    assert fig1.main(["--out", str(tmp_path / "file")]) == 2
    found = f"error: --out: found {tmp_path / 'file'}, expected a folder"
    assert found in capsys.readouterr().err.replace("\n", " ")


def test_a_title_is_plain_text(tmp_path: Path):
    figure = picture()
    title = r"$\frac{a}{ and $6 " * 9
    options.apply(figure, parsed(tmp_path, "--title", title, "--width", "column"))
    figure.savefig(tmp_path / "x.png")
    (drawn,) = (text for text in figure.texts if "frac" in text.get_text())
    assert drawn.get_text() == title.replace("$", r"\$")


@pytest.mark.parametrize("arguments", [(), ("--width", "column"), ("--style", "talk")])
@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (range(1, 65), [f"{value}" for value in range(1, 65)]),
        (np.logspace(-40, 3, 44), [style.power_label(n) for n in range(-40, 4)]),
    ],
)
def test_numbers_below_an_axis_do_not_touch(tmp_path: Path, arguments, values, labels):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots(2, sharex=True)[1]
    axes.plot(values, values)
    axes.set_xscale("log")
    axes.set_xticks(list(values), labels)
    options.apply(figure, parsed(tmp_path, *arguments))
    figure.savefig(tmp_path / "x.png", dpi=figure.dpi)
    shown = [text for text in axes.get_xticklabels() if text.get_text()]
    boxes = [text.get_window_extent() for text in shown]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert 5 <= len(shown) < len(labels)
    assert shown[-1].get_text() == labels[-1]


def test_names_below_an_axis_all_stay(tmp_path: Path):
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.set_xticks(range(3), ["stochastic gradient descent", "shampoo with momentum", "adam"])
    options.apply(figure, parsed(tmp_path))
    assert all(text.get_text() for text in axes.get_xticklabels())


def test_a_legend_that_covers_a_line_moves(tmp_path: Path):
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], label="falls")
    axes.legend(loc="upper left")
    options.apply(figure, parsed(tmp_path, "--width", "column", "--style", "talk"))
    figure.savefig(tmp_path / "x.png", dpi=figure.dpi)
    box = axes.get_legend().get_window_extent()
    path = axes.lines[0].get_path().transformed(axes.transData)
    assert not path.intersects_bbox(box, filled=False)


def test_a_talk_has_larger_text_and_a_title_is_drawn(tmp_path: Path):
    figure = picture()
    options.apply(figure, parsed(tmp_path, "--style", "talk", "--title", "Weight decay"))
    assert figure.get_suptitle() == "Weight decay"
    assert figure.axes[0].xaxis.label.get_fontsize() == pytest.approx(style.FONT_SIZE * 1.35)
    assert figure.axes[0].lines[0].get_linewidth() == pytest.approx(3.2)


def test_limits_set_the_colours_and_their_arrows(tmp_path: Path):
    figure = picture()
    mesh = figure.axes[0].collections[0]
    assert mesh.colorbar.extend == "neither"
    options.apply(figure, parsed(tmp_path, "--limits", "0.2", "1"))
    assert mesh.get_clim() == (0.2, 1.0)
    assert mesh.colorbar.extend == "min"
    assert mesh.colorbar.ax.get_ylabel() == "test error"
    with pytest.raises(ValueError, match="the lower one first"):
        options.apply(picture(), parsed(tmp_path, "--limits", "1", "0"))


def test_limits_set_the_vertical_axis_where_nothing_is_coloured(tmp_path: Path):
    figure = picture(colours=False)
    options.apply(figure, parsed(tmp_path, "--limits", "0.2", "0.4"))
    assert figure.axes[0].get_ylim() == (0.2, 0.4)


def test_pictures_name_their_command_cells_and_commit(tmp_path: Path, monkeypatch):
    script = str(origin.ANALYSIS / "fig2_ab.py")
    monkeypatch.setattr("sys.argv", [script, "logs/demo", "--title", "two words"])
    record = {"columns": [{"cells": ["b", "a"]}, {"cells": ["b"]}]}
    output.write(parsed(tmp_path), picture(), {}, record)
    expected = {
        "command": "python analysis/fig2_ab.py logs/demo --title 'two words'",
        "cells": hashlib.sha256(b"a\nb").hexdigest()[:32],
    }
    with Image.open(tmp_path / "x.png") as image:
        text = dict(image.info)
    for key, value in expected.items():
        assert text[f"redescent {key}"] == value
        assert value.split()[0].encode() in (tmp_path / "x.pdf").read_bytes()
    assert text.get("redescent commit", "") == origin.commit()


def test_a_record_without_cells_has_no_hash():
    assert "cells" not in origin.metadata({"notes": ["cells"]})


@pytest.mark.parametrize("name", ["fig1", "fig2_ab", "model_wise", "grok_fig1", "emc", "rings"])
def test_scripts_of_every_kind_have_the_options(name: str, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"analysis.{name}").main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--format", "--width", "--style", "--limits", "--title"):
        assert option in text


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("fig1", "--sigma", "nan"),
        ("fig1", "--n", "0"),
        ("emp_vs_analytic", "--seeds", "0"),
        ("fig2_ab", "--interpolation", "inf"),
        ("sample_wise", "--interpolation", "low"),
        ("model_wise", "--limits", "nan"),
        ("integrity", "--images", "-3"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name: str, option: str, value: str, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"analysis.{name}").main(["logs/absent", option, value, "1"])
    assert stop.value.code == 2
    assert f"argument {option}: found {value!r}, expected a" in capsys.readouterr().err


def test_a_logarithmic_axis_of_less_than_a_decade_has_more_than_one_label():
    axes = Figure().subplots()
    style.log_time(axes, 6, "x")
    assert list(axes.get_xticks()) == [1, 2, 5]
    style.log_time(axes, 100, "x")
    assert list(axes.get_xticks()) == [1, 10, 100]


def test_different_values_are_different_texts():
    assert query.as_text(pd.Series([1234567890123456, 1234567890123457])).is_unique
    assert query.as_text(pd.Series(["1_0", "10"])).tolist() == ["1_0", "10"]
    assert query.as_text(pd.Series([64, 64.0, "64"], dtype=object)).tolist() == ["64"] * 3
    assert query.as_text(pd.Series([1e300, 0.1])).tolist() == ["1e+300", "0.1"]
    names = pd.Series(["nan", None, "inf", "infinity", "a", "10", "9"])
    assert query.as_text(names).tolist() == ["nan", "null", "inf", "infinity", "a", "10", "9"]
    columns = pd.DataFrame({"x": names})
    sorted_names = ["9", "10", "a", "inf", "infinity", "nan", "null"]
    assert query.sorted_values(columns, "x") == sorted_names


@pytest.mark.parametrize("name", ["atlas", "surface_3d"])
def test_scripts_that_write_a_page_refuse_options_of_pictures(name: str, capsys):
    script = importlib.import_module(f"analysis.{name}")
    for option in (["--format", "png"], ["--width", "page"], ["--style", "talk"], ["--title", "a"]):
        with pytest.raises(SystemExit) as stop:
            script.main(["logs/absent", *option])
        assert stop.value.code == 2
        assert f"unrecognized arguments: {' '.join(option)}" in capsys.readouterr().err


def test_an_interrupted_script_says_so_without_a_traceback(capsys):
    analysis._end_without_traceback(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "interrupted\n"
    analysis._end_without_traceback(ValueError, ValueError("a fault"), None)
    assert "ValueError: a fault" in capsys.readouterr().err
