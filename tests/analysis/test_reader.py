"""Reading runs and curves from sweeps in every state."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import store
from analysis.store import compact, described, listing, merge, parts


def row(cell: str, attempt: int, epoch: int, error: float, **more: float) -> dict[str, object]:
    return {"cell": cell, "attempt": attempt, "epoch": epoch, "test_error": error, **more}


def record(
    cell: str, attempt: int, updated: float, status: str, **more: object
) -> dict[str, object]:
    return {"cell": cell, "status": status, "attempt": attempt, "updated": updated, **more}


def test_parts_with_another_unit_of_a_metric_are_read_together(sweep):
    for name, cell, unit in (("a1", "a", "nats"), ("a2", "b", "1 / nats")):
        path = sweep.curves(name, [row(cell, 1, 1, 0.5)])
        table = pq.read_table(path)
        index = table.schema.get_field_index("test_error")
        field = table.schema.field(index).with_metadata({"unit": unit, "meaning": "density"})
        pq.write_table(table.cast(table.schema.set(index, field)), path)
    assert store.curves(sweep.folder)["test_error"].tolist() == [0.5, 0.5]
    compact.compact(sweep.folder)
    assert store.curves(sweep.folder)["test_error"].tolist() == [0.5, 0.5]
    (metric,) = [m for m in described.metrics(sweep.folder) if m.name == "test_error"]
    assert metric.unit in ("nats", "1 / nats")


def test_curves_keep_the_newest_attempt_of_each_epoch_in_order(sweep):
    sweep.curves("a1", [row("b", 1, e, 0.5) for e in (1, 2, 3)] + [row("a", 1, 1, 0.25)])
    sweep.curves("a2", [row("b", 2, e, 0.125) for e in (3, 4)])
    frame = store.curves(sweep.folder)
    assert frame["cell"].astype(str).tolist() == ["a", "b", "b", "b", "b"]
    assert frame["epoch"].tolist() == [1, 1, 2, 3, 4]
    assert frame["attempt"].tolist() == [1, 1, 1, 2, 2]
    assert frame["test_error"].tolist() == [0.25, 0.5, 0.5, 0.125, 0.125]
    assert list(frame.index) == list(range(5))
    assert (frame["attempt"].dtype, frame["epoch"].dtype, frame["test_error"].dtype) == (
        "int16",
        "int32",
        "float32",
    )


def test_curves_drop_one_of_two_equal_rows(sweep):
    for name in ("one", "two"):
        sweep.curves(name, [row("a", 1, 1, 0.5)])
    assert len(store.curves(sweep.folder)) == 1


def test_curves_limit_columns_and_cells(sweep):
    sweep.curves(
        "p",
        [
            row("a", 1, 1, 0.5, train_error=0.4, lr=0.1),
            row("b", 1, 1, 0.25, train_error=0.3, lr=0.1),
        ],
    )
    frame = store.curves(sweep.folder, columns=["train_error"], cells=["b"])
    assert list(frame.columns) == ["cell", "attempt", "epoch", "train_error"]
    assert frame["train_error"].tolist() == [np.float32(0.3)]
    assert store.curves(sweep.folder, cells=["absent"]).empty


def test_a_metric_that_only_some_parts_have_is_missing_elsewhere(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5)])
    sweep.curves("q", [{"cell": "b", "attempt": 1, "epoch": 1, "test_wrong": 7}])
    frame = store.curves(sweep.folder)
    assert np.isnan(frame["test_error"]).tolist() == [False, True]
    assert np.isnan(frame["test_wrong"]).tolist() == [True, False]


def test_an_unknown_metric_is_an_error_that_lists_the_known_ones(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5)])
    with pytest.raises(
        ValueError, match="no curve column tst_error; there are attempt, cell, epoch, test_error"
    ):
        store.curves(sweep.folder, columns=["tst_error"])


def test_runs_take_the_record_with_the_newest_attempt_then_the_newest_time(sweep):
    sweep.runs("p", [record("a", 1, 50.0, "preempted"), record("b", 1, 1.0, "running")])
    sweep.runs("q", [record("a", 2, 9.0, "running"), record("b", 1, 2.0, "done")])
    sweep.runs("r", [record("a", 2, 10.0, "done")])
    frame = store.runs(sweep.folder)
    assert frame[["cell", "status", "attempts"]].values.tolist() == [
        ["a", "done", 2],
        ["b", "done", 1],
    ]


def test_runs_include_planned_cells_without_records(sweep):
    sweep.plan({"model.width": 8}, {"a": {"seed": 0}, "b": {"seed": 1, "model.width": 16}})
    sweep.runs("p", [record("a", 1, 1.0, "done", seed=0, **{"model.width": 8})])
    frame = store.runs(sweep.folder)
    assert frame["status"].tolist() == ["done", "missing"]
    assert frame["attempts"].tolist() == [1, 0]
    assert frame["model.width"].tolist() == [8, 16]
    assert frame["attempt"].isna().tolist() == [False, True]


def test_runs_of_a_sweep_that_is_only_planned_are_all_missing(sweep):
    sweep.plan({"model.width": 8}, {"b": {"seed": 0}, "a": {"seed": 1}})
    sweep.plan({"model.width": 8}, {"a": {"seed": 1}}, name="S2")
    frame = store.runs(sweep.folder)
    assert frame["cell"].tolist() == ["a", "b"]
    assert set(frame["status"]) == {"missing"}


def test_a_configuration_column_of_mixed_types_is_read(sweep):
    sweep.runs(
        "p", [record("a", 1, 1.0, "done", **{"optim.weight_decay": 0, "model.norm": "batch"})]
    )
    sweep.runs(
        "q", [record("b", 1, 1.0, "done", **{"optim.weight_decay": 1e-4, "model.norm": False})]
    )
    frame = store.runs(sweep.folder)
    assert frame["optim.weight_decay"].tolist() == [0.0, 1e-4]
    assert frame["model.norm"].tolist() == ["batch", "false"]


@pytest.mark.parametrize("compacted", [False, True])
def test_records_without_a_later_fact_are_read_beside_those_with_it(sweep, compacted: bool):
    sweep.runs("p", [record("a", 1, 1.0, "done", precision="float32")])
    sweep.runs("q", [record("b", 1, 1.0, "done", precision="float32", matrix_library="mkl")])
    for name, cell in (("p", "a"), ("q", "b")):
        sweep.curves(name, [row(cell, 1, 1, 0.5)])
    if compacted:
        compact.compact(sweep.folder)
    frame = store.runs(sweep.folder)
    assert frame["matrix_library"].isna().tolist() == [True, False]
    assert frame["matrix_library"].iloc[1] == "mkl"


def test_an_absent_folder_is_named_with_its_neighbours(sweep):
    (sweep.folder / "runs").mkdir(exist_ok=True)
    sweep.folder.with_name("figures").mkdir()
    with pytest.raises(
        store.StoreError,
        match=r"(?s)dmeo: found nothing, expected the log folder.*there are: demo$",
    ):
        store.runs(sweep.folder.with_name("dmeo"))
    assert issubclass(store.StoreError, FileNotFoundError)


@pytest.mark.parametrize("read", [store.runs, store.curves])
def test_an_empty_folder_says_what_was_expected_and_what_to_do(
    sweep, read: Callable[[Path], pd.DataFrame]
):
    with pytest.raises(
        store.StoreError, match=r"an empty folder; expected .*Run `redescent submit demo`"
    ):
        read(sweep.folder)


def test_a_truncated_part_is_named_with_a_remedy(sweep):
    path = sweep.curves("p", [row("a", 1, 1, 0.5)])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        store.StoreError, match=r"p\.parquet: not a complete Parquet file.*redescent resume"
    ):
        store.curves(sweep.folder)


def test_a_file_of_a_newer_schema_is_refused(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5)], version="2")
    with pytest.raises(store.StoreError, match="schema version 2, but this code reads up to 1"):
        store.curves(sweep.folder)


def test_a_damaged_plan_or_manifest_is_named(sweep):
    plan = sweep.plan({}, {"a": {}})
    plan.write_text(plan.read_text()[:-5])
    with pytest.raises(store.StoreError, match=r"plan\.json: not a plan"):
        store.runs(sweep.folder)
    (sweep.folder / "store").mkdir()
    (sweep.folder / "store" / "manifest.json").write_text("{}")
    with pytest.raises(store.StoreError, match=r"manifest\.json: not a store manifest"):
        store.curves(sweep.folder)


def test_files_still_being_written_are_ignored(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5)])
    for name in (".q.parquet", "tmp-q.parquet"):
        (sweep.folder / "curves" / name).write_bytes(b"half")
    assert len(store.curves(sweep.folder)) == 1


def test_a_part_that_vanishes_between_listing_and_reading_is_skipped(sweep, monkeypatch):
    sweep.curves("p", [row("a", 1, 1, 0.5)])
    missing_cells = sweep.curves("q", [row("b", 1, 1, 0.5)])
    read, calls = parts.pq.ParquetFile, []

    def vanish(path: Path, **options: object) -> object:
        calls.append(path)
        if path == missing_cells:
            missing_cells.unlink(missing_ok=True)
        return read(path, **options)

    monkeypatch.setattr(parts.pq, "ParquetFile", vanish)
    assert store.curves(sweep.folder)["cell"].astype(str).tolist() == ["a"]
    assert len(calls) == 2


def test_a_compaction_that_ends_while_parts_are_read_hides_no_row(sweep, monkeypatch):
    for cell in "abc":
        sweep.curves(cell, [row(cell, 1, 1, 0.5)])
    original, calls = parts.pq.ParquetFile, []

    def compact_first(path: Path, **options: object) -> object:
        calls.append(path)
        if len(calls) == 2:
            monkeypatch.setattr(parts.pq, "ParquetFile", original)
            compact.compact(sweep.folder)
        return original(path, **options)

    monkeypatch.setattr(parts.pq, "ParquetFile", compact_first)
    assert store.curves(sweep.folder)["cell"].astype(str).tolist() == ["a", "b", "c"]
    assert not list((sweep.folder / "curves").iterdir())


def test_cells_whose_rows_went_with_a_shard_are_not_done(sweep):
    for cell in "ab":
        sweep.curves(cell, [row(cell, 1, 1, 0.5)])
        sweep.runs(cell, [record(cell, 1, 1.0, "done") | {"epochs": 1}])
    compact.compact(sweep.folder, rows_in_memory=1)
    first, _ = sorted((sweep.folder / "store").glob("curves-*"))
    first.unlink()
    assert store.runs(sweep.folder)["status"].tolist() == ["stopped", "done"]
    assert store.curves(sweep.folder)["cell"].tolist() == ["b"]
    sweep.curves("again", [row("a", 2, 1, 0.5)])
    sweep.runs("again", [record("a", 2, 2.0, "done") | {"epochs": 1}])
    assert store.runs(sweep.folder)["status"].tolist() == ["done", "done"]


def test_of_a_shard_of_records_that_is_gone_the_rows_stay(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5)])
    sweep.runs("p", [record("a", 1, 1.0, "done") | {"epochs": 1}])
    sweep.plan({"seed": 0}, {"a": {}})
    compact.compact(sweep.folder)
    next((sweep.folder / "store").glob("runs-*")).unlink()
    assert store.runs(sweep.folder)["status"].tolist() == ["missing"]
    assert len(store.curves(sweep.folder)) == 1


def test_pandas_and_duckdb_read_the_parts_as_they_are(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5), row("a", 1, 2, 0.25)])
    sweep.curves("q", [row("b", 1, 1, 0.5)])
    sweep.runs("p", [record("a", 1, 1.0, "done"), record("b", 1, 1.0, "done")])
    assert len(pd.read_parquet(sweep.folder / "curves")) == 3
    query = (
        f"select r.cell, count(*) from '{sweep.folder}/curves/*.parquet' c join "
        f"'{sweep.folder}/runs/*.parquet' r "
        "on c.cell = r.cell group by 1 order by 1"
    )
    assert duckdb.sql(query).fetchall() == [("a", 2), ("b", 1)]


def test_pandas_reads_the_columns_of_every_trainer_after_compaction(sweep):
    sweep.curves("p", [row("a", 1, 1, 0.5), row("a", 1, 2, 0.25)])
    sweep.curves("q", [{"cell": "b", "attempt": 1, "epoch": 1, "accuracy": 0.75}])
    sweep.runs("p", [record("a", 1, 1.0, "done"), record("b", 1, 1.0, "done")])
    assert compact.compact(sweep.folder, rows_in_memory=1).shards == 2
    shards = sorted((sweep.folder / "store").glob("curves-*.parquet"))
    for files in (shards, shards[::-1]):
        frame = pd.read_parquet(files).set_index("cell")
        assert frame.loc["b", "accuracy"] == 0.75
        assert frame.loc["a", "test_error"].tolist() == [0.5, 0.25]
    assert store.curves(sweep.folder)["accuracy"].tolist()[2] == 0.75


ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.integers(0, 4), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


@given(ROWS, st.integers(1, 4))
def test_merging_equals_a_dictionary_of_newest_rows(
    rows: list[tuple[str, int, int, int]], files: int
):
    unique = {(c, a, e): v for c, a, e, v in rows}
    entries = [(*key, value) for key, value in unique.items()]
    tables = []
    for part in (entries[i::files] for i in range(files)):
        cells, attempts, epochs, values = zip(*part, strict=True) if part else ((), (), (), ())
        tables.append(
            pa.table(
                {
                    "cell": pa.array(cells, pa.string()).dictionary_encode().cast(parts.CELL_TYPE),
                    "attempt": pa.array(attempts, pa.int16()),
                    "epoch": pa.array(epochs, pa.int32()),
                    "x": pa.array(values, pa.int32()),
                }
            )
        )
    expected: dict[tuple[str, int], tuple[int, int]] = {}
    for cell, attempt, epoch, value in entries:
        expected[cell, epoch] = max(expected.get((cell, epoch), (0, 0)), (attempt, value))
    result = merge.newest_curves(merge.concatenate(tables)).to_pylist()
    assert [(r["cell"], r["epoch"]) for r in result] == sorted(expected)
    assert {(r["cell"], r["epoch"]): (r["attempt"], r["x"]) for r in result} == expected


@given(ROWS, st.randoms(use_true_random=False))
def test_merging_runs_depends_neither_on_order_nor_on_steps(rows, random):
    records = [{"cell": c, "attempt": a, "updated": float(u), "epochs": e} for c, a, e, u in rows]
    records = list({(r["cell"], r["attempt"], r["updated"]): r for r in records}.values())
    shuffled = random.sample(records, len(records))

    def table(part: list[dict[str, object]]) -> pa.Table:
        plain = pa.Table.from_pylist(part)
        return plain.set_column(0, "cell", plain["cell"].dictionary_encode().cast(parts.CELL_TYPE))

    complete = merge.newest_runs(table(records)).to_pylist()
    half = len(shuffled) // 2
    first = [merge.newest_runs(table(shuffled[:half]))] if half else []
    assert (
        merge.newest_runs(merge.concatenate([*first, table(shuffled[half:])])).to_pylist()
        == complete
    )
    assert [r["attempts"] for r in complete] == [
        len({r["attempt"] for r in records if r["cell"] == cell})
        for cell in sorted({r["cell"] for r in records})
    ]


def test_records_are_the_newest_of_each_attempt_oldest_attempt_first(sweep):
    sweep.runs("p", [record("a", 2, 30.0, "running"), record("b", 1, 5.0, "done")])
    sweep.runs("q", [record("a", 2, 40.0, "failed", error_class="error")])
    sweep.runs("r", [record("a", 1, 10.0, "preempted")])
    records = store.records(sweep.folder, "a")
    assert [(r["attempt"], r["status"]) for r in records] == [(1, "preempted"), (2, "failed")]
    assert [r["error_class"] for r in records] == [None, "error"]
    assert store.records(sweep.folder, "c") == []


def test_records_have_the_final_result_of_an_attempt_as_runs_do(sweep):
    sweep.runs("p", [record("a", 1, 10.0, "done")])
    sweep.runs("q", [record("a", 1, 20.0, "running")])
    assert [r["status"] for r in store.records(sweep.folder, "a")] == ["done"]
    assert store.runs(sweep.folder)["status"].tolist() == ["done"]


def test_a_final_record_beats_a_later_record_of_a_twin(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name, status, updated in (("fast", "done", 1.0), ("slow", "running", 2.0)):
        record = {"cell": "c", "status": status, "attempt": 1, "updated": updated}
        pq.write_table(pa.Table.from_pylist([record]), folder / f"{name}.parquet")
    assert store.runs(tmp_path)["status"].tolist() == ["done"]


def test_equal_rows_are_equal_frames_whatever_files_they_came_from(tmp_path: Path) -> None:
    frames = []
    for sweep, names in (("one", ("x", "y")), ("two", ("y", "x"))):
        folder = tmp_path / sweep / "curves"
        folder.mkdir(parents=True)
        for name, cell in zip(names, ("a", "b"), strict=True):
            table = pa.table(
                {"cell": pa.array([cell]).dictionary_encode(), "attempt": [1], "epoch": [1]}
            )
            pq.write_table(table, folder / f"{name}.parquet")
        frames.append(store.curves(tmp_path / sweep))
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom permissions bind."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)


def test_a_folder_that_may_not_be_read_does_not_look_empty() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name) / "runs"
        folder.mkdir(mode=0o700)
        if os.geteuid() != 0:
            folder.chmod(0o000)
        with without_privileges():
            with pytest.raises(store.StoreError, match="cannot be listed"):
                listing.list_parts(folder)
            assert listing.list_parts(Path(name) / "absent") == ()
        folder.chmod(0o700)


def test_some_columns_of_the_runs_come_with_the_planned_configuration(sweep):
    cells = {cell: {"seed": seed} for seed, cell in enumerate("abc")}
    sweep.plan({"model.width": 8}, cells)
    more = {"model.width": 8, "host": "n1", "seconds": 2.0}
    sweep.runs("p", [record("a", 1, 1.0, "running", seed=0, **more)])
    sweep.runs("q", [record("a", 2, 2.0, "done", seed=0, **more)])
    sweep.runs("r", [record("c", 1, 1.0, "failed", seed=2, **more)])
    frame = store.runs(sweep.folder, ["seconds"])
    assert "host" not in frame
    assert frame["cell"].tolist() == ["a", "b", "c"]
    assert frame["status"].tolist() == ["done", "missing", "failed"]
    assert frame["attempts"].tolist() == [2, 0, 1]
    assert frame["seconds"].fillna(-1).tolist() == [2.0, -1.0, 2.0]
    everything = store.runs(sweep.folder)
    for name in ("cell", "status", "attempt", "attempts", "seconds", "seed", "model.width"):
        pd.testing.assert_series_equal(frame[name], everything[name], check_dtype=False)


def test_some_columns_of_runs_without_a_plan_have_the_recorded_configuration(sweep):
    sweep.plan({"model.width": 8}, {"a": {"seed": 0}})
    sweep.runs("p", [record("a", 1, 1.0, "done", seed=0, **{"model.width": 8})])
    sweep.runs("q", [record("x", 1, 1.0, "done", seed=7, **{"model.width": 16})])
    frame = store.runs(sweep.folder, ["status"])
    assert frame["seed"].tolist() == [0, 7]
    assert frame["model.width"].tolist() == [8, 16]


def test_some_columns_of_the_runs_are_the_same_after_a_compaction(sweep):
    sweep.plan({"model.width": 8}, {"a": {"seed": 0}, "b": {"seed": 1}})
    for attempt in (1, 2):
        status = "done" if attempt == 2 else "stopped"
        sweep.runs(f"p{attempt}", [record("a", attempt, 1.0, status, seconds=2.0)])
    before = store.runs(sweep.folder, ["seconds"])
    compact.compact(sweep.folder)
    pd.testing.assert_frame_equal(store.runs(sweep.folder, ["seconds"]), before)
    assert before["attempts"].tolist() == [2, 0]


def test_a_column_that_no_record_has_is_left_out_of_the_runs(sweep):
    sweep.plan({"model.width": 8}, {"a": {"seed": 0}})
    sweep.runs("p", [record("a", 1, 1.0, "done")])
    assert "secnds" not in store.runs(sweep.folder, ["secnds"])


@pytest.mark.parametrize("compacted", [False, True])
def test_a_cell_trained_once_more_keeps_its_rows_until_the_new_ones_are_whole(
    sweep, compacted: bool
):
    sweep.curves("old", [row("a", 1, 1, 0.5), row("a", 1, 2, 0.4), row("b", 1, 1, 0.9)])
    sweep.runs("old", [record("a", 1, 1.0, "done"), record("b", 1, 1.0, "running")])
    sweep.curves("new", [row("a", 2, 1, 0.3), row("b", 2, 1, 0.8)])
    sweep.runs("new", [record("a", 2, 2.0, "running"), record("b", 2, 2.0, "running")])
    if compacted:
        compact.compact(sweep.folder)
    frame = store.curves(sweep.folder)
    assert frame["attempt"].tolist() == [1, 1, 2]
    sweep.curves("new", [row("a", 2, 1, 0.3), row("a", 2, 2, 0.2)])
    sweep.runs("new", [record("a", 2, 3.0, "done")])
    frame = store.curves(sweep.folder, cells=["a"])
    assert frame["attempt"].tolist() == [2, 2]
    assert frame["test_error"].tolist() == [np.float32(0.3), np.float32(0.2)]


@pytest.mark.parametrize("compacted", [False, True])
def test_a_cell_trained_once_more_has_no_row_of_the_earlier_training(sweep, compacted: bool):
    old = [row("a", 1, epoch, 0.5) for epoch in (1, 2, 3, 4)]
    sweep.curves("old", old)
    sweep.runs("old", [record("a", 1, 1.0, "done", first_attempt=1)])
    # attempt 3 resumed from the checkpoint of attempt 2, and ended before the earlier training
    sweep.curves("new", [row("a", 2, 1, 0.3), row("a", 3, 2, 0.2)])
    running = sweep.runs("new", [record("a", 3, 2.0, "running", first_attempt=2)])
    assert store.curves(sweep.folder)["attempt"].tolist() == [1, 1, 1, 1]
    running.unlink()
    sweep.runs("new", [record("a", 3, 3.0, "done", first_attempt=2)])
    if compacted:
        compact.compact(sweep.folder)
    frame = store.curves(sweep.folder)
    assert frame["attempt"].tolist() == [2, 3]
    assert frame["test_error"].tolist() == [np.float32(0.3), np.float32(0.2)]


def test_earlier_attempts_are_known_after_compactions(sweep):
    sweep.plan({"model.width": 8}, {"a": {"seed": 0}, "b": {"seed": 1}})
    sweep.runs("p1", [record("a", 1, 1.0, "stopped", host="n1", error_class="cancelled")])
    sweep.runs("q1", [record("b", 1, 1.0, "done", host="n1")])
    compact.compact(sweep.folder)
    sweep.runs("p2", [record("a", 2, 2.0, "failed", host="n2", error_class="error")])
    before = store.records(sweep.folder, "a")
    compact.compact(sweep.folder)
    sweep.runs("p3", [record("a", 3, 3.0, "done", host="n3")])
    compact.compact(sweep.folder)
    records = store.records(sweep.folder, "a")
    shown = [(each["attempt"], each["host"], each["error_class"]) for each in records]
    assert shown == [(1, "n1", "cancelled"), (2, "n2", "error"), (3, "n3", None)]
    assert [each["attempt"] for each in before] == [1, 2]
    assert [each["attempt"] for each in store.records(sweep.folder, "b")] == [1]
    assert "other_attempts" not in store.runs(sweep.folder)
    assert store.runs(sweep.folder)["attempts"].tolist() == [3, 1]


def test_attempts_of_a_new_training_without_a_result_are_known_after_a_compaction(sweep):
    sweep.runs("p1", [record("a", 1, 1.0, "done", host="n1")])
    sweep.runs("p2", [record("a", 2, 2.0, "stopped", host="n2", error_class="cancelled")])
    compact.compact(sweep.folder)
    assert store.runs(sweep.folder)["attempt"].tolist() == [1]
    records = store.records(sweep.folder, "a")
    assert [(each["attempt"], each["status"]) for each in records] == [(1, "done"), (2, "stopped")]
