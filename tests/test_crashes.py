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
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    with open({ran!r}, "a") as file:
        print({room!r}, number, os.getpid(), file=file)
    if number in {crashing}:
        os.abort()
"""


def test_tests_that_crash_fail_alone(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    rooms = {"slurm": [1, 2], "other": [0, 3, 5]}
    for room, crashing in rooms.items():
        folder = tmp_path / "tests" / room
        folder.mkdir(parents=True)
        text = CRASHING.format(ran=str(ran), room=room, crashing=crashing)
        (folder / f"test_{room}.py").write_text(text)
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path / "tests")
    (tmp_path / "pytest.ini").touch()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "xdist",
        "-p",
        "no:faulthandler",
        "-n",
        "2",
        "-rfp",
        "tests",
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "1000"}
    completed_run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250
    )

    assert completed_run.returncode == 1, completed_run.stdout + completed_run.stderr
    for room, crashing in rooms.items():
        for number in range(6):
            name = f"tests/{room}/test_{room}.py::test_it[{number}]"
            output = f"FAILED {name} - worker" if number in crashing else f"PASSED {name}"
            assert output in completed_run.stdout, completed_run.stdout + completed_run.stderr
    runs = [line.split() for line in ran.read_text().splitlines()]
    assert len(runs) == 12, "each test runs once"
    slurm = [process for room, _, process in runs if room == "slurm"]
    first, second, *rest = slurm
    assert first == second
    assert len({first, *rest}) == 3, "a process up to each crash, and one for what is left"
