"""Training speed of ResNet-18 of width k on this CPU, compared with a plain loop in the style of
the published study.

    python benchmarks/vision.py [--quick] [--widths 4 16] [--cells 1 2] [--rounds 3] [--compile]

"plain" is that style: PIL transforms one image at a time in the training process, float32, eager, a
loss read back at every step, the test set evaluated after every epoch in batches of 256. "ours" is
trainers.vision as a job runs it, one cell at a time and several side by side. Both train the same
model and batch size with Adam, evaluate after every epoch, and alternate within each round, each in
its own warm process. Images are random: no step's time depends on their content. An epoch here is
shortened to --images, with a fifth as many to test on, as in CIFAR-10.

Each line of the table gives training images per second, including evaluation, per wall second and
per second of one core; medians and range over rounds; and the counted FLOPs as a share of the
measured rate of matrix products (one thread, in the format of ours). Ours has one thread for each
cell, and plain is timed with torch's default, all cores, and with one; where the processor
multiplies bfloat16, ours is timed under trainer.precision=bfloat16 too, which is not the default
there. The last lines are `ratio NAME VALUE`, ours over plain: by the wall clock, and as
cpu_one_thread by CPU seconds, one thread each. benchmarks/gpu.py measures a GPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from pathlib import Path

from turns import TRAIN, Child, Series, flat_cell, flops_per_image, write_images

RUNS, EPOCHS = 500, 1001  # of the published heat map


def measure(options: argparse.Namespace, width: int, folder: Path) -> dict[str, Series]:
    """Measure all versions at one width, alternating."""
    flat = flat_cell(folder, options.images, "cpu", f"model.width={width}")
    children = [Child("ours", flat) for _ in range(max(options.cells))]
    ways = {
        "plain": Series([Child("plain", flat | {"threads": 0})]),
        "plain 1 thread": Series([Child("plain", flat | {"threads": 1})]),
    }
    ways |= {f"ours x {n}": Series(children[:n]) for n in options.cells}
    if options.compile:
        ways["ours compiled"] = Series([Child("ours", flat | {"run.compile": True})])
    formats = {"matmul": flat}
    if options.bfloat16 or "bf16" in cpu("flags"):
        formats["matmul bfloat16"] = flat | {"trainer.precision": "bfloat16"}
        ways["ours bfloat16"] = Series([Child("ours", formats["matmul bfloat16"])])
    ways |= {name: Series([Child("matmul", flat)]) for name, flat in formats.items()}
    everyone = {id(child): child for series in ways.values() for child in series.children}.values()
    for child in everyone:
        child.answer()  # its first epoch: warm now
    for _ in range(options.rounds):
        for series in ways.values():
            series.turn()
    for child in everyone:
        child.close()
    return ways


def report(
    options: argparse.Namespace, width: int, ways: dict[str, Series], flops: float
) -> list[str]:
    """Print the lines of one width; returns its ratios."""
    rates = {}
    trainings = {}
    for name, series in ways.items():
        if name.startswith("matmul"):
            facts = series.facts[0]
            rates[facts["precision"]] = facts["flops"] / statistics.median(series.cpu)
        else:
            trainings[name] = series
    any_rate = next(iter(rates.values()))
    speed = {}
    for name, series in trainings.items():
        images = options.images * len(series.children)
        wall = [images / seconds for seconds in series.wall]
        core = [images / seconds for seconds in series.cpu]
        speed[name] = statistics.median(wall), statistics.median(core)
        kind = series.facts[0].get("precision", "float32")
        images_per_second = images / statistics.median(series.cpu)
        share = images_per_second * flops / rates.get(kind, any_rate)
        print(
            f"{width:5d}  {name:14s} {kind:9s} {speed[name][0]:9.0f} "
            f"{min(wall):8.0f} - {max(wall):<8.0f} {speed[name][1]:9.0f} {100 * share:7.1f}"
        )
    for kind, rate in rates.items():
        print(
            f"{width:5d}  {'matmul':14s} {kind:9s} {rate / 1e9:9.0f} GFLOP/s; {flops / 1e9:.3f} "
            "GFLOP an image"
        )
    cores = os.cpu_count() or 1
    for name in ("plain 1 thread", "ours x 1"):
        hours = RUNS * EPOCHS * TRAIN / (speed[name][1] * cores) / 3600
        print(
            f"       the {RUNS} runs of {EPOCHS} epochs at this width on {cores} such cores, "
            f"{name}: {hours:,.0f} hours"
        )
    lines = []
    mine = [name for name in speed if name.startswith("ours")]
    for name in [name for name in mine if len(trainings[name].children) == 1]:
        one = speed[name][1] / speed["plain 1 thread"][1]
        lines.append(f"ratio vision_k{width}_{name.replace(' ', '_')}_cpu_one_thread {one:.2f}")
    for name in mine:
        ratio = speed[name][0] / speed["plain"][0]
        lines.append(f"ratio vision_k{width}_{name.replace(' ', '_')} {ratio:.2f}")
    return lines


def main() -> None:
    """Run the rounds and print the table and the ratios."""
    options = arguments()
    processor = cpu("model name") or platform.machine()
    print(
        f"{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {options.rounds} rounds, "
        f"epochs of {options.images} images"
    )
    print(
        "width  way            format    img/s wall      range           img/core s  % of matmul "
        "rate"
    )
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), options.images, options.images // 5)
        for width in options.widths:
            flops = flops_per_image(
                flat_cell(Path(name), options.images, "cpu", f"model.width={width}")
            )
            ratios += report(options, width, measure(options, width, Path(name)), flops)
    print("\n".join(ratios))


def arguments() -> argparse.Namespace:
    """Options, with the defaults filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="about a minute on two cores: fewer widths and images"
    )
    parser.add_argument(
        "--widths", type=int, nargs="+", help="widths k (default: 4 8 16 64; quick: 4 16)"
    )
    parser.add_argument(
        "--cells", type=int, nargs="+", help="cells side by side (default: 1 and all cores)"
    )
    parser.add_argument(
        "--rounds", type=int, help="measurements of each version (default: 3; quick: 2)"
    )
    parser.add_argument("--images", type=int, help="images of an epoch (default: 1280; quick: 384)")
    parser.add_argument("--compile", action="store_true", help="also ours with run.compile=true")
    parser.add_argument("--bfloat16", action="store_true", help="ours in bfloat16 on every CPU")
    options = parser.parse_args()
    options.widths = options.widths or ([4, 16] if options.quick else [4, 8, 16, 64])
    options.cells = options.cells or sorted({1, os.cpu_count() or 1})
    options.rounds = options.rounds or (2 if options.quick else 3)
    options.images = options.images or (384 if options.quick else 1280)
    options.images -= options.images % 5  # five files, and a fifth as many to test on
    return options


def cpu(key: str) -> str:
    """The value of `key` for the first processor on Linux; empty if unknown."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


if __name__ == "__main__":
    main()
