"""Process-wide settings of a training: what they do to memory."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainers import precision

ROOT = Path(__file__).parents[2]
CODE = """
import ctypes, sys, torch
from trainers import precision

class Allocated(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

if sys.argv[1] == "kept":
    precision.set_numerics(deterministic=False, threads=1)
torch.zeros(16 * 2**20)
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Allocated
print(libc.mallinfo2().fordblks)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc's allocator has the option, and from 2.33 on says what it holds",
)
def test_freed_memory_stays_with_the_process() -> None:
    """The bytes that the allocator holds free after a tensor of 64 MiB was freed."""

    def free_bytes(way: str) -> int:
        process = subprocess.run(
            [sys.executable, "-c", CODE, way], capture_output=True, text=True, cwd=ROOT, check=True
        )
        return int(process.stdout)

    assert free_bytes("plain") < 2**26 <= free_bytes("kept")


@pytest.mark.parametrize(
    ("format_", "device", "multiplies", "warned"),
    [
        ("bfloat16", "cpu", False, True),
        ("bfloat16", "cpu", True, False),
        ("bfloat16", "cuda", False, False),
        ("float32", "cpu", False, False),
    ],
)
def test_bfloat16_is_warned_of_where_the_processor_does_not_multiply_it(
    format_: str,
    device: str,
    multiplies: bool,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: multiplies)
    precision.warn_if_slow(format_, torch.device(device))
    assert ("trainer.precision=bfloat16" in caplog.text) == warned


@pytest.mark.parametrize(
    ("name", "gpus", "lines"), [("auto", "0", 1), ("auto", None, 0), ("cpu", "0", 0)]
)
def test_a_job_says_once_that_it_does_not_use_its_gpu(
    name: str,
    gpus: str | None,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("SLURM_JOB_GPUS", raising=False)
    if gpus is not None:
        monkeypatch.setenv("SLURM_JOB_GPUS", gpus)
    precision._warn_without_gpu.cache_clear()
    for _ in range(2):
        assert precision.device(name).type == "cpu"
    assert len(caplog.messages) == lines
    assert all("no GPU is used although the job requested one" in text for text in caplog.messages)
