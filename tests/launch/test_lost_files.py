"""Files of a sweep that are lost or damaged: nothing counts as done without its rows, and each says
what to do.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import command_line
import pytest

from analysis import store
from launch.status import sweep_state

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("compact=false", "hydra/launcher=debug", "seeds={range:[0,2,1]}", "trainer.epochs=3")
WHEN = ["attempt", "seconds"]


def redescent(logs: Path, *words: str) -> str:
    environment = os.environ | {"REDESCENT_LOGS": str(logs)}
    process = command_line.redescent(*words, environment=environment)
    assert "Traceback" not in process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("logs")
    redescent(logs, "submit", "noop", *SMALL)
    return logs


@pytest.fixture
def logs(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "logs")


def test_a_cell_whose_rows_are_lost_is_trained_again(logs: Path) -> None:
    complete_rows = store.curves(logs / "noop").drop(columns=WHEN)
    shutil.rmtree(logs / "noop" / "curves")
    assert {cell.state for cell in sweep_state.load_sweep_state(logs / "noop").cells.values()} == {
        "interrupted"
    }
    redescent(logs, "resume", "noop")
    repaired_rows = store.curves(logs / "noop").drop(columns=WHEN)
    assert complete_rows.equals(repaired_rows)


def test_a_damaged_plan_is_named_and_costs_no_finished_cell(logs: Path) -> None:
    (plan,) = (logs / "noop" / "submissions").glob("*/plan.json")
    plan.write_text(plan.read_text()[:300])
    assert f"{plan}: not a plan" in redescent(logs, "status", "noop")
    shutil.rmtree(plan.parent)
    assert "nothing to send" in redescent(logs, "submit", "noop", *SMALL)


def test_cells_of_compacted_sweeps_are_done_and_found_by_a_short_id(logs: Path) -> None:
    redescent(logs, "compact", "noop")
    cell = store.runs(logs / "noop")["cell"][0]
    assert cell[:11] in redescent(logs, "status", "noop", "--cells")
    assert "done: trained to its end" in redescent(logs, "why", cell[:12], "--sweep", "noop")
    assert "nothing to send" in redescent(logs, "resume", "noop")


def test_a_sweep_that_lost_its_plans_and_its_manifest_is_still_done(logs: Path) -> None:
    redescent(logs, "compact", "noop")
    shutil.rmtree(logs / "noop" / "submissions")
    (logs / "noop" / "store" / "manifest.json").unlink()
    assert "nothing to send" in redescent(logs, "submit", "noop", *SMALL)


@pytest.mark.parametrize("kind", ["curves", "runs"])
def test_what_a_lost_shard_of_the_store_held_is_trained_again(logs: Path, kind: str) -> None:
    folder = logs / "noop"
    complete_rows = store.curves(folder).drop(columns=WHEN)
    redescent(logs, "compact", "noop")
    (shard,) = (folder / "store").glob(f"{kind}-*")
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(store.StoreError, match="move it away and run `redescent resume`"):
        getattr(store, kind)(folder)
    shard.unlink()
    redescent(logs, "resume", "noop")
    assert {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()} == {"done"}
    assert complete_rows.equals(store.curves(folder).drop(columns=WHEN))
