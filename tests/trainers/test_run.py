"""Parts: their schema, how plain pandas reads them, and what a record says about its rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers import config, run
from trainers import part as parts
from trainers.config.later import fill_in
from trainers.part import FinishedCell, Part, finished_cells
from trainers.run import Run
from trainers.schema import Metric

METRICS = (
    Metric("loss", "float32", "nats", "cross-entropy", "min"),
    Metric("wrong", "int32", "samples", "wrong answers"),
    Metric("accuracy", "float32", "1", "share of right answers", "max"),
)
Begin = Callable[..., Run]
Wait = Callable[[float], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the clock of a run."""
    passed = [0.0]
    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + passed[0])
    for module in (parts, run):
        monkeypatch.setattr(module, "time", clock)

    def later(seconds: float) -> None:
        passed[0] += seconds

    return later


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick cells are not gathered, unless a test wants it."""
    monkeypatch.setattr(parts, "QUICK_SECONDS", 0.0)


def log(run: Run, *losses: float | None, **metrics: Any) -> None:
    """A row for each loss, from epoch 0 on."""
    for epoch, loss in enumerate(losses):
        run.log(epoch=epoch, step=epoch * 3, examples=epoch * 40, loss=loss, **metrics)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_rows_have_the_columns_and_types_of_the_contract(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    log(run, 2.0, 1.0, wrong=3)
    run.flush()
    schema = pq.read_schema(only(sweep / "curves"))
    assert dict(zip(schema.names, schema.types, strict=True)) == {
        "cell": pa.dictionary(pa.int32(), pa.string()), "attempt": pa.int16(), "epoch": pa.int32(),
        "step": pa.int64(),
        "examples": pa.int64(), "seconds": pa.float64(), "loss": pa.float32(), "wrong": pa.int32(),
        "accuracy": pa.float32(),
    }  # fmt: skip


def test_every_column_says_what_it_means_and_in_which_unit(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    run.flush()
    schema = pq.read_schema(only(sweep / "curves"))
    assert all(field.metadata[b"meaning"] for field in schema)
    units = {field.name: field.metadata.get(b"unit") for field in schema}
    assert units["seconds"] == b"s"
    assert (units["loss"], units["wrong"]) == (b"nats", b"samples")
    assert schema.field("loss").metadata[b"meaning"] == b"cross-entropy"


@pytest.mark.parametrize("kind", ["curves", "runs"])
def test_files_name_their_schema_version_and_are_zstd(begin: Begin, sweep: Path, kind: str) -> None:
    run = begin(METRICS)
    log(run, 2.0)
    run.flush()
    file = pq.ParquetFile(only(sweep / kind))
    assert file.schema_arrow.metadata[b"redescent.schema"] == b"1"
    assert {
        file.metadata.row_group(0).column(i).compression for i in range(file.metadata.num_columns)
    } == {"ZSTD"}


def test_plain_pandas_reads_the_folder_of_parts(begin: Begin, sweep: Path) -> None:
    for attempt, cell in ((1, "c1-a"), (2, "c1-b")):
        run = begin(METRICS, attempt, cell=cell)
        log(run, 2.0, None, wrong=attempt)
        run.flush()
    (sweep / "curves" / ".half.parquet.tmp").write_bytes(b"PAR1")
    curves = pd.read_parquet(sweep / "curves")
    assert curves["cell"].tolist() == ["c1-a", "c1-a", "c1-b", "c1-b"]
    assert curves["wrong"].tolist() == [1, 1, 2, 2]
    assert curves["loss"].isna().tolist() == [False, True, False, True]
    records = pd.read_parquet(sweep / "runs").set_index("cell")
    assert records["status"].to_dict() == {"c1-a": "running", "c1-b": "running"}


def test_a_record_is_the_configuration_the_facts_and_the_summary(
    begin: Begin, sweep: Path, flat: Mapping[str, Any]
) -> None:
    run = begin(METRICS)
    run.add_facts(noise_rate=0.25, parameters=7, code="c0de")
    log(run, 3.0, 1.0, 2.0, wrong=4)
    run.close("failed", "error", "Traceback: boom")
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert set(config.columns()) <= set(record)
    assert {key: record[key] for key in flat} == dict(flat)
    assert all(record[key] is None for key in set(config.columns()) - set(fill_in(flat)))
    facts = {
        "status": "failed",
        "attempt": 1,
        "epochs": 2,
        "noise_rate": 0.25,
        "parameters": 7,
        "code": "c0de",
        "error_class": "error",
        "error": "Traceback: boom",
        "gpu_seconds": 0.0,
    }
    assert {key: record[key] for key in facts} == facts
    assert (record["final_loss"], record["best_loss"], record["best_epoch_loss"]) == (2.0, 1.0, 1)
    assert record["final_wrong"] == 4
    assert "best_epoch_wrong" not in record
    assert record["updated"] == pytest.approx(time.time(), abs=60)
    assert record["peak_memory_bytes"] > 1e6


def test_the_best_value_is_the_first_of_equals_and_never_nan(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    for epoch, (loss, accuracy) in enumerate(
        [(5.0, 0.1), (2.0, 0.9), (2.0, 0.9), (math.nan, math.nan), (9.0, 0.0)]
    ):
        run.log(epoch=epoch, step=epoch, examples=epoch, loss=loss, accuracy=accuracy)
    run.flush()
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert (record["best_loss"], record["best_epoch_loss"]) == (2.0, 1)
    assert (record["best_accuracy"], record["best_epoch_accuracy"]) == (pytest.approx(0.9), 1)


def test_of_two_rows_of_one_step_the_later_counts(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    for loss, accuracy in [(0.1, 0.9), (2.0, 0.4)]:
        run.log(epoch=1, step=1, examples=1, loss=loss, accuracy=accuracy)
    run.close("done")
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert (record["best_loss"], record["final_loss"]) == (2.0, 2.0)
    assert record["best_accuracy"] == pytest.approx(0.4)


@pytest.mark.parametrize(("status", "best"), [("nonfinite", 0.2), ("done", 0.9)])
def test_the_last_row_of_a_diverged_run_is_never_the_best(
    begin: Begin, sweep: Path, status: Any, best: float
) -> None:
    run = begin(METRICS)
    for epoch, (loss, accuracy) in enumerate([(2.0, 0.1), (1.0, 0.2), (math.nan, 0.9)]):
        run.log(epoch=epoch, step=epoch, examples=epoch, loss=loss, accuracy=accuracy)
    run.close(status)
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert record["best_accuracy"] == pytest.approx(best)
    assert record["final_accuracy"] == pytest.approx(0.9)


def test_a_metric_that_was_never_finite_has_no_best(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    log(run, math.nan, math.inf)
    run.close("nonfinite")
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert record["final_loss"] == math.inf
    assert record["best_loss"] is None
    assert math.isnan(pd.read_parquet(sweep / "curves")["loss"][0])


def test_a_name_that_is_not_declared_is_refused(begin: Begin) -> None:
    run = begin(METRICS)
    with pytest.raises(KeyError, match="lost"):
        run.log(epoch=0, step=0, examples=0, lost=1.0)
    with pytest.raises(KeyError, match=r"colour.*known: \['abandoned'"):
        run.add_facts(colour="red")


def test_values_of_a_row_that_are_no_numbers_are_refused(begin: Begin, sweep: Path) -> None:
    run = begin(METRICS)
    with pytest.raises(TypeError, match=r"log: loss: found 'a' \(str\), expected a number"):
        run.log(epoch=0, step=0, examples=0, loss="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"log: epoch: found 1.5 \(float\), expected an integer"):
        run.log(epoch=1.5, step=0, examples=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"log: wrong: found True \(bool\), expected a number"):
        run.log(epoch=0, step=0, examples=0, wrong=True)
    run.log(epoch=np.int64(1), step=0, examples=0, loss=np.float32(0.5))  # type: ignore[arg-type]
    run.close("done")
    assert pd.read_parquet(sweep / "curves")["loss"].tolist() == [0.5]


@pytest.mark.parametrize("facts", [{"parameters": "many"}, {"steps": 2**70}, {"gpu": 3}])
def test_a_fact_that_its_column_cannot_hold_is_refused(begin: Begin, facts: dict[str, Any]) -> None:
    ((name, value),) = facts.items()
    with pytest.raises(TypeError, match=f"add_facts: {name}: found {value!r} .*, expected"):
        begin(METRICS).add_facts(**facts)


@pytest.mark.parametrize("value", [2**40, -(2**31) - 1, 2.5, math.nan])
def test_what_a_column_of_integers_cannot_hold_is_refused(begin: Begin, value: float) -> None:
    run = begin(METRICS)
    expected = rf"log: wrong: found {value}, expected .* to 2147483647: its column is int32"
    with pytest.raises(ValueError, match=expected):
        run.log(epoch=0, step=0, examples=0, wrong=value)
    with pytest.raises(ValueError, match=r"log: epoch: found 1099511627776, .* int32"):
        run.log(epoch=2**40, step=0, examples=0)
    run.log(epoch=1, step=2**40, examples=0, loss=2.0**40, wrong=3.0)


def test_cells_of_one_writer_share_its_part(begin: Begin, sweep: Path) -> None:
    first = begin(METRICS, cell="c1-a")
    log(first, 2.0, 1.0)
    first.close("done")
    second = Run("c1-b", first.flat, 1, first.part, first.checkpoints, lambda: False, 60.0)
    log(second, 4.0)
    second.flush()
    second.close("done")
    assert pd.read_parquet(only(sweep / "curves"))["cell"].tolist() == ["c1-a", "c1-a", "c1-b"]
    assert pd.read_parquet(only(sweep / "runs"))[["cell", "status"]].to_numpy().tolist() == [
        ["c1-a", "done"],
        ["c1-b", "done"],
    ]


def test_a_long_part_is_continued_in_another_file_with_every_row_once(
    begin: Begin, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 4)
    part = begin(METRICS).part
    for cell in "abcde":
        run = begin(METRICS, cell=cell)
        run.part = part
        log(run, 3.0, 2.0, 1.0)
        run.flush()
        run.close("done")
    assert len(list((sweep / "curves").iterdir())) == len(list((sweep / "runs").iterdir())) == 3
    curves = pd.read_parquet(sweep / "curves")
    assert sorted(zip(curves["cell"], curves["epoch"], strict=True)) == [
        (c, e) for c in "abcde" for e in range(3)
    ]
    assert sorted(pd.read_parquet(sweep / "runs")["cell"]) == list("abcde")


def test_quick_cells_are_gathered_and_a_longer_one_is_written_at_once(
    begin: Begin, sweep: Path, monkeypatch: pytest.MonkeyPatch, wait: Wait
) -> None:
    monkeypatch.setattr(parts, "QUICK_SECONDS", 10.0)
    part = begin(METRICS).part
    part.throttle.enabled = True

    def cell(name: str, seconds: float) -> list[str]:
        run = begin(METRICS, cell=name)
        run.part = part
        run.mark_running()
        log(run, 3.0)
        wait(seconds)
        run.close("done")
        return sorted(pd.read_parquet(sweep / "runs")["cell"])

    assert cell("a", 1) == ["a"], "the first says that it runs"
    assert not part.saved
    assert cell("b", 1) == ["a"]
    assert cell("c", 11) == ["a", "b", "c"]
    assert part.saved
    assert cell("d", 1) == ["a", "b", "c", "d"], (
        "it is said that a cell runs after one that took long"
    )
    part.write()
    assert set(pd.read_parquet(sweep / "runs")["status"]) == {"done"}
    assert len(pd.read_parquet(sweep / "curves")) == 4


def test_a_record_is_never_ahead_of_its_rows(
    begin: Begin, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(METRICS)
    log(run, 3.0)
    run.flush()
    real = pq.write_table

    def no_record(table: pa.Table, *args: Any, **keys: Any) -> None:
        if "status" in table.schema.names:
            raise OSError(28, "No space left on device")
        real(table, *args, **keys)

    monkeypatch.setattr(parts.pq, "write_table", no_record)
    run.log(epoch=1, step=3, examples=40, loss=1.0)
    with pytest.raises(OSError, match="No space left"):
        run.close("done")
    assert pd.read_parquet(only(sweep / "curves"))["epoch"].tolist() == [0, 1]
    assert pd.read_parquet(only(sweep / "runs"))["status"].tolist() == ["running"]


def test_rows_and_training_time_come_back_with_the_checkpoint(
    begin: Begin, sweep: Path, wait: Wait
) -> None:
    run = begin(METRICS)
    log(run, 3.0, 2.0)
    wait(1000)
    run.checkpoint({"weights": 1}, step=3)
    wait(5000)  # in the queue
    run.log(epoch=2, step=6, examples=80, loss=1.0)  # after the checkpoint: lost with the attempt
    repeat = begin(METRICS, 2)
    assert repeat.restore() == {"weights": 1}
    assert 1000 <= repeat.seconds() < 1060
    assert repeat.epochs == 1
    progress = pd.read_parquet(sweep / "runs" / f"{repeat.part.writer}.parquet").iloc[0]
    assert (progress["status"], progress["epochs"]) == ("running", 1)
    assert progress["seconds"] >= 1000
    repeat.log(epoch=2, step=6, examples=80, loss=0.5)
    repeat.flush()
    rows = pd.read_parquet(sweep / "curves" / f"{repeat.part.writer}.parquet")
    assert rows[["attempt", "epoch", "loss"]].to_numpy().tolist() == [
        [1, 0, 3.0],
        [1, 1, 2.0],
        [2, 2, 0.5],
    ]
    assert rows["seconds"].is_monotonic_increasing
    record = pd.read_parquet(sweep / "runs" / f"{repeat.part.writer}.parquet").iloc[0]
    assert (record["attempt"], record["first_attempt"]) == (2, 1)


def test_the_first_attempt_has_nothing_to_restore(begin: Begin) -> None:
    assert begin(METRICS).restore() is None


def test_an_attempt_without_a_checkpoint_is_the_first_of_its_training(
    begin: Begin, sweep: Path
) -> None:
    run = begin(METRICS, 4)
    log(run, 3.0, 2.0)
    run.flush()
    assert pd.read_parquet(only(sweep / "runs"))["first_attempt"].tolist() == [4]


def test_a_checkpoint_of_other_files_is_refused(begin: Begin) -> None:
    first = begin(METRICS)
    first.add_facts(source_hash="0123")
    first.checkpoint({"data_hash": "ab"}, step=4)
    repeat = begin(METRICS, 2)
    repeat.add_facts(source_hash="4567")
    with pytest.raises(RuntimeError, match="source_hash 0123 in the checkpoint, 4567 now; rm "):
        repeat.restore()
    assert repeat.restore({"data_hash": "ab"}), "the same samples, from other files"
    repeat.add_facts(source_hash="0123")
    assert repeat.restore()


def test_progress_means_getting_beyond_the_first_checkpoint(begin: Begin) -> None:
    first = begin(METRICS)
    assert not first.progressed
    log(first, 3.0, 2.0)
    first.checkpoint({}, step=4)
    assert first.progressed
    for step, expected in ((4, False), (5, True)):
        repeat = begin(METRICS, 2)
        repeat.restore()
        assert not repeat.progressed
        repeat.checkpoint({}, step=step)
        assert repeat.progressed is expected


def test_checkpoints_are_due_by_time(begin: Begin, flat: Mapping[str, Any], wait: Wait) -> None:
    assert begin(METRICS, flat={**flat, "run.checkpoint_seconds": 0.0}).checkpoint_due()
    run = begin(METRICS, flat={**flat, "run.checkpoint_seconds": 3600.0})
    assert not run.checkpoint_due()
    wait(3601)
    assert run.checkpoint_due()
    run.checkpoint({}, step=1)
    assert not run.checkpoint_due()


@pytest.mark.parametrize(
    ("status", "expected_count"), [("done", 0), ("nonfinite", 0), ("stopped", 1), ("failed", 1)]
)
def test_checkpoints_go_when_the_result_is_final(
    begin: Begin, sweep: Path, status: Any, expected_count: int
) -> None:
    run = begin(METRICS)
    run.checkpoint({}, step=1)
    run.close(status)
    assert len(list((sweep / "checkpoints").iterdir())) == expected_count


def test_gpu_time_is_shared_by_the_cells_of_a_gpu(begin: Begin, sweep: Path, wait: Wait) -> None:
    run = begin(METRICS)
    run.gpu_share = 0.25
    run.add_facts(gpu="a GPU")
    wait(100)
    run.flush()
    (record,) = pq.read_table(only(sweep / "runs")).to_pylist()
    assert record["gpu_seconds"] == pytest.approx(record["seconds"] / 4, rel=1e-3)


def test_finished_cells_have_a_final_record_in_parts_of_the_same_task(
    begin: Begin, sweep: Path
) -> None:
    last_words = {"c1-a": "done", "c1-b": "failed", "c1-c": "nonfinite", "c1-d": "stopped"}
    for attempt, (cell, status) in enumerate(last_words.items(), start=1):
        run = begin(METRICS, attempt, cell=cell)
        log(run, 3.0, 2.0)
        run.close(status)
    begin(METRICS, 5, cell="c1-e").flush()
    other = Part(sweep, "S1.00001.r0.abcdef01.0.vision", METRICS)
    run = begin(METRICS, cell="c1-f")
    run.part = other
    run.close("done")
    assert finished_cells(sweep, "S1.00000.") == {
        "c1-a": FinishedCell("done", 1),
        "c1-b": FinishedCell("failed", 1),
        "c1-c": FinishedCell("nonfinite", 1),
    }
    assert finished_cells(sweep, "S2.") == {}


def test_a_value_that_parquet_cannot_hold_fails_its_cell_alone(tmp_path: Path) -> None:
    for folder in ("curves", "runs"):
        (tmp_path / folder).mkdir()
    part = Part(tmp_path, "w", METRICS, throttle=True)
    record = {"status": "done", "attempt": 1, "updated": 1.0, "host": "h", "seconds": 0.1}
    rows = {"attempt": 1, "epoch": 1}
    problems = []
    for cell, seed in (("a", 1), ("b", 2**63), ("c", 3)):
        end = {**record, "cell": cell, "seed": seed}
        problems.append(part.finish_cell([{**rows, "cell": cell}], end, has_checkpoints=False))
    assert [problem is None for problem in problems] == [True, False, True]
    assert "OverflowError: its results cannot be written" in str(problems[1])
    part.write([{**rows, "cell": "d", "step": "x"}], {**record, "cell": "d", "seed": 4})
    runs = pq.read_table(tmp_path / "runs" / "w.parquet").to_pylist()
    assert {run["cell"]: run["status"] for run in runs} == {
        "a": "done",
        "b": "failed",
        "c": "done",
        "d": "failed",
    }
    assert runs[1]["error"] == problems[1]
    assert [run["seed"] for run in runs] == [1, None, 3, 4]  # settings that fit are kept
    curves = pq.read_table(tmp_path / "curves" / "w.parquet").to_pylist()
    assert [row["cell"] for row in curves] == ["a", "c"]


def test_a_result_names_the_code_of_every_attempt_that_it_continued(begin: Begin) -> None:
    earlier = {}
    for attempt, code in enumerate(("old", "new", "new", "old"), 1):
        run = begin(METRICS, attempt)
        run.add_facts(code=code)
        run.restore()
        earlier[attempt] = run.facts.get("earlier_code")
        run.checkpoint({"weights": attempt}, step=attempt)
    assert earlier == {1: None, 2: "old", 3: "old", 4: "new"}
