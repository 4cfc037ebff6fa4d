"""Compaction loses nothing, at whatever moment it dies and whoever writes meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import store
from analysis.store import claim, compact
from analysis.store.compact import Source, buckets


def fill(sweep, cells: str = "abcd", epochs: int = 5, name: str = "p") -> None:
    for cell in cells:
        rows = [
            {
                "cell": cell,
                "attempt": 1,
                "epoch": e,
                "seconds": 1.0 * e,
                "test_error": 1 / (1 + e),
                "test_wrong": e,
            }
            for e in range(1, epochs + 1)
        ]
        sweep.curves(f"{name}{cell}", rows)
        sweep.runs(
            f"{name}{cell}",
            [{"cell": cell, "status": "done", "attempt": 1, "updated": 1.0, "seed": 0}],
        )


def read_both(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    curves = store.curves(folder)
    return store.runs(folder), curves.assign(cell=curves["cell"].astype(str))


def same(
    result: tuple[pd.DataFrame, pd.DataFrame], expected: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    for a, b in zip(result, expected, strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_reading_is_the_same_before_and_after(sweep):
    fill(sweep)
    before = read_both(sweep.folder)
    report = compact.compact(sweep.folder, rows_in_memory=10)
    same(read_both(sweep.folder), before)
    assert (report.cells, report.rows, report.shards, report.files_before) == (4, 20, 2, 8)
    assert report.files_after == 4  # two shards, the runs table and the manifest
    assert report.mismatches.empty
    assert not list((sweep.folder / "curves").iterdir())


@pytest.mark.parametrize("more", ["", "e"], ids=["alone", "with new parts"])
def test_a_store_that_lost_its_manifest_is_whole_with_the_next_one(sweep, more):
    fill(sweep)
    compact.compact(sweep.folder, rows_in_memory=10)
    fill(sweep, more)
    before = read_both(sweep.folder)
    (sweep.folder / "store" / "manifest.json").unlink()
    same(read_both(sweep.folder), before)
    report = compact.compact(sweep.folder)
    same(read_both(sweep.folder), before)
    assert (report.cells, report.shards, report.files_after) == (4 + len(more), 1, 3)


def test_a_store_that_lost_a_shard_is_written_again_without_it(sweep):
    fill(sweep)
    compact.compact(sweep.folder, rows_in_memory=10)
    min((sweep.folder / "store").glob("curves-*")).unlink()
    before = read_both(sweep.folder)
    assert compact.compact(sweep.folder).rows == 10
    same(read_both(sweep.folder), before)
    assert compact.store_is_whole(sweep.folder)


def test_shards_lost_under_their_manifest_are_never_shadowed_by_new_ones(sweep):
    fill(sweep)
    compact.compact(sweep.folder)
    for path in (sweep.folder / "store").glob("*.parquet"):
        path.unlink()
    for _ in range(2):
        fill(sweep)
        expected = read_both(sweep.folder)
        compact.compact(sweep.folder)
        same(read_both(sweep.folder), expected)
    assert len(expected[1]) == 20


def backup_with_newer_files(sweep) -> Path:
    """A store of two generations whose manifest is that of the first; returns the manifest."""
    fill(sweep, "ab")
    compact.compact(sweep.folder)
    manifest = sweep.folder / "store" / "manifest.json"
    backup = manifest.read_text()
    fill(sweep, "cd")
    compact.compact(sweep.folder)
    manifest.write_text(backup)
    return manifest


@pytest.mark.parametrize("more", ["", "e"], ids=["alone", "with new parts"])
def test_the_manifest_of_other_files_is_refused_and_nothing_is_deleted(sweep, more):
    manifest = backup_with_newer_files(sweep)
    fill(sweep, more)
    before = {path: path.read_bytes() for path in sweep.folder.rglob("*.parquet")}
    for action in (compact.compact, store.runs, store.curves):
        with pytest.raises(store.StoreError, match=r"names curves-000001.*lacks curves-000002"):
            action(sweep.folder)
    assert {path: path.read_bytes() for path in sweep.folder.rglob("*.parquet")} == before
    manifest.unlink()  # as the message advises
    assert compact.compact(sweep.folder).cells == 4 + len(more)


@pytest.mark.parametrize(
    "entry",
    [
        {"file": "../../mine/precious.parquet", "kind": "curves"},
        {"file": "precious.parquet", "kind": "curves"},
        {"file": "curves-000001-0000.parquet", "kind": "runs"},
        {"file": 5, "kind": "runs"},
        {"kind": "runs"},
        "runs-000001.parquet",
    ],
)
def test_a_manifest_that_names_other_files_is_refused(sweep, entry):
    fill(sweep)
    compact.compact(sweep.folder)
    mine = sweep.folder.parent / "mine"
    mine.mkdir()
    (mine / "precious.parquet").write_text("mine")
    manifest = sweep.folder / "store" / "manifest.json"
    manifest.write_text(json.dumps([*json.loads(manifest.read_text()), entry]))
    fill(sweep, "e")
    with pytest.raises(store.StoreError, match="not a store manifest"):
        compact.compact(sweep.folder)
    assert (mine / "precious.parquet").exists()
    assert len(list((sweep.folder / "curves").iterdir())) == 1


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"{}", b"5", b""])
def test_a_damaged_manifest_is_refused(sweep, content):
    fill(sweep)
    compact.compact(sweep.folder)
    (sweep.folder / "store" / "manifest.json").write_bytes(content)
    for action in (compact.compact, store.runs):
        with pytest.raises(store.StoreError, match="not a store manifest"):
            action(sweep.folder)


@pytest.mark.parametrize("kind", ["curves", "runs"])
def test_every_changed_byte_of_the_store_is_found(sweep, kind):
    fill(sweep)
    compact.compact(sweep.folder)
    path = next((sweep.folder / "store").glob(f"{kind}-*"))
    content = path.read_bytes()
    read = store.curves if kind == "curves" else store.runs
    for position in range(0, len(content), max(len(content) // 50, 1)):
        changed = bytearray(content)
        changed[position] ^= 16
        path.write_bytes(changed)
        with pytest.raises(store.StoreError, match="changed since it was written"):
            read(sweep.folder)
        fill(sweep, "e")
        with pytest.raises(store.StoreError, match="changed since it was written"):
            compact.compact(sweep.folder)
    path.write_bytes(content)
    assert compact.compact(sweep.folder).cells == 5


def test_a_generation_that_was_not_written_as_meant_deletes_nothing(sweep, monkeypatch):
    fill(sweep)
    write = compact.write_runs

    def truncating(root: Path, number: int, table: object) -> object:
        record = write(root, number, table)
        (root / "store" / record["file"]).write_bytes(b"PAR1")
        return record

    monkeypatch.setattr(compact, "write_runs", truncating)
    with pytest.raises(store.StoreError, match="changed since it was written"):
        compact.compact(sweep.folder)
    assert len(list((sweep.folder / "curves").iterdir())) == 4
    assert not (sweep.folder / "store" / "manifest.json").exists()


def test_checkpoints_that_outlived_their_cell_go(sweep):
    fill(sweep, "ab")
    sweep.runs("pc", [{"cell": "c", "status": "stopped", "attempt": 1, "updated": 1.0, "seed": 0}])
    (sweep.folder / "checkpoints").mkdir()
    for cell in "abc":
        (sweep.folder / "checkpoints" / f"{cell}.00001.S1.00000.r0.x.0.pt").touch()
    for name in ("best.pt", "a.pt"):  # of the user's
        (sweep.folder / "checkpoints" / name).touch()
    compact.compact(sweep.folder)
    left = sorted(path.name for path in (sweep.folder / "checkpoints").iterdir())
    assert left == ["a.pt", "best.pt", "c.00001.S1.00000.r0.x.0.pt"]


def test_checkpoints_of_a_cell_that_trains_again_stay_until_its_new_result(sweep):
    fill(sweep, "ab")
    for sid, plan in (("S1", {}), ("S2", {"rerun": True})):
        (sweep.folder / "submissions" / sid).mkdir(parents=True)
        (sweep.folder / "submissions" / sid / "plan.json").write_text(json.dumps(plan))
    (sweep.folder / "checkpoints").mkdir()
    names = ("a.00002.S2.00000.r0.x.0.pt", "b.00002.S1.00000.r1.x.0.pt")
    for name in names:
        (sweep.folder / "checkpoints" / name).touch()
    compact.compact(sweep.folder)
    # of b, a second execution of the task that finished it has saved one
    assert [path.name for path in (sweep.folder / "checkpoints").iterdir()] == [names[0]]
    position = {"cell": "a", "attempt": 3, "seed": 0}
    sweep.curves("new", [{**position, "epoch": 1, "seconds": 1.0, "test_error": 0.1}])
    sweep.runs("new", [{**position, "status": "done", "updated": 9.0}])
    compact.compact(sweep.folder)
    assert not list((sweep.folder / "checkpoints").iterdir())


def test_the_manifest_describes_every_file_and_is_a_table(sweep):
    fill(sweep)
    compact.compact(sweep.folder)
    path = sweep.folder / "store" / "manifest.json"
    table = pd.read_json(path)
    assert set(table.columns) == {"file", "kind", "rows", "bytes", "sha256", "cells", "schema"}
    assert sorted(table["kind"]) == ["curves", "runs"]
    for entry in table.itertuples():
        assert (sweep.folder / "store" / entry.file).stat().st_size == entry.bytes
    assert duckdb.sql(f"select sum(rows) from '{path}' where kind = 'curves'").fetchall() == [(20,)]
    runs = duckdb.sql(
        f"select cell, attempts from '{sweep.folder}/store/runs-*.parquet' order by 1"
    ).fetchall()
    assert runs == [(cell, 1) for cell in "abcd"]


def test_units_and_schema_version_survive(sweep):
    fill(sweep)
    compact.compact(sweep.folder)
    schema = pq.read_schema(next((sweep.folder / "store").glob("curves-*")))
    assert schema.field("test_error").metadata == {b"unit": b"1", b"meaning": b"the test_error"}
    assert schema.metadata[b"redescent.schema"] == b"1"


def test_store_and_new_parts_are_read_and_merged_together(sweep):
    fill(sweep, "ab")
    compact.compact(sweep.folder)
    fill(sweep, "cd")
    sweep.curves(
        "late",
        [
            {
                "cell": "a",
                "attempt": 2,
                "epoch": 6,
                "seconds": 1.0,
                "test_error": 0.5,
                "test_wrong": 1,
            }
        ],
    )
    sweep.runs("late", [{"cell": "a", "status": "done", "attempt": 2, "updated": 2.0, "seed": 0}])
    before = read_both(sweep.folder)
    assert before[0]["attempts"].tolist() == [2, 1, 1, 1]
    compact.compact(sweep.folder)
    same(read_both(sweep.folder), before)
    names = sorted(p.name for p in (sweep.folder / "store").iterdir())
    assert names == ["curves-000002-0000.parquet", "manifest.json", "runs-000002.parquet"]


def test_a_part_that_a_live_writer_puts_back_changes_nothing(sweep):
    fill(sweep)
    before = read_both(sweep.folder)
    for _ in range(2):
        compact.compact(sweep.folder)
        fill(sweep)
        same(read_both(sweep.folder), before)


def test_without_parts_the_store_is_left_as_it_is(sweep):
    fill(sweep)
    compact.compact(sweep.folder)
    manifest = (sweep.folder / "store" / "manifest.json").stat()
    repeat = compact.compact(sweep.folder)
    assert (repeat.cells, repeat.rows, repeat.files_before, repeat.files_after) == (4, 20, 3, 3)
    assert (sweep.folder / "store" / "manifest.json").stat().st_ino == manifest.st_ino


def test_nothing_to_compact_is_an_error(sweep):
    with pytest.raises(store.StoreError, match="nothing to compact"):
        compact.compact(sweep.folder)


def test_a_damaged_part_stops_the_compaction_before_it_changes_anything(sweep):
    fill(sweep)
    bad = sweep.folder / "curves" / "pb.parquet"
    bad.write_bytes(b"PAR1")
    with pytest.raises(store.StoreError, match=r"pb\.parquet"):
        compact.compact(sweep.folder)
    assert len(list((sweep.folder / "curves").iterdir())) == 4


def test_rows_computed_twice_are_compared_bit_for_bit(sweep):
    first = {
        "cell": "a",
        "attempt": 1,
        "epoch": 1,
        "seconds": 1.0,
        "test_error": 0.5,
        "test_wrong": 5,
        "lr": 0.1,
    }
    sweep.curves("p", [first, {**first, "epoch": 2}])
    second = {**first, "attempt": 2, "seconds": 9.0, "test_error": 0.25, "lr": None}
    sweep.curves("q", [second, {**first, "epoch": 2, "attempt": 2, "test_wrong": 6}])
    result = compact.compact(sweep.folder).mismatches
    assert result.to_dict("records") == [
        {
            "cell": "a",
            "epoch": 1,
            "column": "test_error",
            "attempts": (1, 2),
            "values": (0.5, 0.25),
        },
        {"cell": "a", "epoch": 2, "column": "test_wrong", "attempts": (1, 2), "values": (5, 6)},
    ]


def test_equal_nan_is_no_mismatch_and_a_signed_zero_is(sweep):
    nan = {"cell": "a", "attempt": 1, "epoch": 1, "test_loss": float("nan"), "grad_norm": 0.0}
    sweep.curves("p", [nan])
    sweep.curves("q", [{**nan, "attempt": 2, "grad_norm": -0.0}])
    assert compact.compact(sweep.folder).mismatches["column"].tolist() == ["grad_norm"]


@pytest.mark.parametrize("name", ["replace", "unlink", "rename", "fsync"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_step_loses_nothing(sweep, monkeypatch, name: str, when: str):
    fill(sweep, "ab")
    compact.compact(sweep.folder)
    fill(sweep, "bc", epochs=7)
    expected = read_both(sweep.folder)
    original = getattr(os, name)
    for step in range(100):
        calls = []

        def crash(
            *args: object, step: int = step, calls: list[object] = calls, **kwargs: object
        ) -> None:
            calls.append(args)
            if len(calls) > step and when == "before":
                raise KeyboardInterrupt
            original(*args, **kwargs)
            if len(calls) > step:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, name, crash)
        is_finished = False
        try:
            compact.compact(sweep.folder, rows_in_memory=8)
            is_finished = True
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.setattr(os, name, original)
        same(read_both(sweep.folder), expected)
        if is_finished:
            break
        fill(sweep, "bc", epochs=7)
    assert is_finished
    assert step > 1
    compact.compact(sweep.folder)
    same(read_both(sweep.folder), expected)
    assert len(list((sweep.folder / "store").iterdir())) <= 5


def test_the_next_compaction_gives_claimed_parts_of_a_crash_back(sweep, monkeypatch):
    fill(sweep)
    expected = read_both(sweep.folder)
    # worst case: consumed parts without a new store
    monkeypatch.setattr(compact, "switch", lambda *_: None)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            compact.compact(sweep.folder)
    assert len(list((sweep.folder / "curves").glob("*.parquet"))) == 4 - 1
    same(read_both(sweep.folder), expected)
    monkeypatch.undo()
    compact.compact(sweep.folder)
    same(read_both(sweep.folder), expected)


def test_a_part_replaced_during_the_compaction_is_kept(sweep, monkeypatch):
    fill(sweep, "a")
    switch = compact.switch

    def write_on(*args: object) -> None:
        switch(*args)
        fill(sweep, "a", epochs=9)

    monkeypatch.setattr(compact, "switch", write_on)
    compact.compact(sweep.folder)
    assert [p.name for p in (sweep.folder / "curves").iterdir()] == ["pa.parquet"]
    assert store.curves(sweep.folder)["epoch"].tolist() == list(range(1, 10))


def test_a_part_that_comes_back_while_it_is_claimed_wins(tmp_path):
    path = tmp_path / "p.parquet"
    claimed = tmp_path / (f".p.parquet{claim.CLAIMED}")
    claimed.write_text("older")
    path.write_text("newer")
    claim._give_back(claimed, path)
    assert path.read_text() == "newer"
    assert not claimed.exists()


def test_two_compactions_at_once_are_refused(sweep):
    fill(sweep)
    with (
        claim.exclusive(sweep.folder),
        pytest.raises(claim.CompactionRunning, match=f"process {os.getpid()}"),
    ):
        compact.compact(sweep.folder)
    compact.compact(sweep.folder)


def test_files_of_other_origin_in_the_store_are_left_alone(sweep):
    fill(sweep)
    compact.compact(sweep.folder)
    note = sweep.folder / "store" / "NOTES.txt"
    note.write_text("mine")
    (sweep.folder / "store" / "curves-000009-0000.parquet").write_text("left by a crash")
    fill(sweep, "e")
    compact.compact(sweep.folder)
    assert note.exists()
    manifest = json.loads((sweep.folder / "store" / "manifest.json").read_text())
    assert all(entry["file"].split("-")[1].startswith("000002") for entry in manifest)


@settings(max_examples=50)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), max_size=5),
    st.integers(1, 30),
)
def test_buckets_hold_every_cell_once_in_order_and_within_the_limit(
    counts: list[dict[str, int]], limit: int
):
    groups = buckets([Source(Path(str(i)), c, pa.schema([])) for i, c in enumerate(counts)], limit)
    cells = [cell for group in groups for cell in group]
    assert cells == sorted({cell for c in counts for cell in c})
    totals = [sum(c.get(cell, 0) for c in counts for cell in group) for group in groups]
    assert all(
        total <= limit or len(group) == 1 for total, group in zip(totals, groups, strict=True)
    )


def test_only_temporary_files_of_dead_writers_are_removed(sweep) -> None:
    sweep.grid((1e-3,), seeds=(0,), epochs=3)
    old, new = (sweep.folder / "curves" / f".{name}.parquet.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    compact.compact(sweep.folder)
    assert not old.exists()
    assert new.exists()
