"""The doctor's comparison of a torch build with a GPU, and what it says of a machine."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.cli import doctor
from launch.plan import Launcher

TORCH_2_10 = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
NEWER = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize(
    ("compiled", "device", "runs"),
    [
        (TORCH_2_10, "sm_70", True),
        (NEWER, "sm_70", False),
        (NEWER, "sm_89", True),
        (TORCH_2_10, "sm_100", False),
        ([*TORCH_2_10, "compute_90"], "sm_100", True),
        (["sm_90a"], "sm_90", True),
    ],
)
def test_machine_code_needs_its_major_version_and_ptx_any_newer_one(
    compiled: list[str], device: str, runs: bool
) -> None:
    assert doctor.runs_on(compiled, device) is runs


@pytest.mark.parametrize(
    ("compiled", "settings", "verdict"),
    [
        ("none: a CPU build", {"gres": "gpu:v100:1"}, "problem"),
        ("none: a CPU build", {"gpus_per_node": 2}, "problem"),
        ("none: a CPU build", {"gres": None}, "ok"),
        ("sm_70 sm_75", {"gres": "gpu:v100:1"}, "ok"),
    ],
)
def test_a_cpu_build_of_torch_is_a_problem_where_a_gpu_is_requested(
    compiled: str, settings: dict[str, Any], verdict: str
) -> None:
    finding = doctor.torch_build("2.13.0+cpu", compiled, Launcher(settings))
    assert (finding.check, finding.verdict) == ("torch", verdict)
    assert ("Install a CUDA build" in finding.detail) is (verdict == "problem")


def test_a_machine_without_a_gpu_or_slurm_is_fit_for_local_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path / "logs"))
    findings = doctor.examine(["hydra/launcher=local"])
    assert {f.check for f in findings} >= {
        "Python",
        "torch",
        "GPU",
        "kernels",
        "logs folder",
        "file locks",
        "SLURM",
    }
    assert all(finding.verdict != "problem" for finding in findings), findings


def test_an_import_of_torch_that_a_signal_kills_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = subprocess.CompletedProcess([], -4, "", "")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **options: killed)
    (finding,) = doctor._torch(Launcher({}))
    assert finding.verdict == "problem"
    assert "its process ended with status -4" in finding.detail


BEGUN = json.dumps({"begun": "conv2d 3x3"})
WRONG = json.dumps({"name": "conv2d 3x3", "error": 0.5, "wrong": True})
RIGHT = json.dumps({"name": "conv2d 3x3", "error": 1e-7, "wrong": False})


@pytest.mark.parametrize(
    ("program", "verdict", "detail"),
    [
        (f"print({BEGUN!r}); print({RIGHT!r})", "ok", "1 layer on this CPU agrees with float64"),
        (
            f"print({BEGUN!r}); print({WRONG!r})",
            "problem",
            "1 of 1 layer is wrong, such as conv2d 3x3 by 0.5",
        ),
        (
            f"print({BEGUN!r}, flush=True); import os; os.abort()",
            "problem",
            "crashed (SIGABRT) in conv2d 3x3",
        ),
        (
            f"print({RIGHT!r}); print({BEGUN!r}, flush=True); import time; time.sleep(60)",
            "problem",
            "no result after 5 s, in conv2d 3x3",
        ),
        (
            "raise OSError('libgomp is missing')",
            "problem",
            "could not be checked: OSError: libgomp is missing",
        ),
    ],
)
def test_the_doctor_names_the_kernel_that_crashes_hangs_or_is_wrong(
    program: str, verdict: str, detail: str
) -> None:
    finding = doctor.kernels(
        [sys.executable, "-c", program], seconds=5 if "sleep" in program else 60
    )
    assert (finding.check, finding.verdict) == ("kernels", verdict)
    assert detail in finding.detail


def test_a_logs_folder_that_cannot_be_written_is_no_fault_of_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = doctor.folder_findings(tmp_path / "a" / "b")
    assert [finding.check for finding in new] == ["logs folder", "file locks"]
    (tmp_path / "file").touch()
    (absent,) = doctor.folder_findings(tmp_path / "file" / "logs")
    assert (absent.check, absent.verdict) == ("logs folder", "problem")
    assert "Not a directory; expected a folder that you can write to" in absent.detail

    def denied(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    (read_only,) = doctor.folder_findings(tmp_path)
    assert (read_only.check, read_only.verdict) == ("logs folder", "problem")
    assert "Permission denied" in read_only.detail


ANSWERS = {
    "scontrol": "echo 'MaxArraySize = 1001'",
    "sbatch": "echo '--- Welcome ---'; echo 'slurm 23.11.4'",
    "squeue": "exit 0",
    "sacct": "exit 0",
}


@pytest.mark.parametrize(
    ("program", "script", "finding"),
    [
        ("sacct", "exit 0", ("SLURM", "ok", "slurm 23.11.4, arrays of up to 1000 tasks")),
        ("sacct", "exit 0", ("queue", "ok", "squeue answers")),
        (
            "squeue",
            "echo 'squeue: error: no such user' >&2; exit 1",
            ("queue", "problem", "squeue does not answer (squeue: error: no such user): status"),
        ),
        (
            "sbatch",
            "echo 'sbatch: error: plugin' >&2; exit 1",
            ("SLURM", "warning", "`sbatch --version` fails (sbatch: error: plugin); arrays of up"),
        ),
        ("sbatch", "exit 0", ("SLURM", "warning", "`sbatch --version` prints nothing; arrays of")),
    ],
)
def test_the_doctor_calls_every_program_of_slurm_that_commands_need(
    program: str, script: str, finding: tuple[str, str, str], fake: Callable[[str, str], None]
) -> None:
    for name, answer in (ANSWERS | {program: script}).items():
        fake(name, answer)
    found = {one.check: one for one in doctor._slurm()}
    check, verdict, detail = finding
    assert found[check].verdict == verdict
    assert found[check].detail.startswith(detail)
