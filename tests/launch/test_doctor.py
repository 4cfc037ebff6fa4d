"""The doctor's comparison of a torch build with a GPU, and what it says of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch import doctor

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
def test_machine_code_runs_on_its_own_major_version_and_ptx_on_anything_newer(
    compiled: list[str], device: str, runs: bool
) -> None:
    assert doctor.architectures(compiled, device) is runs


def test_a_machine_without_a_gpu_or_slurm_is_fit_for_local_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path / "logs"))
    findings = doctor.examine(["hydra/launcher=local"])
    assert {f.check for f in findings} >= {"Python", "torch", "GPU", "logs folder", "file locks", "SLURM"}
    assert all(finding.verdict != "problem" for finding in findings), findings
