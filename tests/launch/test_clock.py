"""A clock that was set back: whatever was written before lies in the future, and nothing is lost,
repeated or stuck.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from waiting import wait_for, wait_for_cells

from analysis import store
from analysis.store import compact
from launch.plan import jobs
from launch.plan.outcome import FINAL
from launch.status import sweep_state
from launch.submit import cancel, submission
from launch.submit.freeze import freeze
from launch.submit.preview import load_preview
from launch.submit.resume import resume_request
from launch.sweep import compose

DAY = 86400.0
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def into_the_future(folder: Path) -> None:
    """Everything that the sweep says of its times, a day later."""
    for path in folder.rglob("plan.json"):
        path.write_text(
            json.dumps((plan := json.loads(path.read_text())) | {"created": plan["created"] + DAY})
        )
    for path in folder.rglob("jobs.json"):
        path.write_text(
            json.dumps(
                [array | {"sent": array["sent"] + DAY} for array in json.loads(path.read_text())]
            )
        )
    for path in (folder / "runs").glob("*.parquet"):
        table = pq.read_table(path)
        later = pa.array([when + DAY for when in table["updated"].to_pylist()], pa.float64())
        pq.write_table(
            table.set_column(table.schema.get_field_index("updated"), "updated", later), path
        )
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time.time() + DAY, time.time() + DAY))


def test_a_sweep_continues_after_the_clock_was_set_back(logs: Path) -> None:
    folder = logs / "noop"
    overrides = [
        "hydra/launcher=local",
        "seeds={range:[0,12,1]}",  # a busy machine may see the first end late
        "trainer.epochs=4",
        "trainer.seconds=0.3",
        "compact=false",  # the test compacts
    ]
    submission.submit(
        compose.expand_sweep("noop", [*overrides, "task.at_a_time=2", "run.checkpoint_seconds=0"])
    )
    wait_for(
        lambda: any(
            cell.state in FINAL for cell in sweep_state.load_sweep_state(folder).cells.values()
        ),
        "the first cell",
    )
    cancel.cancel(folder)
    wait_for_cells(folder)
    unfinished = sum(
        cell.state not in FINAL for cell in sweep_state.load_sweep_state(folder).cells.values()
    )
    assert 0 < unfinished < 12
    into_the_future(folder)
    outcome = submission.submit(resume_request(folder, []))
    assert len(outcome.preview.cells) == unfinished
    wait_for_cells(folder)
    assert {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()} == {"done"}
    assert compact.compact(folder).mismatches.empty
    assert (
        store.curves(folder).groupby("cell", observed=True)["epoch"].apply(list).tolist()
        == [[0, 1, 2, 3, 4]] * 12
    )


def test_a_lost_answer_of_the_future_is_not_waited_for(
    logs: Path,
) -> None:
    folder = logs / "noop"
    overrides = ["hydra/launcher=local", "seeds={range:[0,2,1]}"]
    preview = load_preview(compose.expand_sweep("noop", overrides))
    folder.mkdir(parents=True)
    # of a worker on another machine, which cannot be looked up
    plan = replace(freeze(preview, "local", attempts={}), host="elsewhere")
    plan.write(folder)
    jobs.record(plan, folder, size=1)
    assert {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()} == {
        "unknown"
    }
    into_the_future(folder)
    assert {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()} == {
        "missing"
    }
