"""Process-wide settings of a training: what they do to memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator has the option")
def test_freed_memory_is_used_again_without_faulting_its_pages_in() -> None:
    """Ten tensors of 64 MiB, one after another: where each is mapped anew, all of its pages are, huge or not."""

    def faults(way: str) -> int:
        done = subprocess.run([sys.executable, "-c", CODE, way], capture_output=True, text=True, cwd=ROOT, check=True)
        return int(done.stdout)

    assert faults("kept") < faults("plain") / 2
