"""Tests that end their process fail by name, every other test runs, and the tests on SLURM stay in
one process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CRASHING = """
import os
import time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    with open({ran!r}, "a") as file:
        print({room!r}, number, os.getpid(), file=file)
    if number in {crashing}:
        time.sleep(-time.time() % {moment})
        os.abort()
"""


def test_tests_that_crash_fail_alone(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    rooms = {"slurm": [1, 2], "other": [0, 3, 5]}
    for room, crashing in rooms.items():
        _write_tests(tmp_path, room, 6, crashing)

    completed_run = _run_tests(tmp_path, processes=2)

    assert completed_run.returncode == 1, completed_run.stdout + completed_run.stderr
    for room, crashing in rooms.items():
        _check_outcomes(completed_run, room, 6, crashing)
    runs = [line.split() for line in ran.read_text().splitlines()]
    assert len(runs) == 12, "each test runs once"
    slurm = [process for room, _, process in runs if room == "slurm"]
    first, second, *rest = slurm
    assert first == second
    assert len({first, *rest}) == 3, "a process up to each crash, and one for what is left"


def test_processes_that_crash_at_the_same_moment_lose_no_test(tmp_path: Path) -> None:
    crashing = [number for number in range(15) if number % 3]
    _write_tests(tmp_path, "other", 15, crashing, moment=0.5)

    completed_run = _run_tests(tmp_path, processes=5)

    assert completed_run.returncode == 1, completed_run.stdout + completed_run.stderr
    _check_outcomes(completed_run, "other", 15, crashing)
    runs = (tmp_path / "ran").read_text().splitlines()
    assert len(runs) == 15, "each test runs once"


def _write_tests(
    folder: Path, room: str, count: int, crashing: list[int], moment: float = 1e-6
) -> None:
    """Write `count` tests of one room, of which some end their process when the clock is at a
    multiple of `moment` seconds.
    """
    tests = folder / "tests" / room
    tests.mkdir(parents=True)
    ran = str(folder / "ran")
    text = CRASHING.format(ran=ran, room=room, count=count, crashing=crashing, moment=moment)
    (tests / f"test_{room}.py").write_text(text)


def _run_tests(folder: Path, processes: int) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder as ours are run, in so many processes."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "tests")
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "no:faulthandler"]
    command += ["-n", str(processes), "-rfp", "tests"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "1000"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )


def _check_outcomes(
    completed_run: subprocess.CompletedProcess[str], room: str, count: int, crashing: list[int]
) -> None:
    """Fail unless the tests that crash failed by name and all others passed."""
    for number in range(count):
        name = f"tests/{room}/test_{room}.py::test_it[{number}]"
        outcome = f"FAILED {name} - worker" if number in crashing else f"PASSED {name}"
        assert outcome in completed_run.stdout, completed_run.stdout + completed_run.stderr
