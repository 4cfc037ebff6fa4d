"""The tidy frame of a metric: its columns, its rows, and folders of several trainers."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import store
from analysis.store import compact


def test_only_what_varies_is_a_column(sweep):
    sweep.grid((1e-4, 1e-3), seeds=(0, 1), epochs=5)
    frame = store.tidy(sweep.folder, "test_error")
    assert list(frame) == ["optim.weight_decay", "seed", "cell", "epoch", "test_error"]
    assert len(frame) == 4 * 6
    means = frame[frame["epoch"] == 5].groupby("optim.weight_decay")["test_error"].mean()
    assert means.index.tolist() == [1e-4, 1e-3]
    sweep_rows = store.curves(sweep.folder, ["test_error"])
    assert frame["test_error"].sum() == pytest.approx(sweep_rows["test_error"].sum())


def test_a_compacted_sweep_gives_the_same_frame_by_its_name(sweep, monkeypatch):
    sweep.grid((1e-4, 1e-3), seeds=(0, 1), epochs=5)
    before = store.tidy(sweep.folder, "test_error")
    compact.compact(sweep.folder)
    monkeypatch.setenv("REDESCENT_LOGS", str(sweep.folder.parent))
    pd.testing.assert_frame_equal(store.tidy("demo", "test_error"), before)


@pytest.mark.parametrize("first", ["a", "z"])
def test_columns_of_each_trainer_are_read_whatever_file_comes_first(sweep, first):
    for name, metric in ((first, "test_error"), ("m", "radius")):
        sweep.curves(name, [{"cell": name, "attempt": 1, "epoch": 1, metric: 0.5}])
        row = {"cell": name, "status": "done", "attempt": 1, "updated": 1.0}
        sweep.runs(name, [{**row, "trainer.name": metric, "seed": 0}])
    for metric, cell in (("test_error", first), ("radius", "m")):
        frame = store.tidy(sweep.folder, metric)
        assert frame.to_dict("records") == [{"cell": cell, metric: 0.5}]


def test_a_metric_that_no_file_has_is_refused_with_those_there_are(sweep):
    sweep.grid((1e-4,), seeds=(0,), epochs=2)
    with pytest.raises(ValueError, match=r"no curve column accuracy; there are .*test_error"):
        store.tidy(sweep.folder, "accuracy")
