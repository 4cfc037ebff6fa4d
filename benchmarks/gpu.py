"""Check training on a GPU and measure its speed, in one command of at most eight minutes.

    python benchmarks/gpu.py [--device cpu] [--quick] [--minutes 8] [--sections NAME ...]
                             [--widths K ...]

It needs no network and no data set: images are random uint8 in CIFAR-10's shape, or the digits of
scikit-learn. Each section runs in its own process with a time budget:

    machine      the card and the software versions
    models       logits and gradients of one training step of each model, in float32 without TF32,
                 compared with the CPU in float32
    formats      the same step in bfloat16 and float16 compared with float32; and the test error
                 after a short training in each
    graphs       a short training of each model with its steps recorded as CUDA graphs, compared
                 with one whose kernels are launched one by one, in deterministic mode: rows,
                 weights and optimiser bit for bit
    resume       a training killed by SIGKILL and resumed, compared with an undisturbed one in
                 deterministic mode: rows, weights and optimiser bit for bit, with ResNet-18 and
                 with a transformer with dropout
    speed k=K    images per second of ResNet-18 in training, with the test set after every epoch:
                 the plain loop of benchmarks/plain.py (PIL, float32, eager), and ours in the format
                 of `auto`, 1, 2 and 4 cells in processes that start each epoch together; 1 cell
                 without CUDA graphs, and 1 with run.compile; peak memory of each; share of the rate
                 of matrix products
    transformer  steps per second of the transformer of Power et al. (2022) on division mod 97,
                 likewise; the plain loop is "plain per-head" of benchmarks/algorithmic.py
    hours        hours of the 500 published runs of fig2_ab on this card, at the rate of the widest
                 network

The first epoch of a process (start, search for algorithms, compilation) is not timed. Compilation
has its own line: the extra time of the first epoch. With several cells the rate is the total until
the last one has finished. Time that a section leaves goes to the next ones. A section that fails or
exceeds its budget is reported as failed, after the lines that it finished.

Writes gpu.csv, whose lines are printed too, then `ratio NAME VALUE`: ours over plain by the wall
clock. Exit status 1 if a check or a section failed. --quick --device cpu takes about a minute on
two cores, with a small MLP instead of ResNet-18 and without compiling the transformer: it tests
this script.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_sections.graphs import graphs
from gpu_sections.hours import published_hours
from gpu_sections.machine import machine
from gpu_sections.resume import resume
from gpu_sections.settings import Settings
from gpu_sections.speed import speed, transformer
from gpu_sections.steps import formats, models
from gpu_sections.table import Row, failed, ratio_lines, write_table
from turns import ROOT, write_images

sys.path.insert(0, str(ROOT))  # `launch` and `trainers`, where they are not installed


@dataclass(frozen=True)
class Section:
    """A part of the table, and its share of the time."""

    rows: Callable[[Settings], Iterator[Row]]
    share: float


SECTIONS = {
    "machine": Section(machine, 0.02),
    "models": Section(models, 0.05),
    "formats": Section(formats, 0.12),
    "graphs": Section(graphs, 0.1),
    "resume": Section(resume, 0.1),
    "speed": Section(speed, 0.48),  # all widths together
    "transformer": Section(transformer, 0.13),
}


def section_names(chosen: Collection[str], widths: Iterable[int]) -> list[str]:
    """The sections to run, in their order: one of `speed` for each width."""
    names = []
    for section in SECTIONS:
        if section not in chosen:
            continue
        if section == "speed":
            names += [f"speed k={width}" for width in widths]
        else:
            names.append(section)
    return names


def section_called(name: str) -> Section:
    """The section of a name such as "speed k=8"."""
    return SECTIONS[name.partition(" ")[0]]


def time_limit(left: list[str], seconds: float) -> float:
    """Seconds of the first of the sections that are `left`, of the `seconds` for all of them."""
    widths = sum(name.startswith("speed ") for name in left)
    weights = []
    for name in left:
        share = section_called(name).share
        weights.append(share / widths if name.startswith("speed ") else share)
    return seconds * weights[0] / sum(weights)


def run_section(settings: Settings) -> Iterator[Row]:
    """The rows of a section as they arrive, and a failed row if it fails or runs out of time.

    Its process group is killed at the end, with everything it started.
    """
    # a cache of its own: every run compiles again
    compiler = {"TORCHINDUCTOR_CACHE_DIR": str(Path(settings.folder) / "inductor")}
    process = subprocess.Popen(
        [sys.executable, __file__, "--section", json.dumps(dataclasses.asdict(settings))],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | compiler | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    began = time.time()
    timer = threading.Timer(max(settings.deadline - began, 0.0), stop)
    timer.start()
    try:
        for line in process.stdout:
            yield Row(**json.loads(line))
        process.wait()
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    if late.is_set():
        seconds = time.time() - began
        note = f"stopped after {seconds:.0f} s, its time limit; raise --minutes"
        yield failed(settings.section, note)
    elif process.returncode:
        note = f"ended with status {process.returncode}; the error is above"
        yield failed(settings.section, note)


def section_in_child(settings: Settings) -> None:
    """Print the rows of a section as JSON lines."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is not a row

    def answer(row: Row) -> None:
        answers.write(json.dumps(dataclasses.asdict(row)) + "\n")

    try:
        for row in section_called(settings.section).rows(settings):
            answer(row)
    except Exception as error:
        traceback.print_exc()
        answer(failed(settings.section, f"{type(error).__name__}: {error}"))


def main() -> int:
    """Run the sections, print the table and ratios, write gpu.csv; returns 1 if a check failed."""
    options = arguments()
    # through run_section, which ends its processes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    table = []
    for row in all_rows(options):
        table.append(row)
        print(row.text(), flush=True)
    for row in published_hours(table) if "speed" in options.sections else ():
        table.append(row)
        print(row.text())
    path = Path(options.out) / "gpu.csv"
    write_table(table, path)
    failures = sum(row.status == "failed" for row in table)
    print(f"checks and sections that failed: {failures}" if failures else "all checks passed")
    print(f"wrote {path}")
    print("\n".join(ratio_lines(table)))
    return int(failures > 0)


def all_rows(options: argparse.Namespace) -> Iterator[Row]:
    """The rows of all sections as they arrive, and the time of each section."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Settings("", options.device, options.quick, folder, 0.0)
        write_images(Path(folder), settings.images, settings.images // 5)
        end = time.time() + 60 * options.minutes
        names = section_names(options.sections, options.widths or settings.widths)
        for number, name in enumerate(names):
            began = time.time()
            deadline = began + time_limit(names[number:], end - began)
            yield from run_section(dataclasses.replace(settings, section=name, deadline=deadline))
            seconds, note = time.time() - began, "start of processes included"
            yield Row(name, "section's time", seconds, "s", note=note)


def arguments() -> argparse.Namespace:
    """The options; exits if the device does not exist."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="the first GPU (default), or the CPU",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small network and few images, to test the script"
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="time of all sections together (default: 8)"
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="NAME",
        help=f"only these: {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "--widths",
        type=int,
        nargs="+",
        metavar="K",
        help="widths of the network that `speed` times, in this order (default: 8 16 64)",
    )
    parser.add_argument("--out", default="figures", help="folder for gpu.csv (default: figures)")
    options = parser.parse_args()
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error(
                f"torch {torch.__version__} sees no GPU here; --device cpu --quick tries the "
                "script out"
            )
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == ["--section"]:
        section_in_child(Settings(**json.loads(sys.argv[2])))
    else:
        sys.exit(main())
