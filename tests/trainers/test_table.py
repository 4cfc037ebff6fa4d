"""Rows of a file of the user's: the same from every format, split by the seed, standardised."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from trainers.config import ConfigError, LabelNoise, Table
from trainers.data import DataError, splits, table
from trainers.data.labelled import Labelled

CPU = torch.device("cpu")
CLEAN = LabelNoise("incorrect", 0.0, None, "nearest")
ROWS = 40
COLUMNS = {
    "first": np.arange(ROWS) * 0.5,
    "second": (np.arange(ROWS) * 7) % 11,
    "constant": np.full(ROWS, 3.0),
    "kind": np.array(["red", "blue", "green", "blue"] * (ROWS // 4)),
}


def settings(root: Path, **changes: Any) -> Table:
    keys: dict[str, Any] = {
        "name": "table", "root": str(root), "label": "kind", "features": None, "test_share": 0.25,
        "split_seed": None, "train_samples": None, "standardise": True, "label_noise": CLEAN,
    }  # fmt: skip
    return Table(**keys | changes)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """The rows as a CSV file."""
    pa.csv.write_csv(pa.table(COLUMNS), tmp_path / "rows.csv")
    return tmp_path / "rows.csv"


def test_all_formats_give_the_same_samples(csv: Path) -> None:
    parquet, npz = csv.with_suffix(".parquet"), csv.with_suffix(".npz")
    pa.parquet.write_table(pa.table(COLUMNS), parquet)
    np.savez(npz, **COLUMNS)
    hashes = {
        splits.load(settings(path), 0, CPU).facts["data_hash"] for path in (csv, parquet, npz)
    }
    assert len(hashes) == 1


def test_rows_are_split_by_the_seed_and_standardised_on_the_training_rows(csv: Path) -> None:
    data = splits.load(settings(csv), 0, CPU)
    assert data.train.images.shape == (30, 3, 1, 1)
    assert data.test.images.shape == (10, 3, 1, 1)
    assert data.classes == 3
    train = data.train.images[:, :, 0, 0].double()
    assert train.mean(0).abs().max() < 1e-6
    assert train[:, :2].std(0, unbiased=False).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert train[:, 2].abs().max() == 0  # the constant feature
    other = splits.load(settings(csv), 1, CPU)
    assert other.facts["data_hash"] != data.facts["data_hash"]
    fixed = [splits.load(settings(csv, split_seed=0), seed, CPU) for seed in (1, 2)]
    assert {one.facts["data_hash"] for one in fixed} == {data.facts["data_hash"]}


@pytest.mark.parametrize("value", [0.1, 0.3, 2.7, 5.0])
def test_a_feature_that_is_constant_over_the_training_rows_is_only_shifted(
    tmp_path: Path, value: float
) -> None:
    """The mean of 30 times 0.1 is not 0.1, and their deviation not 0."""
    path = tmp_path / "rows.csv"
    plain = {name: COLUMNS[name] for name in ("first", "kind")}
    pa.csv.write_csv(pa.table(plain), path)
    tested = table.dataset(settings(path, standardise=False), 0).test_inputs[:, 0]
    rare = np.where(np.isin(COLUMNS["first"], tested), value + 1, value)
    pa.csv.write_csv(pa.table({**plain, "rare": rare}), path)
    data = table.dataset(settings(path), 0)
    assert (data.train_inputs[:, 1] == 0).all()
    assert data.test_inputs[:, 1] == pytest.approx(np.ones(10))


def test_values_too_large_to_be_standardised_are_refused(tmp_path: Path) -> None:
    """Their deviation overflows; divided by it, the feature was 0 everywhere."""
    path = tmp_path / "rows.csv"
    columns = {"constant": np.full(ROWS, 1e305), "kind": COLUMNS["kind"]}
    pa.csv.write_csv(pa.table(columns), path)
    assert (table.dataset(settings(path), 0).train_inputs == 0).all()
    pa.csv.write_csv(pa.table({"huge": 1e305 * np.arange(ROWS), **columns}), path)
    with pytest.raises(DataError, match=r"values up to 3\.9e\+306, which are too large"):
        table.dataset(settings(path), 0)


def test_fewer_training_rows_are_among_more(csv: Path) -> None:
    few, many = (
        table.dataset(settings(csv, train_samples=n, standardise=False), 0) for n in (10, 20)
    )
    assert set(few.train_inputs[:, 0]) < set(many.train_inputs[:, 0])
    assert (few.test_inputs == many.test_inputs).all()


def test_labels_are_numbered_in_sorted_order_and_get_noise(csv: Path) -> None:
    chosen = settings(csv, features=("first",), test_share=0.0, standardise=False)
    data = table.dataset(chosen, 0)
    assert data.train_labels[:4].tolist() == [2, 0, 1, 0]  # red, blue, green, blue
    noise = LabelNoise("incorrect", 0.25, None, "nearest")
    noisy = splits.load(settings(csv, label_noise=noise), 0, CPU)
    assert noisy.facts["noise_chosen"] == round(30 * 0.25)
    assert not splits.load(chosen, 0, CPU).has_test


def test_columns_that_are_not_used_may_have_gaps_and_names_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,kind,note,note,gap\n1,red,x,y,\n2,blue,x,y,1\n3,red,x,y,2\n")
    assert table.dataset(settings(path, features=("a",)), 0).classes == 2
    with pytest.raises(DataError, match="column gap has missing values; fill them, or list"):
        table.dataset(settings(path, features=("a", "gap")), 0)


def test_an_index_that_pandas_wrote_is_no_feature(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [3.0, 1.0, 2.0], "kind": ["x", "y", "y"]}, index=[2, 0, 1])
    rows.to_csv(tmp_path / "rows.csv")
    pd.read_csv(tmp_path / "rows.csv").to_csv(tmp_path / "again.csv", index=False)
    rows.to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "again.csv", "rows.parquet"):
        with pytest.raises(DataError, match="looks like an index that pandas wrote"):
            table.dataset(settings(tmp_path / name), 0)
        data = table.dataset(settings(tmp_path / name, features=("a",)), 0)
        assert data.train_inputs.shape[1] == 1
    rows.reset_index(drop=True).to_parquet(tmp_path / "plain.parquet")
    assert table.dataset(settings(tmp_path / "plain.parquet"), 0).train_inputs.shape[1] == 1


def test_a_label_without_a_text_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,kind\n1,red\n2,\n3,blue\n")
    with pytest.raises(DataError, match="column kind has missing values"):
        table.dataset(settings(path), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "colour"}, "data.label: .* has no column 'colour'; its columns: first, second"),
        ({"features": ("first", "kind")}, "data.features: column kind .* expected numbers"),
        ({"label": "first"}, "data.label: column first .* expected one integer or text"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(
    csv: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        table.dataset(settings(csv, **changes), 0)


def test_files_that_cannot_be_used_are_named(tmp_path: Path, csv: Path) -> None:
    for path, message in (
        (tmp_path / "rows.txt", r"expected a file that ends in \.csv"),
        (tmp_path / "none.csv", "cannot be read as csv"),
    ):
        with pytest.raises(DataError, match=message):
            table.read(path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv is no regular file, expected a csv file"):
        table.read(tmp_path / "pipe.csv")
    (tmp_path / "text.npz").write_text("a,label")
    with pytest.raises(DataError, match=r"cannot be read as npz: it is not a zip archive"):
        table.read(tmp_path / "text.npz")
    (tmp_path / "twice.csv").write_text("a,a,label\n1,2,0\n3,4,1\n")
    with pytest.raises(DataError, match="2 columns have the name 'a'"):
        table.read(tmp_path / "twice.csv")
    (tmp_path / "gaps.csv").write_text("a,label\n1,0\n,1\n")
    with pytest.raises(DataError, match="column a has missing values"):
        table.read(tmp_path / "gaps.csv")
    with pytest.raises(ConfigError, match="found 31, expected at most 30"):
        table.dataset(settings(csv, train_samples=31), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": np.arange(30)}, "first has 40 rows and the label kind 30"),
        ({"first": np.zeros((39, 2))}, "first has 39 rows and the label kind 40"),
        ({"first": np.array(3.0)}, "first has 0 rows"),
        ({name: COLUMNS[name][:0] for name in COLUMNS}, "found 0 rows, expected at least 2"),
        ({"kind": np.array(["red"] * ROWS)}, "all rows of .* have the label red"),
    ],
)
def test_arrays_that_are_no_table_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "rows.npz", **COLUMNS | changes)
    with pytest.raises(DataError, match=message):
        table.dataset(settings(tmp_path / "rows.npz"), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1}, "classes: found 1, expected at least 2"),
        (
            {"train_inputs": np.zeros((0, 1)), "train_labels": np.zeros(0, np.int64)},
            "training data: found no samples",
        ),
        ({"train_labels": np.array([0, 3])}, "training labels: found 0 to 3, expected 0 to 1"),
        ({"train_labels": np.array([0.0, 1.0])}, "expected integers"),
        ({"train_labels": np.array([0])}, r"expected \(n, d\) or \(n, c, h, w\), and \(n,\)"),
        ({"train_inputs": np.array([[1.0], [np.nan]])}, "values that are not finite"),
        ({"test_inputs": np.zeros((1, 2)), "test_labels": np.array([0])}, "test inputs: found"),
        (
            {"test_inputs": np.zeros((1, 1), np.uint8), "test_labels": np.array([0])},
            "test inputs: found uint8 images, expected real features, as the training inputs",
        ),
    ],
)
def test_inputs_and_labels_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    arrays: dict[str, Any] = {
        "train_inputs": np.zeros((2, 1)), "train_labels": np.array([0, 1]),
        "test_inputs": np.zeros((0, 1)), "test_labels": np.zeros(0, np.int64), "classes": 2,
    }  # fmt: skip
    assert Labelled(**arrays).checked().train_inputs.shape == (2, 1, 1, 1)
    with pytest.raises(DataError, match=message):
        Labelled(**arrays | changes).checked()
