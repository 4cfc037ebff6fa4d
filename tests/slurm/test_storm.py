"""A short storm (storm.py): ten seconds of random kills, then one resume to the table of a calm
run.
"""

from __future__ import annotations

import pytest
import storm
from slurm_sweep import Sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_a_sweep_comes_through_a_storm_with_every_row_once(sweep: Sweep) -> None:
    storm.run(sweep, cells=6, seconds=10, seed=1, epochs=40)
