"""The state of a sweep whose cells end while it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd

from launch.status import sweep_files, sweep_state


def test_a_cell_that_ends_after_its_records_were_read_is_done(
    redescent: Callable[..., CompletedProcess[str]], logs: Path
) -> None:
    """Its task is gone when the scheduler is asked, and it must not be sent again."""
    folder = logs / "noop"
    redescent("submit", "noop", "hydra/launcher=debug", "seeds=[0]")
    now = sweep_files.read_files(folder)
    before = replace(now, runs=pd.DataFrame(), modified=[])
    assert [cell.state for cell in sweep_state.state_of(before).cells.values()] == ["done"]
    stale = replace(now, runs=now.runs.assign(status="stopped"), modified=[])
    assert [cell.state for cell in sweep_state.state_of(stale).cells.values()] == ["done"]
