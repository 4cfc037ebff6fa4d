"""Process-wide settings of a training: what they do to memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainers import precision

ROOT = Path(__file__).parents[2]
CODE = """
import resource, sys, torch
from trainers import precision
if sys.argv[1] == "kept":
    precision.set_numerics(deterministic=False, threads=1)
torch.zeros(16 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator has the option"
)
def test_freed_memory_is_used_again_without_faulting_its_pages_in() -> None:
    """Ten tensors of 64 MiB, one after another: where each is mapped anew, all of its pages are,
    huge or not.
    """

    def faults(way: str) -> int:
        process = subprocess.run(
            [sys.executable, "-c", CODE, way], capture_output=True, text=True, cwd=ROOT, check=True
        )
        return int(process.stdout)

    # a kernel that reclaims idle pages makes a process on a busy machine fault them in again
    fewest = min(faults("kept") for _ in range(3))
    assert fewest < faults("plain") / 2


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
