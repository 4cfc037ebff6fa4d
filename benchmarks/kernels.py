"""Search our models' layers for shapes at which torch's kernels crash, hang or compute wrong
numbers on this CPU.

    python benchmarks/kernels.py [--quick | --sample N] [--seed 0] [--isa AVX2 ...] [--strided]
                                 [--group 400]

Each case of trainers/kernels.py (layer, width 1 to 16 and 64, image, batch, memory format, number
format) runs forward and backward and is compared with float64 on contiguous tensors, under each
ONEDNN_MAX_CPU_ISA that the processor has. Each group of cases runs in its own process, with glibc's
heap checks if available. When a process dies or hangs, the group is halved until the single case at
fault is found. `--strided` searches the strided 1x1 convolutions that our models avoid; on x86-64
with AVX2 and without AVX-512 it finds oneDNN's fault. `--quick` draws a sample.

Prints for each instruction set the faults and the largest error of each operation. Exits with 1 if
there is a fault.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainers import kernels
from trainers.kernels import Case

ROOT = Path(__file__).resolve().parents[1]
QUICK = 300  # cases for each instruction set
ISAS = {
    "SSE41": {"sse4_1"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX2_VNNI": {"avx_vnni"},
    "AVX512_CORE": {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_bf16"},
    "AVX512_CORE_FP16": {"avx512_fp16"},
    "AVX512_CORE_AMX": {"amx_tile"},
}
"""Values of ONEDNN_MAX_CPU_ISA and the processor flags that each needs; each needs those above
too.
"""
CHILD = (sys.executable, "-m", "trainers.kernels", "--given")


@dataclass(frozen=True)
class Fault:
    """What went wrong, and the case at fault; several cases if only their combination fails."""

    how: str
    cases: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.cases) == 1:
            return f"{self.how}: {self.cases[0]}"
        count, first, last = len(self.cases), self.cases[0], self.cases[-1]
        return f"{self.how}: {count} cases together, from {first} to {last}"


@dataclass(frozen=True)
class Outcome:
    """The result of a process: the errors of the cases it finished, and how it died, if it did."""

    results: tuple[dict[str, Any], ...]
    death: str | None


def isas(flags: set[str]) -> list[str]:
    """The instruction sets of a processor with these flags, smallest first."""
    names = []
    for name, flags_needed in ISAS.items():
        if flags_needed <= flags:
            names.append(name)
    return names


def search(
    cases: Sequence[Case],
    isa: str | None,
    group: int = 400,
    child: Sequence[str] = CHILD,
    limit: float | None = None,
) -> tuple[list[Fault], dict[str, float]]:
    """Faults among the cases, and the largest error of each operation and number format."""
    faults: list[Fault] = []
    worst: dict[str, float] = {}
    remaining = list(cases)
    while remaining:
        some = remaining[:group]
        outcome = run(some, isa, child, limit)
        for case, result in zip(some, outcome.results, strict=False):
            key = f"{case.operation} {case.format}"
            worst[key] = max(worst.get(key, 0.0), result["error"])
            if result["wrong"]:
                faults.append(Fault(f"wrong by {result['error']:.2g}", (case.name,)))
        count = len(outcome.results)
        if outcome.death:
            began = some[: count + 1]
            blamed = _blamed(began, isa, child, limit)
            faults.append(Fault(outcome.death, tuple(case.name for case in blamed)))
            # a case before the one that died may have done the damage: those after it are still to
            # be tried
            count = began.index(blamed[0]) + 1 if len(blamed) == 1 else len(began)
        remaining = remaining[count:]
    return list(dict.fromkeys(faults)), worst


def run(
    cases: Sequence[Case], isa: str | None, child: Sequence[str] = CHILD, limit: float | None = None
) -> Outcome:
    """Check cases in one process. A hang ends at the limit: two minutes and two seconds a case by
    default.
    """
    seconds = limit or 120 + 2 * len(cases)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            child, cwd=ROOT, env=_environment(isa), stdin=subprocess.PIPE, stdout=out, stderr=err
        )
        try:
            process.communicate(kernels.to_json(cases).encode(), timeout=seconds)
            death = _death(process.returncode)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            death = f"hung for {seconds:.0f} s"
        out.seek(0)
        err.seek(0)
        # the last line of a process that died may be incomplete
        lines = [line for line in out.read().decode().splitlines() if line.endswith("}")]
        message = err.read().decode(errors="replace").strip()
    if process.returncode > 0:
        raise RuntimeError(f"the process that checks kernels failed:\n{message}")
    return Outcome(tuple(answer for answer in map(json.loads, lines) if "name" in answer), death)


def _blamed(
    cases: Sequence[Case], isa: str | None, child: Sequence[str], limit: float | None
) -> Sequence[Case]:
    """The case that kills its process, or the smallest group of cases found that does."""

    def kills(some: Sequence[Case]) -> bool:
        return run(some, isa, (*child, "--repeats", "5"), limit).death is not None

    if kills(cases[-1:]):
        return cases[-1:]
    while len(cases) > 1:
        half = len(cases) // 2
        if kills(cases[half:]):
            cases = cases[half:]
        elif kills(cases[:half]):
            cases = cases[:half]
        else:
            break
    return cases


def _death(code: int) -> str | None:
    return signal.Signals(-code).name if code < 0 else None


def _environment(isa: str | None) -> dict[str, str]:
    """The instruction set, one thread, and glibc's heap checks: of bytes next to a block, and of
    freed ones.
    """
    isa_limit = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
    checks = {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    try:
        ctypes.CDLL("libc_malloc_debug.so.0")
        checks["LD_PRELOAD"] = "libc_malloc_debug.so.0"
    except OSError:
        pass
    return os.environ | isa_limit | checks | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _processor() -> tuple[str, set[str]]:
    """Model name and flags of this machine's processor."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts.get("model name", platform.processor()), set(facts.get("flags", "").split())


def main() -> int:
    """Search, and print the faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK} cases for each instruction set"
    )
    parser.add_argument("--sample", type=int, help="draw this many cases for each instruction set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--isa",
        nargs="+",
        help="values of ONEDNN_MAX_CPU_ISA (default: all that the processor has)",
    )
    parser.add_argument(
        "--strided",
        action="store_true",
        help="only strided 1x1 convolutions, which our models avoid",
    )
    parser.add_argument("--group", type=int, default=400, help="cases of a process (default: 400)")
    options = parser.parse_args()

    model, flags = _processor()
    every = kernels.strided() if options.strided else kernels.cases()
    sample_size = options.sample or (QUICK if options.quick else None)
    print(
        f"{model}, torch {torch.__version__}, {platform.system()}; {len(every)} cases", flush=True
    )
    fault_count = 0
    for isa in options.isa or isas(flags):
        selection = every
        if sample_size is not None:
            selection = random.Random(f"{options.seed} {isa}").sample(
                every, min(sample_size, len(every))
            )
        began = time.monotonic()
        faults, worst = search(selection, isa, options.group)
        fault_count += len(faults)
        print(
            f"{isa}: {len(selection)} cases, {len(faults)} faults, {time.monotonic() - began:.0f} s"
        )
        for fault in faults:
            print(f"  {fault}")
        for key, error in sorted(worst.items()):
            if math.isfinite(error):
                print(f"  largest error of {key:19s} {error:.1e}")
        sys.stdout.flush()
    print(f"{fault_count} faults")
    return int(fault_count > 0)


if __name__ == "__main__":
    sys.exit(main())
