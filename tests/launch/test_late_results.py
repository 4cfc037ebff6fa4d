"""The state of a sweep whose cells end while it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from waiting import wait_for

from launch.plan import files, load_all, markers
from launch.status import sweep_state


def test_a_cell_that_ends_after_its_records_were_read_is_done(
    redescent: Callable[..., CompletedProcess[str]], logs: Path
) -> None:
    """Its task is gone when the scheduler is asked, and it must not be sent again."""
    folder = logs / "noop"
    redescent("submit", "noop", "hydra/launcher=local", "seeds=[0]", "trainer.seconds=1")
    read = sweep_state.read_files(folder)
    assert not any(map(sweep_state.is_final, read.records.values()))
    (plan,) = load_all(folder)
    worker = wait_for(lambda: markers.local_worker(plan.folder(folder)), "the worker")
    wait_for(lambda: not files.alive(worker), "the end of the worker")
    assert [cell.state for cell in sweep_state.state_of(read).cells.values()] == ["done"]
