"""The published arrays as frames and as a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import store
from analysis.double_descent import published


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Four arrays of the published shape, with values that tell row and column."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    base = np.arange(1001)[:, None] + np.arange(92)[None, :] / 100
    for i, file in enumerate(published.FILES.values()):
        np.save(folder / file, base + 10_000 * i)
    return folder


def test_row_and_column_become_epoch_and_weight_decay(arrays):
    runs, curves = published.read(arrays)
    assert len(runs) == 92
    assert len(curves) == 92 * 1001
    assert runs["optim.weight_decay"].iloc[[0, 91]].to_numpy() == pytest.approx(
        [10**-0.7383838, 1e-8]
    )
    one = curves[(curves["cell"] == "published-017") & (curves["epoch"] == 5)].iloc[0]
    names = list(published.FILES)
    assert [one[n] for n in names] == [4 + 0.17 + 10_000 * i for i in range(4)]
    assert curves["test_error"].dtype == np.float64
    assert set(runs["seeds"]) == {5}
    assert "offset" in runs["note"].iloc[0]
    assert published.is_published(runs)


def test_import_writes_a_store_that_reads_the_same(arrays, tmp_path):
    folder = published.import_published(arrays, tmp_path / "logs" / "published")
    runs, curves = published.read(arrays)
    stored = store.curves(folder)
    pd.testing.assert_frame_equal(stored[curves.columns], curves, check_categorical=False)
    result = store.runs(folder)
    pd.testing.assert_frame_equal(result[runs.columns], runs, check_dtype=False)
    assert len(pd.read_json(folder / "store" / "manifest.json")) == 2
    with pytest.raises(store.StoreError, match="has a store already"):
        published.import_published(arrays, folder)


def test_one_error_names_all_that_is_wrong(arrays):
    (arrays / "resnet-train-errors_std.npy").unlink()
    np.save(arrays / "resnet-test-errors_mean.npy", np.zeros((92, 1001)))
    with pytest.raises(
        store.StoreError,
        match=r"(?s)train-errors_std.npy is missing.*test-errors_mean.npy has shape",
    ):
        published.read(arrays)


def test_arrays_of_other_types_are_named(arrays):
    np.save(arrays / "resnet-test-errors_mean.npy", np.zeros((1001, 92), complex))
    with (arrays / "resnet-test-errors_std.npy").open("wb") as file:
        np.savez(file, a=np.zeros(2))
    (arrays / "resnet-train-errors_std.npy").write_bytes(b"")
    with pytest.raises(store.StoreError) as error:
        published.read(arrays)
    for text in ("test-errors_mean.npy has values of type complex128", "is an archive of arrays"):
        assert text in str(error.value)
    assert "train-errors_std.npy is no npy array" in str(error.value)


def test_counts_behind_the_published_train_errors_stay_exact(reference):
    _, curves = published.read(reference)
    counts = curves["train_error"].to_numpy() * 391 * 640 * 5
    assert np.abs(counts - counts.round()).max() < 1e-6
    shares = curves["test_error"].to_numpy() * 50_000
    assert (np.abs(shares - shares.round()) < 1e-6).mean() < 0.01
