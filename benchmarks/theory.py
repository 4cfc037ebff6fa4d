"""CPU time and memory of the theory's figures and simulation, compared with a plain
re-implementation of the same loops.

    python benchmarks/theory.py [--quick] [--rounds 5]

Our code and the plain code run alternately, each run in its own process. "Plain" uses loops:
pyplot, one call of the formula for each weight decay, a polygon for each cell of a map, and in the
simulation dense matrix products for each time, κ and seed. "plain+torch" also imports torch, as the
published scripts do for every figure; it is timed for one of them. Each line of the table gives
medians over rounds and the range. Other work on the same cores also raises CPU seconds, so the
header gives the processor and its load. The last lines are `ratio NAME VALUE`, plain over ours.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMULA = """
import numpy as np, matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from scipy.stats import ortho_group
times = 10 ** np.linspace(-3, 8, 300)
def fast_slow(n, d, p, kappa, noise=0.0, lam=0.0):
    a = []
    for size, s in ((p, 0.5), (d - p, 0.5 / kappa)):
        load, alpha = (lam + 1 / times) / (size / d * s**2), n / size
        u = 1 - alpha - load
        a.append(1 + 2 * load / (u + np.sqrt(u**2 + 4 * load)))
    r1, r2 = n / d / a[0], n / d / a[1]
    b1, b2 = (n / p / (a[0] ** 2 - n / p), n / (d - p) / (a[1] ** 2 - n / (d - p)))
    c1 = 1 + noise**2 - 2 * r2 - (2 - a[0]) / a[0] * n / d
    c2 = 1 + noise**2 - 2 * r1 - (2 - a[1]) / a[1] * n / d
    q = (b1 * b2 * c2 + b1 * c1 + b1 * b2 * c1 + b2 * c2) / (1 - b1 * b2)
    return r1 + r2, q, 0.5 * (1 + noise**2 - 2 * (r1 + r2) + q)
def finish(figure):
    plt.tight_layout()
    for ending in ("png", "pdf"):
        plt.savefig(OUT + "/plain." + ending, dpi=200)
"""
PLAIN = {
    "fig1": FORMULA
    + """
figure, axes = plt.subplots(2, 1, figsize=(7, 7))
for axis in axes:
    axis.semilogx(times + 1, fast_slow(150, 100, 70, 100)[2], lw=2.2)
finish(figure)
""",
    "fig2_cd": FORMULA
    + """
lams = 10 ** -np.linspace(0.1, 8, 100)
grid = np.zeros((300, 100))
for i, lam in enumerate(lams):
    grid[:, i] = fast_slow(120, 100, 80, 40, 0.2, lam)[2]
figure, axes = plt.subplots(1, 2, figsize=(13.3, 4), gridspec_kw={"width_ratios": [3, 1.3]})
mesh = axes[0].pcolor(-np.log10(lams), times + 1, grid, vmin=0.2, vmax=0.45, shading="auto")
plt.colorbar(mesh, ax=axes[0])
axes[0].set_yscale("log"); axes[0].set_ylim(1, 1e4)
for i in (10, 30, 99):
    axes[1].semilogx(times + 1, grid[:, i], lw=2.2)
finish(figure)
""",
    "fig3": FORMULA
    + """
figure, axes = plt.subplots(1, 2, figsize=(13.3, 4))
r, q = np.meshgrid(np.linspace(0, 1.05, 100), np.linspace(0, 1.3, 100))
axes[0].pcolor(r, q, 1 - 2 * r + q, vmin=0, vmax=2.5, shading="auto")
for kappa in (1, 7, 12, 30, 100, 1000, 100000):
    r, q, error = fast_slow(110, 100, 70, kappa)
    axes[0].plot(r, q)
    axes[1].semilogx(times + 1, error)
finish(figure)
""",
    "simulation": """
import numpy as np
from scipy.stats import ortho_group
import time
begin = time.process_time()
n, d, p = 150, 100, 70
for kappa in (1, 100, 10000):
    for grid in (10 ** np.linspace(-3, 5, 50), 10 ** np.linspace(-3, 8, 300)):
        for seed in range(SEEDS):
            np.random.seed(seed)
            z, zt = np.random.randn(n, d) / np.sqrt(d), np.random.randn(1000, d) / np.sqrt(d)
            w, eps = np.random.randn(d, 1), np.random.randn(n, 1)
            u, vt = ortho_group.rvs(d), ortho_group.rvs(d)
            s = np.eye(d)
            s[p:, p:] /= kappa
            f = u @ s @ vt
            x, xt, y = z @ f, zt @ f, z @ w
            v, top, _ = np.linalg.svd(x.T @ x)
            bar = np.linalg.inv(x.T @ x) @ x.T @ y
            for t in grid:
                hat = v @ ((np.eye(d) - np.diag(np.exp(-top * t / top[0]))) @ (v.T @ bar))
                if len(grid) == 50:
                    error = 0.5 * np.mean((xt @ hat - zt @ w) ** 2)
                else:
                    r, q = ((f @ hat).T @ w).item() / d, ((f @ hat).T @ (f @ hat)).item() / d
print(time.process_time() - begin)
""",
}
OURS_SIMULATION = """
import numpy as np
from analysis.theory.teacher_student import Draws, Setting, simulate
times = np.concatenate([10 ** np.linspace(-3, 5, 50), 10 ** np.linspace(-3, 8, 300)])
import time
begin = time.process_time()
simulate(Setting(150, 100, 70, (1, 100, 10000)), times, Draws(range(SEEDS)), "flow")
print(time.process_time() - begin)
"""


@dataclass
class Series:
    """CPU seconds, wall seconds and peak megabytes of the runs of one command; `work` is the CPU
    time that it prints, without startup and imports.
    """

    command: list[str]
    threads: str = "default"
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run the command once and record its cost."""
        environment = dict(os.environ)
        if self.threads != "default":
            environment |= {"OPENBLAS_NUM_THREADS": self.threads, "OMP_NUM_THREADS": self.threads}
        begin = time.perf_counter()
        process = subprocess.Popen(
            self.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        printed = process.stdout.read().split() if process.stdout else []
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.command[:3]} ended with status {process.returncode}")
        self.wall.append(time.perf_counter() - begin)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.memory.append(usage.ru_maxrss * 1024 / 1e6)
        if len(printed) == 1:
            self.work.append(float(printed[0]))

    def row(self, name: str, way: str) -> str:
        """One line of the table."""
        spread = f"{min(self.cpu):.2f}-{max(self.cpu):.2f}"
        return (
            f"{name:19s} {way:12s} {self.threads:8s} {len(self.cpu):4d} "
            f"{statistics.median(self.cpu):8.2f} "
            f"{spread:>13s} {statistics.median(self.wall):8.2f} "
            f"{statistics.median(self.memory):8.0f}"
        )


def python(code: str) -> list[str]:
    """The command that runs a piece of code with this interpreter."""
    return [sys.executable, "-c", code]


def figures(out: str) -> dict[str, dict[str, Series]]:
    """Our code and the plain code for every closed-form figure that both draw; only ours for the
    variants.
    """
    series = {}
    for name in ("fig1", "fig2_cd", "fig3", "fig1_variants", "fig3_variants"):
        series[name] = {"ours": Series([sys.executable, f"analysis/{name}.py", "--out", out])}
        if name in PLAIN:
            code = f"OUT = {out!r}\n" + PLAIN[name]
            series[name]["plain"] = Series(python(code))
    series["fig1"]["plain+torch"] = Series(python(f"import torch\nOUT = {out!r}\n" + PLAIN["fig1"]))
    return series


def simulations(seeds: int) -> dict[str, dict[str, Series]]:
    """The simulation of this many seeds, with default BLAS threads and with one."""
    ours, plain = (f"SEEDS = {seeds}\n" + code for code in (OURS_SIMULATION, PLAIN["simulation"]))
    ways = {
        "ours": Series(python(ours)),
        "plain": Series(python(plain)),
        "plain-1": Series(python(plain), "1"),
    }
    return {f"simulate {seeds} seeds": ways}


def main() -> None:
    """Run the rounds and print the table and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="about a minute on two cores: fewer rounds and seeds"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of every command (default: 5; quick: 2)"
    )
    parser.add_argument(
        "--seeds", type=int, default=20, help="seeds of the simulation (default: 20; quick: 3)"
    )
    options = parser.parse_args()
    rounds, seeds = (2, 3) if options.quick else (options.rounds, options.seeds)
    with tempfile.TemporaryDirectory() as out:
        tasks = figures(out) | simulations(seeds)
        for _ in range(rounds):
            for ways in tasks.values():
                for series in ways.values():
                    series.run()
        full = Series(python("SEEDS = 1000\n" + OURS_SIMULATION))
        full.run()
    tasks["simulate 1000 seeds"] = {"ours": full}
    print(
        f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {rounds} rounds"
    )
    print("what                way          threads  runs    CPU s         range   wall s  peak MB")
    for name, ways in tasks.items():
        for way, series in ways.items():
            print(series.row(name, way))
    print_ratios(tasks, seeds)


def processor() -> str:
    """The processor's name and its widest AVX, as Linux gives them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    facts = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    flags = facts.get("flags", "").split()
    names = {"avx512f": "AVX-512", "avx2": "AVX2"}
    widest = next((names[flag] for flag in names if flag in flags), "no AVX")
    return f"{facts.get('model name', platform.machine())}, {widest}"


def print_ratios(tasks: dict[str, dict[str, Series]], seeds: int) -> None:
    """The main ratios, plain over ours; for the simulation, CPU seconds per seed."""
    for name in sorted(PLAIN.keys() & tasks.keys()):
        for way in sorted(tasks[name].keys() - {"ours"}):
            for quantity in ("cpu", "memory"):
                ours, plain = (
                    statistics.median(getattr(tasks[name][w], quantity)) for w in ("ours", way)
                )
                print(
                    f"ratio {name}_{quantity}{way.removeprefix('plain').replace('+', '_')} "
                    f"{plain / ours:.2f}"
                )
    ways = tasks[f"simulate {seeds} seeds"]
    seconds_per_seed = tasks["simulate 1000 seeds"]["ours"].work[0] / 1000
    for way, label in (("plain", "default_threads"), ("plain-1", "one_thread")):
        print(
            f"ratio simulation_cpu_per_seed_{label} "
            f"{statistics.median(ways[way].work) / seeds / seconds_per_seed:.1f}"
        )


if __name__ == "__main__":
    main()
