"""Device and number format of a training: what `auto` means, autocast and loss scaling."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
from typing import Literal

import torch

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # options of glibc's mallopt

Precision = Literal["float32", "bfloat16", "float16"]


def device(name: str) -> torch.device:
    """The torch device of `run.device`; `auto` means the first GPU if there is one.

    Says once in a process if SLURM gave the job a GPU that `auto` does not use. Raises RuntimeError
    if a GPU is named and torch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        if not has_gpu and os.environ.get("SLURM_JOB_GPUS"):
            _warn_without_gpu()
        return torch.device("cuda" if has_gpu else "cpu")
    if name.startswith("cuda") and not has_gpu:
        raise RuntimeError(
            f"run.device={name}: torch {torch.__version__} sees no GPU here; use run.device=auto "
            "or cpu"
        )
    return torch.device(name)


def gpu_name(where: torch.device) -> str | None:
    """The name of a GPU, for the records; None for a CPU."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else None


@functools.cache
def _warn_without_gpu() -> None:
    log.warning(
        "no GPU is used although the job requested one: torch %s sees none, so cells train on "
        "CPUs; `redescent doctor hydra/launcher=...` says more",
        torch.__version__,
    )


def resolve(precision: str, where: torch.device) -> Precision:
    """What `trainer.precision` means on a device: `auto` is bfloat16, float16 (V100 and older) or,
    on a CPU, float32.

    Raises RuntimeError for float16 on a CPU, which has no loss scaling here.
    """
    if precision == "auto":
        if where.type == "cpu":
            return "float32"
        return "bfloat16" if torch.cuda.get_device_capability(where)[0] >= 8 else "float16"
    if precision == "float16" and where.type == "cpu":
        raise RuntimeError(
            "trainer.precision=float16 needs a GPU; use auto, float32 or bfloat16 on a CPU"
        )
    if precision == "float32":
        return "float32"
    return "bfloat16" if precision == "bfloat16" else "float16"


def warn_if_slow(precision: str, where: torch.device) -> None:
    """Warn about bfloat16 on a CPU without instructions for it: steps then take longer than in
    float32.

    It is not an error: a run that started elsewhere can continue here, and its results are valid.
    """
    if precision == "bfloat16" and where.type == "cpu" and not multiplies_bfloat16():
        log.warning(
            "trainer.precision=bfloat16: this processor has no bfloat16 instructions (AVX512_BF16 "
            "or AMX) and trains slower than in float32; benchmarks/algorithmic.py and "
            "benchmarks/vision.py --bfloat16 measure how much. Expected: a processor that has "
            "them, a GPU, or trainer.precision=float32"
        )


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(precision: str, where: torch.device) -> contextlib.AbstractContextManager[None]:
    """The autocast context of the forward pass; it does nothing for float32."""
    if precision not in ("bfloat16", "float16"):
        return contextlib.nullcontext()  # a disabled autocast takes 10 us a step
    return torch.autocast(where.type, getattr(torch, precision))


def set_numerics(deterministic: bool, threads: int) -> None:
    """Process-wide settings: CPU threads, true float32 (no TF32) and optionally deterministic
    kernels.

    Denormals are kept: flushing them would change results with the processor.
    """
    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        # imports torch._inductor, which takes as long as torch itself
        torch.use_deterministic_algorithms(deterministic)


def _keep_freed_memory() -> None:
    """Let glibc's allocator keep freed memory instead of returning it to the kernel.

    Otherwise activations of some megabytes are mapped, zeroed page by page and unmapped in every
    step, which takes a tenth to a third of a training step on a CPU (benchmarks/vision.py measures
    it). Results do not change.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
