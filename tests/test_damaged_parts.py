"""Parts that were damaged after they were written: no changed bit is taken."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import store
from analysis.store import footer, states
from analysis.store.errors import FileVanished, StoreError
from analysis.store.parts import read_all, read_file, read_records
from analysis.store.reader import RECORD_KEYS
from launch.status import sweep_files
from trainers import part
from trainers.part import (
    FOOTER_MARK,
    FinishedCell,
    Part,
    finished_cells,
    footer_is_whole,
    with_footer_hash,
)
from trainers.schema import HEADLINE_COLUMNS, STATE_COLUMNS, Metric

FLIPS = 300
METRICS = [Metric("loss", "float32", "nats", "mean cross-entropy")]
CELLS = [f"c1-{number}" for number in range(5)]


def row(cell: str, epoch: int) -> dict[str, Any]:
    return {
        "cell": cell, "attempt": 1, "epoch": epoch, "step": epoch, "examples": 10 * epoch,
        "seconds": float(epoch), "loss": 1.0 / epoch,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep with one part of five cells."""
    for name in ("curves", "runs"):
        (tmp_path / name).mkdir()
    writer = Part(tmp_path, "S1.00000.r0.w", METRICS)
    for cell in CELLS:
        record = {"cell": cell, "attempt": 1, "status": "done", "epochs": 9, "seconds": 9.0}
        writer.add([row(cell, epoch) for epoch in range(1, 10)], record)
    writer.write()
    return tmp_path


def flips(content: bytes) -> Iterator[bytes]:
    """The content with one bit changed, FLIPS times."""
    draws = random.Random(0)
    for _ in range(FLIPS):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        yield bytes(changed)


def read(path: Path, kind: str) -> list[pa.Table]:
    """The whole part, and the rows of two cells."""
    function = read_records if kind == "runs" else read_file
    return [function(path), function(path, None, CELLS[:1]), function(path, None, CELLS[3:4])]


@pytest.mark.parametrize("kind", ["curves", "runs"])
def test_no_changed_bit_of_a_part_is_taken(folder: Path, kind: str) -> None:
    (path,) = (folder / kind).iterdir()
    expected = read(path, kind)
    refused = 0
    for changed in flips(path.read_bytes()):
        path.write_bytes(changed)
        try:
            tables = read(path, kind)
        except (StoreError, FileVanished):
            refused += 1
        else:
            assert all(map(pa.Table.equals, tables, expected))
            assert tables[0].schema.equals(expected[0].schema, check_metadata=True)
    assert refused > FLIPS / 2


def test_no_changed_bit_of_the_states_is_taken(folder: Path) -> None:
    (path,) = (folder / "runs").iterdir()
    expected = read_file(path, STATE_COLUMNS).to_pylist()
    refused = 0
    for changed in flips(path.read_bytes()):
        path.write_bytes(changed)
        try:
            (table,) = read_all(folder, "runs", STATE_COLUMNS)
        except (StoreError, FileVanished):
            refused += 1
        else:
            assert table.to_pylist() == expected
    assert refused > 0


def test_a_block_of_states_is_read_where_it_has_all_columns(folder: Path) -> None:
    (path,) = (folder / "runs").iterdir()
    assert states.MARK == part.STATES_MARK
    assert states.OPTIONAL_COLUMNS == part.OPTIONAL_COLUMNS
    assert states.MARK in path.read_bytes()
    table = states.read_states(path, ["cell", "status", "attempts"])
    assert table.to_pydict() == {"cell": CELLS, "status": ["done"] * 5}
    assert states.read_states(path, ["cell", "host"]) is None
    metrics = states.read_states(path, ["cell", *HEADLINE_COLUMNS])
    expected = pq.read_table(path)
    logged = [name for name in HEADLINE_COLUMNS if name in expected.column_names]
    assert metrics.to_pylist() == expected.select(["cell", *logged]).to_pylist()
    (curves,) = (folder / "curves").iterdir()
    assert states.read_states(curves, ["cell"]) is None
    (from_block,) = read_all(folder, "runs", STATE_COLUMNS, CELLS[1:2])
    (from_pages,) = read_all(folder, "runs", [*STATE_COLUMNS, "host"], CELLS[1:2])
    assert from_block.to_pylist() == from_pages.drop_columns("host").to_pylist()
    assert from_block.schema.field("cell").type == from_pages.schema.field("cell").type


def test_status_needs_nothing_but_the_block_of_states() -> None:
    assert {*sweep_files.RECORD_COLUMNS, *RECORD_KEYS} <= {*STATE_COLUMNS, *states.OF_STORE}


def test_a_task_trains_again_what_a_damaged_part_held(folder: Path) -> None:
    assert finished_cells(folder, "S1.00000.") == dict.fromkeys(CELLS, FinishedCell("done", 9))
    (path,) = (folder / "runs").iterdir()
    for changed in flips(path.read_bytes()):
        path.write_bytes(changed)
        assert finished_cells(folder, "S1.00000.") in (
            {},
            dict.fromkeys(CELLS, FinishedCell("done", 9)),
        )


def test_other_readers_read_parts_as_before(folder: Path) -> None:
    (path,) = (folder / "curves").iterdir()
    assert FOOTER_MARK in path.read_bytes()
    assert len(pd.read_parquet(path)) == len(pq.read_table(path)) == 45


def test_writer_and_reader_agree_about_the_hash_of_a_footer(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), buffer)
    plain = buffer.getvalue()
    marked = with_footer_hash(plain)
    changed = bytearray(marked)
    changed[-12] ^= 1
    cases = {"plain": (plain, True), "marked": (marked, True), "changed": (bytes(changed), False)}
    for name, (content, is_whole) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert footer_is_whole(content) is is_whole
        assert (footer.footer_problem(path) is None) is is_whole
    assert part.FOOTER_MARK == footer.MARK
    (tmp_path / "short").write_bytes(b"PAR1")
    assert footer.footer_problem(tmp_path / "short") is None
    assert footer_is_whole(b"PAR1")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("runs", {"status": pa.array([1] * 5)}, "column 'status': found int64, expected text"),
        ("runs", {"attempt": pa.array(["1"] * 5)}, "column 'attempt': found string"),
        ("runs", {"attempt": pa.array([None] * 5, pa.int16())}, "found 5 rows without a value"),
        ("runs", {"attempt": pa.array([70_000] * 5)}, "found 70000 to 70000, expected counts"),
        ("runs", {"updated": pa.array(["now"] * 5)}, "column 'updated': found string"),
        ("runs", {"cell": pa.array([None] * 5, pa.string())}, "column 'cell': found 5 rows"),
        ("runs", {"cell": pa.array(range(5))}, "column 'cell': found int64, expected text"),
        ("runs", {"attempt": None}, "no column 'attempt'"),
        ("curves", {"epoch": pa.array([0.5] * 45)}, "column 'epoch': found double"),
        ("curves", {"seconds": pa.array(["x"] * 45)}, "column 'seconds': found string"),
    ],
)  # fmt: skip
def test_a_column_of_a_foreign_type_is_named(
    folder: Path, kind: str, changes: dict[str, pa.Array | None], message: str
) -> None:
    (path,) = (folder / kind).iterdir()
    table = pq.read_table(path)
    for name, column in changes.items():
        index = table.schema.get_field_index(name)
        table = table.remove_column(index)
        if column is not None:
            table = table.append_column(name, column)
    pq.write_table(table, path)
    with pytest.raises(StoreError, match=message):
        getattr(store, kind)(folder)


def test_a_column_of_texts_that_a_trainer_added_is_read(folder: Path) -> None:
    (path,) = (folder / "curves").iterdir()
    table = pq.read_table(path)
    pq.write_table(table.append_column("note", pa.array(["x"] * 45)), path)
    assert set(store.curves(folder)["note"]) == {"x"}
