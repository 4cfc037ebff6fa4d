"""The figure scripts of the theory: what they draw, write, print and refuse, and their memory."""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from analysis import fig1, fig2_cd, fig3, fig_q_regulariser, fig_trace_vs_ridge
from analysis.figure import output
from analysis.theory import accuracy
from analysis.theory.teacher_student import Draws, Setting, fast_slow, trace_over_draws

CLOSED = ("fig1", "fig1_variants", "fig2_cd", "fig3", "fig3_variants")
SIMULATED = ("emp_vs_analytic", "fig_trace_vs_ridge", "fig_q_regulariser")
SMALL = ["--n", "30", "--d", "20", "--p", "10", "--seeds", "3", "--test-size", "10"]
TIMES = 10 ** np.linspace(-3, 8, 300)


@pytest.fixture
def saved_figures(monkeypatch):
    """Collects the figures that are saved, without rendering them."""
    figures = []

    def keep(figure, out, stem, *_):
        figures.append(figure)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out) / f"{stem}.png", Path(out) / f"{stem}.pdf"

    monkeypatch.setattr(output, "save", keep)
    return figures


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def check_files(name, folder, printed):
    assert [path.suffix for path in sorted(folder.iterdir())] == [".csv", ".json", ".pdf", ".png"]
    caption = json.loads((folder / f"{name}.json").read_text())
    assert caption["figure"] == name
    assert caption["notes"]
    assert "formula" in json.dumps(caption["curves"]) or "students" in json.dumps(caption["curves"])
    assert len(rows(folder / f"{name}.csv")) >= 300
    assert f"{name}.png" in printed


@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_figures_write_picture_table_and_caption(name, tmp_path, capsys):
    script = importlib.import_module(f"analysis.{name}")
    assert script.main(["--out", str(tmp_path), *SMALL]) == 0
    check_files(name, tmp_path, capsys.readouterr().out)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_figures_write_all_their_files_within_their_budget(name, tmp_path):
    """150 MB each, in a process of their own, without a display or the heavy packages."""
    code = f"""
import sys
from analysis import {name}
{name}.main(["--out", {str(tmp_path)!r}])
heavy = ("pandas", "torch", "hydra", "scipy", "seaborn", "matplotlib.pyplot")
print([module for module in heavy if module in sys.modules])
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    heavy, kilobytes = process.stdout.splitlines()[-2:]
    assert heavy == "[]"
    assert float(kilobytes) * 1024 < 150e6
    check_files(name, tmp_path, process.stdout)


def test_figure_1_draws_the_three_curves(saved_figures, tmp_path):
    fig1.main(["--out", str(tmp_path)])
    lines = [line for axes in saved_figures[0].axes for line in axes.get_lines()]
    assert [line.get_color() for line in lines] == ["#0076BA", "#FF9300", "#353535"]
    for line, frozen_block in zip(lines, ("slow", "fast", None), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), TIMES + 1)
        np.testing.assert_array_equal(
            line.get_ydata(), fast_slow(Setting(150, 100, 70, 100), TIMES, frozen_block).error
        )
    assert saved_figures[0].axes[0].get_xlim() == (1, 1e5)
    assert saved_figures[0].axes[1].get_ylim() == (0, 0.5)
    caption = json.loads((tmp_path / "fig1.json").read_text())
    assert caption["curves"][2]["turning_points"][1]["t_plus_1"] == pytest.approx(331, rel=0.05)
    assert caption["curves"][2]["distance_from_ridge_asymptotics"][
        "max_abs_difference"
    ] == pytest.approx(0.051, abs=1e-3)


def test_options_change_what_is_drawn(saved_figures, tmp_path):
    arguments = (
        "--n 130 --p 60 --kappa 50 --sigma 0.1 --weight-decay 0.001 --times -1 5 40 --name camera"
    )
    fig1.main([*arguments.split(), "--out", str(tmp_path)])
    times = 10 ** np.linspace(-1, 5, 40)
    expected = fast_slow(Setting(130, 100, 60, 50, 0.1, 0.001), times).error
    np.testing.assert_array_equal(saved_figures[0].axes[1].get_lines()[0].get_ydata(), expected)
    assert json.loads((tmp_path / "camera.json").read_text())["options"]["n"] == 130


def test_figure_1_variants_name_the_sizes_that_they_draw(saved_figures, tmp_path):
    importlib.import_module("analysis.fig1_variants").main(["--out", str(tmp_path)])
    top, bottom = saved_figures[0].axes[:5], saved_figures[0].axes[5:]
    assert [axes.get_title() for axes in top][3:] == [
        "(n, d, p) = (300, 280, 50)",
        "(n, d, p) = (300, 280, 70)",
    ]
    for axes, p, peak in zip(bottom[3:], (50, 70), (0.4836, 0.4773), strict=True):
        error = axes.get_lines()[0].get_ydata()
        np.testing.assert_array_equal(error, fast_slow(Setting(300, 280, p, 100), TIMES).error)
        assert error[TIMES > 10].max() == pytest.approx(peak, abs=1e-4)
    assert "p = 70" in json.dumps(
        json.loads((tmp_path / "fig1_variants.json").read_text())["notes"]
    )


def test_figure_2_draws_one_mesh_with_ticks_at_their_powers(saved_figures, tmp_path):
    fig2_cd.main(["--out", str(tmp_path)])
    left, right = saved_figures[0].axes[:2]
    (mesh,) = [c for c in left.collections if isinstance(c, QuadMesh)]
    assert mesh.get_clim() == (0.2, 0.45)
    values = mesh.get_array()
    decays = 10 ** -np.linspace(0.1, 8, 100)
    np.testing.assert_allclose(
        values, fast_slow(Setting(120, 100, 80, 40, 0.2, decays), TIMES[: len(values), None]).error
    )
    assert TIMES[len(values) - 1] + 1 > 1e4
    assert left.get_xticks().tolist() == list(range(1, 9))
    assert [t.get_text() for t in left.get_xticklabels()][-1] == "$10^{-8}$"
    assert left.get_xlim()[0] < 0.1
    assert len(rows(tmp_path / "fig2_cd.csv")) == 30_000
    for line, index in zip(right.get_lines(), (10, 30, 99), strict=True):
        np.testing.assert_allclose(
            line.get_ydata(), fast_slow(Setting(120, 100, 80, 40, 0.2, decays[index]), TIMES).error
        )


def test_figure_3_background_is_the_error_of_the_right_panel(saved_figures, tmp_path):
    fig3.main(["--out", str(tmp_path)])
    left, right = saved_figures[0].axes[:2]
    (image,) = left.get_images()
    assert image.get_clim() == (0, 1.25)
    background = np.asarray(image.get_array())
    row, column = 30, 60
    r, q = 1.05 * (column + 0.5) / 100, 1.3 * (row + 0.5) / 100
    assert background[row, column] == pytest.approx(0.5 * (1 - 2 * r + q))
    trajectories = [line for line in left.get_lines() if line.get_linestyle() == "-"]
    assert [line.get_color() for line in trajectories] == list(fig3.COLOURS)
    for line, error in zip(trajectories, right.get_lines(), strict=True):
        np.testing.assert_allclose(
            0.5 * (1 - 2 * line.get_xdata() + line.get_ydata()), error.get_ydata(), atol=1e-12
        )
    assert "twice the error" in json.dumps(
        json.loads((tmp_path / "fig3.json").read_text())["notes"]
    )


def test_simulated_figure_draws_the_true_trace_formula(saved_figures, tmp_path):
    script = importlib.import_module("analysis.emp_vs_analytic")
    script.main([*SMALL, "--kappa", "1", "30", "--out", str(tmp_path)])
    solid = [
        line
        for line in saved_figures[0].axes[0].get_lines()
        if line.get_linestyle() == "-" and line.get_lw() == 2.2
    ]
    times = TIMES[TIMES <= 1e5]
    setting, draws = Setting(30, 20, 10, [1, 30]), Draws(range(3), 10)
    trace = trace_over_draws(setting, times, draws, "flow").error.mean(axis=0)
    for line, expected in zip(solid, trace, strict=True):
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-9, atol=1e-12)
    series = {row["series"] for row in rows(tmp_path / "emp_vs_analytic.csv")}
    assert series == {"test_set", "trace_formula", "population_with_unit_teacher", "fast_slow"}
    caption = json.loads((tmp_path / "emp_vs_analytic.json").read_text())
    assert "legacy generator" in caption["random_stream"]


def test_ridge_panel_has_the_penalty_of_the_simulation_in_both_blocks(saved_figures, tmp_path):
    fig_trace_vs_ridge.main([*SMALL, "--out", str(tmp_path)])
    table = rows(tmp_path / "fig_trace_vs_ridge.csv")
    same, published = (
        np.array(
            [
                float(r["error_mean"])
                for r in table
                if r["series"] == name and float(r["kappa"]) == 50
            ]
        )
        for name in ("fast_slow_same_penalty", "fast_slow_as_published")
    )
    times = 10 ** np.linspace(-3, 6, 100)
    setting = Setting(30, 20, 10, 50)
    for error, slow_scale in ((same, 0.5**0.5), (published, 0.5)):
        expected = fast_slow(setting, times, scales=(0.5**0.5, slow_scale)).error
        np.testing.assert_allclose(error, expected, rtol=1e-12)


def test_published_curves_are_drawn_beside_the_regulariser(saved_figures, tmp_path, capsys):
    for name, value in (("w_reg.npy", 0.2), ("icml_fig6_wo_reg.npy", 0.3)):
        np.save(tmp_path / name, np.full(50, value))
    assert (
        fig_q_regulariser.main([*SMALL, "--published", str(tmp_path), "--out", str(tmp_path)]) == 0
    )
    without, with_penalty = saved_figures[0].axes[1].get_lines()
    assert (without.get_ydata()[0], with_penalty.get_ydata()[0], without.get_xdata()[0]) == (
        0.3,
        0.2,
        1,
    )
    assert fig_q_regulariser.main([*SMALL, "--published", str(tmp_path / "absent")]) == 2
    assert "holds neither wo_reg.npy" in capsys.readouterr().err


def test_regulariser_lowers_the_peak(tmp_path, saved_figures):
    fig_q_regulariser.main(["--seeds", "10", "--times", "0", "4", "60", "--out", str(tmp_path)])
    without, with_penalty = (line.get_ydata() for line in saved_figures[0].axes[0].get_lines())
    assert without[20:].max() > with_penalty[20:].max() + 0.03
    assert without[-1] == pytest.approx(with_penalty[-1], abs=0.01)


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("fig1", "--p 200", "0 <= p <= d"),
        ("fig1", "--times 0 1 2.5", "whole number"),
        ("fig2_cd", "--slices 1 200", "0 to 99"),
        ("fig2_cd", "--weight-decay 8 1 10", "falling"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_one_line_of_error(
    script, arguments, message, tmp_path, capsys
):
    module = importlib.import_module(f"analysis.{script}")
    assert module.main([*arguments.split(), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_accuracy_prints_its_three_tables(capsys):
    assert accuracy.main(["--seeds", "3"]) == 0
    out = capsys.readouterr().out
    assert "0.0511   2.28e+04   0.2677 @ 331" in out
    assert [line[0] for line in out.splitlines() if line[1:2] == "."] == ["1", "2", "3"]
