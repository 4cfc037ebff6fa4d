"""Steps to an accuracy with censored runs, what a percent of data costs, and the curves over
steps.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from grok_sweep import BASE, STEPS, add

from analysis import grok_data_fraction, grok_fig1, small_nn
from analysis.grokking import data_cost, runs

INF, NAN = np.inf, np.nan


def run(script, *args):
    return script.main([str(a) for a in args])


@pytest.mark.parametrize(
    ("steps", "share", "expected"),
    [
        ([30, 10, 20], 0.5, 20),
        ([30, 10, INF], 0.5, 30),
        ([10, INF, INF], 0.5, INF),
        ([10, 20, INF, INF], 0.5, 20),
        ([10, 20, 30, 40], 0.25, 10),
        ([10, 20, 30, 40], 0.75, 30),
        ([NAN, 7], 0.5, 7),
        ([NAN], 0.5, NAN),
    ],
)
def test_a_median_counts_runs_that_never_got_there_as_late(steps, share, expected):
    np.testing.assert_equal(runs.reached_by(steps, share), expected)


def test_a_log_linear_law_gives_its_factor():
    law = {
        p: {str(seed): (1 + 0.1 * seed) * 1000 * 1.45 ** (30 - p) for seed in range(5)}
        for p in (26.0, 28.0, 30.0)
    }
    result = data_cost.fit(law)
    assert result.factor == pytest.approx(1.45)
    assert result.low == pytest.approx(1.45)  # seeds are drawn with all of their fractions
    assert result.high == pytest.approx(1.45)
    assert result.percents == (26, 28, 30)
    np.testing.assert_allclose(result.steps([30.0]), 1200)
    assert data_cost.fit(law, (27, 31)).percents == (28, 30)
    assert data_cost.fit(law, (29, 31)) is None


def test_the_fit_takes_fractions_that_half_of_the_seeds_reached():
    law = {
        p: {str(seed): 1000 * 1.2 ** (40 - p) for seed in range(4)}
        for p in (20.0, 30.0, 35.0, 40.0)
    }
    law[20.0] = dict.fromkeys(law[20.0], INF) | {"0": 1.0}
    law[30.0] |= {"0": INF, "1": INF}
    result = data_cost.fit(law)
    assert result.percents == (30, 35, 40)
    assert result.factor == pytest.approx(1.2)


def test_the_interval_holds_the_factor_and_has_the_width_of_the_noise():
    random = np.random.default_rng(1)
    law = {
        p: {str(s): 100 * 1.4 ** (30 - p) * np.exp(random.normal(0, 0.2)) for s in range(9)}
        for p in (25.0, 26.0, 27.0, 28.0, 29.0, 30.0)
    }
    result = data_cost.fit(law)
    assert result.low < result.factor < result.high
    assert result.low < 1.4 < result.high
    assert 0.01 < result.high - result.low < 0.3
    assert np.isnan(data_cost.fit({p: {"0": v["0"]} for p, v in law.items()}).low)


def fractions(sweep):
    """Three seeds at three fractions: all there, two of three there, none; one seed unfinished, one
    only planned.
    """
    plan = {}
    for fraction in (0.2, 0.3, 0.4, 0.5):
        for seed in range(3):
            cell = f"f{fraction:g}s{seed}"
            config = {"data.train_fraction": fraction, "seed": seed}
            plan[cell] = config
            reached = {"final_train_steps_99": 50 + seed}
            if fraction == 0.4 or (fraction == 0.3 and seed < 2):
                reached["final_test_steps_99"] = int(
                    1000 * (0.5 if fraction == 0.4 else 0.8) + seed
                )
            if fraction == 0.5 and seed == 2:
                continue
            status = "running" if fraction == 0.5 and seed == 1 else "done"
            if fraction == 0.5 and seed == 0:
                reached["final_test_steps_99"] = 40
            # a run may end before trainer.steps and be complete
            add(
                sweep,
                cell,
                config,
                status=status,
                steps=600 if fraction == 0.4 else 1000,
                **reached,
            )
    sweep.plan(BASE, plan)


def test_medians_over_seeds_and_runs_that_never_got_there(sweep, tmp_path, capsys):
    fractions(sweep)
    assert run(grok_data_fraction, sweep.folder, "--out", tmp_path) == 0
    table = pd.read_csv(tmp_path / "grok_data_fraction.csv").query("split == 'test'")
    assert table["train_percent"].tolist() == [20, 30, 40, 50]
    assert table["median"].tolist() == [INF, 801, 501, 40]
    assert table["censored"].tolist() == [3, 1, 0, 0]
    assert table["open"].tolist() == [0, 0, 0, 2]
    assert table["budget"].tolist()[:2] == [1000, 1000]
    train = pd.read_csv(tmp_path / "grok_data_fraction.csv").query("split == 'train'")
    assert train["median"].tolist()[:3] == [51, 51, 51]
    record = json.loads((tmp_path / "grok_data_fraction.json").read_text())
    # 50 % is left out: one of its runs is running
    assert record["cost"]["all"]["percents"] == [30, 40]
    assert record["cost"]["all"]["factor"] == pytest.approx((801 / 501) ** 0.1)
    assert record["cost"]["published_range"] is None
    out = capsys.readouterr().out
    assert "1 of 12 planned cells has no rows" in out
    assert "1 cell is not finished" in out
    assert "redescent resume demo" in out
    last = record["groups"][-1]
    assert (last["cells"], last["unfinished"], last["missing"]) == (
        ["f0.5s0"],
        ["f0.5s1"],
        ["f0.5s2"],
    )
    assert {p.suffix for p in tmp_path.iterdir()} >= {".png", ".pdf", ".csv", ".json"}


def test_a_run_that_was_stopped_before_is_told_from_one_that_never_got_there(
    sweep, tmp_path, capsys
):
    for seed, steps in enumerate((400, 600, 1000)):
        add(sweep, f"s{seed}", {"seed": seed, "trainer.stop_at": 0.9}, steps=steps)
    reached = {"final_test_steps_95": 300, "final_train_steps_95": 20}
    add(sweep, "s3", {"seed": 3, "trainer.stop_at": 0.9}, steps=300, **reached)
    assert run(grok_data_fraction, sweep.folder, "--out", tmp_path, "--percent", 95) == 0
    (row,) = pd.read_csv(tmp_path / "grok_data_fraction.csv").query("split == 'test'").itertuples()
    assert (row.n, row.reached, row.censored, row.stopped, row.open) == (2, 1, 1, 2, 0)
    assert (row.median, row.budget) == (300, 600)
    by_run = pd.read_csv(tmp_path / "grok_data_fraction_runs.csv").query("split == 'test'")
    np.testing.assert_equal(by_run["steps"].to_numpy(), [NAN, NAN, INF, 300])
    assert (
        "2 of 4 runs ended by trainer.stop_at before 95 % of test rows" in capsys.readouterr().out
    )


def test_runs_of_another_trainer_are_refused(sweep, capsys):
    sweep.grid((1e-3,), seeds=(0,), epochs=3)
    assert run(grok_data_fraction, sweep.folder) == 2
    assert "expected runs of trainer=algorithmic" in capsys.readouterr().err


def curve(scale=1.0):
    return {
        "train_accuracy": (0.01, 0.1, 0.5, 1.0, 1.0),
        "test_accuracy": (0.01, 0.01, 0.02, 0.1 * scale, 1.0),
        "train_loss": (4.6, 4.0, 1.0, 0.01, 0.001),
        "test_loss": (4.6, 4.5, 4.0, 9.0 * scale, 0.1),
        "weight_norm": (60.0, 60.0, 61.0, 50.0 + scale, 30.0),
    }


def grokking(sweep, seeds=3, **config):
    for seed in range(seeds):
        reached = {"final_train_steps_99": 80 + seed, "final_test_steps_99": 700 + 100 * seed}
        add(
            sweep,
            f"s{seed}{len(config)}",
            {"seed": seed, **config},
            curve=curve(1 + 0.1 * seed),
            **reached,
        )


def test_bands_are_those_of_the_seeds_and_the_hump_is_found(sweep, tmp_path, capsys, drawn_by_grok):
    grokking(sweep)
    assert run(grok_fig1, sweep.folder, "--out", tmp_path) == 0
    table = pd.read_csv(tmp_path / "grok_fig1.csv")
    loss = table[table["metric"] == "test_loss"]
    assert loss["step"].tolist() == list(STEPS[1:])
    np.testing.assert_allclose(loss["median"], [4.5, 4.0, 9.9, 0.1], rtol=1e-6)
    np.testing.assert_allclose(loss["max"], [4.5, 4.0, 10.8, 0.1], rtol=1e-6)
    assert set(table["n"]) == {3}
    seeds = pd.read_csv(tmp_path / "grok_fig1_seeds.csv")
    assert seeds["gap_99"].tolist() == [620, 719, 818]
    assert seeds["peak_step"].tolist() == [100, 100, 100]
    np.testing.assert_allclose(seeds["peak_loss"], [9.0, 9.9, 10.8], rtol=1e-6)
    out = capsys.readouterr().out
    assert "steps to 99 % of test rows: median 800 (3 of 3 seeds got there)" in out
    assert "gap of the medians: 719 steps, a factor of 9.88" in out
    assert "the test loss has a second descent" in out


def test_steps_and_their_gap_are_written_alike():
    seeds = pd.DataFrame({"cell": ["a"], "train_steps_99": [476.0], "test_steps_99": [2684.0]})
    _, *lines = grok_fig1.report({"train": 476.0, "test": 2684.0}, seeds)
    assert "median 2,684 (1 of 1 seed got there)" in lines[1]
    assert lines[2] == "gap of the medians: 2,208 steps, a factor of 5.64"


def test_a_seed_that_ended_early_shortens_the_band_or_leaves_it(
    sweep, tmp_path, capsys, drawn_by_grok
):
    grokking(sweep, seeds=2)
    add(sweep, "early", {"seed": 2}, status="running", steps=1, curve=curve())
    assert run(grok_fig1, sweep.folder, "--out", tmp_path) == 0
    assert set(pd.read_csv(tmp_path / "grok_fig1.csv")["n"]) == {2}
    out = capsys.readouterr().out
    assert "1 cell is not finished" in out
    assert "(2 of 3 seeds got there)" in out


@pytest.mark.parametrize("script", [grok_fig1, small_nn])
def test_an_axis_beside_the_seed_must_be_chosen(script, sweep, tmp_path, capsys, drawn_by_grok):
    grokking(sweep)
    grokking(sweep, **{"data.train_fraction": 0.3})
    assert run(script, sweep.folder, "--out", tmp_path) == 2
    assert (
        "the runs vary in more than seed:\n  data.train_fraction: 0.3, 0.5"
        in capsys.readouterr().err
    )
    assert run(script, sweep.folder, "--out", tmp_path, "--where", "data.train_fraction=0.3") == 0
    cells = json.loads((tmp_path / f"{script.__name__.rpartition('.')[2]}.json").read_text())[
        "groups"
    ][0]["cells"]
    assert cells == ["s01", "s11", "s21"]


def test_the_published_axis_counts_records_of_ten_steps(sweep, tmp_path, drawn_by_grok):
    grokking(sweep, seeds=1)
    assert run(small_nn, sweep.folder, "--out", tmp_path) == 0
    accuracy = drawn_by_grok[0].axes[0]
    assert accuracy.get_xlim() == (0, 1000)
    assert accuracy.get_xscale() == "linear"
    (above,) = accuracy.child_axes
    assert above.get_xlim() == (0, 100)
    test = accuracy.lines[1]
    assert test.get_xdata().tolist() == list(STEPS[1:])
