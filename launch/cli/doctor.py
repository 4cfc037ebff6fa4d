"""`redescent doctor`: check Python, torch and its kernels, the GPU, SLURM, the launcher and the
disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from launch.cli import layout, machine
from launch.errors import UserError, quantity
from launch.plan import Launcher, files
from launch.plan.folder import check_folder
from launch.scheduler import backend, cluster, sbatch, slurm
from launch.sweep import compose

KERNELS = (sys.executable, "-m", "trainers.kernels", "--widths", "3", "--sample", "60")
KERNEL_SECONDS = 180.0

_NO_JOB = "redescent-doctor"
"""A name that no job has, to ask SLURM about."""

_REMEDY = (
    "set ONEDNN_MAX_CPU_ISA=SSE41 (slower) or install another torch; benchmarks/kernels.py "
    "searches for more"
)

_CUDA_BUILD = (
    "remove .venv, then `make .venv "
    "PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cuNNN'` with the CUDA version of "
    "your driver instead of NNN, such as cu126; a V100 needs the versions of environment.yml"
)


Verdict = Literal["ok", "warning", "problem"]

_COLOURS: Mapping[Verdict, str] = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One check: its verdict and what was found."""

    check: str
    verdict: Verdict
    detail: str


def write_findings(findings: Sequence[Finding]) -> None:
    """Write the checks of `redescent doctor` as JSON."""
    machine.write("doctor", machine.doctor(findings))


def print_findings(findings: Sequence[Finding]) -> None:
    """Show the checks of `redescent doctor`."""
    rows: list[list[layout.Cell]] = []
    for finding in findings:
        verdict = Text(finding.verdict, _COLOURS[finding.verdict])
        rows.append([finding.check, verdict, finding.detail])
    layout.print_table(("check", "verdict", "found"), rows)


def examine(overrides: Sequence[str]) -> list[Finding]:
    """All findings for this machine and the launcher set by `overrides`."""
    settings = compose.launcher_settings(backend.choose_launcher(overrides).overrides)
    launcher, logs = settings.launcher, settings.logs
    findings = [_python(), *_torch(launcher), _path(launcher, logs), *folder_findings(logs)]
    if launcher.kind == "slurm":
        findings += _slurm()
        findings += [_trial(launcher), *partition_findings(launcher)]
    elif slurm.present():
        detail = "is here, but the launcher chosen does not use it"
        findings.append(Finding("SLURM", "warning", detail))
    else:
        findings.append(Finding("SLURM", "ok", "none here; cells run on this machine"))
    return findings


def runs_on(compiled: Sequence[str], device: str) -> bool:
    """Whether a torch build with code for `compiled` (such as sm_70, compute_90) runs on a GPU of
    architecture `device`.

    Machine code runs on its own major version and equal or newer minor ones; PTX (compute_XY) on
    anything newer.
    """
    capability = int(device.removeprefix("sm_"))
    for architecture in compiled:
        kind, _, number = architecture.partition("_")
        version = int("".join(c for c in number if c.isdigit()) or 0)
        is_same_major = version // 10 == capability // 10
        if version <= capability and (kind == "compute" or (kind == "sm" and is_same_major)):
            return True
    return False


def _python() -> Finding:
    version = f"{platform.python_version()} at {sys.executable}"
    return Finding("Python", "ok" if sys.version_info >= (3, 11) else "problem", version)


def _torch(launcher: Launcher) -> list[Finding]:
    """Checked in another process: this one never imports torch."""
    process = subprocess.run(
        [sys.executable, "-m", "trainers.hardware"], capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines()
        error = lines[-1] if lines else f"its process ended with status {process.returncode}"
        return [Finding("torch", "problem", f"does not import: {error}; run `make .venv`")]
    version, compiled, *devices = process.stdout.strip().splitlines()
    findings = [torch_build(version, compiled, launcher)]
    for device in devices:
        architecture, _, name = device.partition(" ")
        gpu = f"{name} ({architecture})"
        if runs_on(compiled.split(), architecture):
            findings.append(Finding("GPU", "ok", gpu))
        else:
            advice = "V100 (sm_70) needs torch 2.10 (environment.yml)"
            detail = f"{gpu}: this torch has no code for {architecture}; {advice}"
            findings.append(Finding("GPU", "problem", detail))
    if not devices:
        findings.append(Finding("GPU", "ok", "none on this machine (a login node often has none)"))
    return [*findings, kernels()]


def torch_build(version: str, compiled: str, launcher: Launcher) -> Finding:
    """Whether torch has code for GPUs, if the launcher requests any."""
    if launcher.gpus == 0 or not compiled.startswith("none"):
        return Finding("torch", "ok", f"{version}, compiled for {compiled}")
    detail = (
        f"{version} is a CPU build, and the launcher requests a GPU: its jobs would train on CPUs. "
        f"Install a CUDA build: {_CUDA_BUILD}"
    )
    return Finding("torch", "problem", detail)


def kernels(command: Sequence[str] = KERNELS, seconds: float = KERNEL_SECONDS) -> Finding:
    """Check torch's CPU kernels on some of our layers, in a separate process because they may
    crash.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        out.seek(0)
        err.seek(0)
        lines = [json.loads(line) for line in out if line.endswith("}\n")]
        error_lines = err.read().strip().splitlines()
    return _kernel_finding(lines, code, error_lines[-1] if error_lines else "no message", seconds)


def _kernel_finding(
    lines: Sequence[dict[str, Any]], code: int | None, message: str, seconds: float
) -> Finding:
    """The finding from the output and exit status of the kernels' process; None means a timeout."""
    layers = [line for line in lines if "name" in line]
    last = next((line["begun"] for line in reversed(lines) if "begun" in line), "the first layer")
    wrong = [line for line in layers if line["wrong"]]
    verdict: Verdict = "problem"
    if code is None and not lines:
        verdict = "warning"
        detail = f"not checked: torch took more than {seconds:.0f} s to start"
    elif code is None:
        detail = f"no result after {seconds:.0f} s, in {last}; {_REMEDY}"
    elif code < 0:
        detail = f"crashed ({signal.Signals(-code).name}) in {last}; {_REMEDY}"
    elif code > 0:
        detail = f"could not be checked: {message}"
    elif wrong:
        are = "is" if len(wrong) == 1 else "are"
        detail = (
            f"{len(wrong)} of {quantity(len(layers), 'layer')} {are} wrong, such as "
            f"{wrong[0]['name']} by {wrong[0]['error']:.2g} of its largest number; {_REMEDY}"
        )
    else:
        verdict = "ok"
        agree = quantity(len(layers), "layer on this CPU agrees", "layers on this CPU agree")
        detail = f"{agree} with float64, forward and backward"
    return Finding("kernels", verdict, detail)


def _path(launcher: Launcher, logs: Path) -> Finding:
    """Whether jobs can use the path of the log folder."""
    try:
        check_folder(logs, launcher.kind)
    except UserError as error:
        return Finding("path of logs", "problem", str(error))
    return Finding("path of logs", "ok", str(logs.resolve()))


def folder_findings(logs: Path) -> list[Finding]:
    """Whether the folder of the logs can be written, has space left, and has file locks.

    Space and locks are left out if it cannot be written.
    """
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=logs):
            pass
    except OSError as error:
        detail = (
            f"{logs}: {error.strerror}; expected a folder that you can write to: change its "
            "permissions, or name another one with REDESCENT_LOGS"
        )
        return [Finding("logs folder", "problem", detail)]
    return [_disk(logs), _locks(logs)]


def _disk(logs: Path) -> Finding:
    free = shutil.disk_usage(logs).free
    inodes = os.statvfs(logs)
    free_space = f"{logs}: {free / 1e9:.1f} GB and {quantity(inodes.f_favail, 'file')} free"
    tight = free < 1e9 or (inodes.f_files > 0 and inodes.f_favail < 20_000)
    return Finding("logs folder", "warning" if tight else "ok", free_space)


def _locks(logs: Path) -> Finding:
    try:
        with contextlib.suppress(BlockingIOError):  # another process holds it: locks work
            with files.open_lock(logs / ".lock") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (logs / ".lock").unlink(missing_ok=True)  # another check may have removed it
    except OSError as error:
        detail = f"{logs}: {error.strerror}; submissions use lock files in their place"
        return Finding("file locks", "warning", detail)
    return Finding("file locks", "ok", f"work in {logs}")


def _slurm() -> list[Finding]:
    if not slurm.present():
        detail = (
            "no sbatch with a cluster configuration here; submit from a login node, or use "
            "hydra/launcher=local"
        )
        return [Finding("SLURM", "problem", detail)]
    limits = cluster.limits()
    if not limits:
        return [Finding("SLURM", "problem", "sbatch is installed, but slurmctld does not answer")]
    return [_version(), _queue(), _accounting()]


def _version() -> Finding:
    answer = slurm.call("sbatch", "--version")
    lines = answer.stdout.strip().splitlines()
    arrays = f"arrays of up to {quantity(cluster.array_size(), 'task')}"
    if answer.returncode != 0:
        error = slurm.error_of(answer)
        return Finding("SLURM", "warning", f"`sbatch --version` fails ({error}); {arrays}")
    if not lines:
        return Finding("SLURM", "warning", f"`sbatch --version` prints nothing; {arrays}")
    return Finding("SLURM", "ok", f"{lines[-1]}, {arrays}")


def _queue() -> Finding:
    """Whether squeue answers: without it no command knows which cells run or wait."""
    answer = slurm.queue([_NO_JOB])
    if answer.tasks is None:
        detail = (
            f"squeue does not answer ({answer.error}): status cannot show what runs, and nothing "
            "is sent that may be running"
        )
        return Finding("queue", "problem", detail)
    return Finding("queue", "ok", "squeue answers")


def _accounting() -> Finding:
    """Whether sacct answers; not every site has accounting."""
    if slurm.accounting([_NO_JOB]) is None:
        detail = "sacct does not answer; status and resume work without it"
        return Finding("accounting", "warning", detail)
    return Finding("accounting", "ok", "sacct answers")


def partition_findings(launcher: Launcher) -> list[Finding]:
    """Whether a partition of the launcher lets its jobs start; SLURM accepts those that never do.

    Empty if SLURM does not answer.
    """
    partitions_here = {partition.name: partition for partition in cluster.partitions()}
    if not partitions_here:
        return []
    names = [partition.name for partition in partitions_here.values() if partition.is_default]
    if launcher.partition:
        names = launcher.partition.split(",")
    for name in names:
        if name not in partitions_here:
            names_here = ", ".join(partitions_here)
            detail = f"hydra.launcher.partition: found {name}, this cluster has {names_here}"
            return [Finding("partition", "problem", detail)]
    partitions = [partitions_here[name] for name in names]
    if not partitions:
        return []
    answers = [_never_starts(launcher, partition) for partition in partitions]
    reasons = [reason for reason in answers if reason]
    if len(reasons) < len(partitions):
        detail = f"{partitions[0].name} allows the time limit and one node"
        return [Finding("partition", "ok", detail)]
    verdict: Verdict = "problem"
    if launcher.settings.get("qos"):
        verdict = "warning"  # a quality of service can lift the limits of a partition
    return [Finding("partition", verdict, "; ".join(reasons))]


def _shorter_lead(launcher: Launcher, minutes: float) -> str:
    """What to set beside this time limit, if tasks would be told to save before half of it."""
    if launcher.lead_seconds < 30 * minutes:
        return ""
    return f" and hydra.launcher.signal_delay_s={30 * minutes:g}"


def _never_starts(launcher: Launcher, partition: cluster.Partition) -> str | None:
    """Why jobs of the launcher wait in a partition for ever; None if they do not."""
    minutes, most = launcher.limit_minutes, partition.minutes
    if minutes is not None and most is not None and minutes > most:
        return (
            f"jobs will never start: hydra.launcher.timeout_min is {minutes:g}, and partition "
            f"{partition.name} allows {most:g}; set hydra.launcher.timeout_min={most:g} (a task "
            f"requeues itself before its limit){_shorter_lead(launcher, most)} or another "
            "hydra.launcher.partition"
        )
    if partition.least_nodes > 1 or partition.most_nodes == 0:
        return (
            f"jobs will never start: they take one node, and partition {partition.name} allows "
            f"{partition.least_nodes} to {partition.most_nodes}; set another "
            "hydra.launcher.partition"
        )
    return None


def _trial(launcher: Launcher) -> Finding:
    """sbatch --test-only: would SLURM accept a job with the launcher's settings?"""
    try:
        sbatch.check(launcher)
        text = sbatch.single_script(launcher.settings, "true", Path("/tmp"))
    except UserError as error:
        return Finding("launcher", "problem", str(error))
    if not slurm.present():
        return Finding("launcher", "warning", "the settings are valid; SLURM could not check them")
    process = slurm.call("sbatch", "--test-only", input=text)
    message = process.stderr.strip().splitlines()[-1] if process.stderr.strip() else ""
    return Finding("launcher", "ok" if process.returncode == 0 else "problem", message)
