"""Hand-made stores of a trained sweep and of sweeps that measure it, with known landscapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from sweep_folder import Sweep

from analysis.landscape.surfaces import axis_values

POISON = (0, 100, 400)
SEEDS = (0, 1)
FACTS = {"status": "done", "attempt": 1, "updated": 1.0, "code": "c0de", "environment": "e0"}
NETWORK = {
    "model.name": "fully_connected",
    "data.name": "swiss_roll",
    "data.train_samples": 200,
}


def curvature(poison: int) -> float:
    """Of the quadratic loss around a cell: the more poison, the steeper."""
    return 2.0 + poison


def error_of(poison: int, seed: int) -> float:
    return 0.002 + poison / 700 + 0.003 * seed


class LandscapeSweep:
    """A folder of logs with a trained sweep, and the measures that are added to it."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.trained = self._folder("roll")

    def _folder(self, name: str) -> Sweep:
        folder = self.logs / name
        folder.mkdir(parents=True)
        return Sweep(folder)

    def cells(self, seeds: Sequence[int] = SEEDS) -> Iterator[tuple[str, int, int]]:
        """Id, poison samples and seed of each trained cell."""
        for poison in POISON:
            for seed in seeds:
                yield f"c1-p{poison}s{seed}", poison, seed

    def train(self, seeds: Sequence[int] = SEEDS, **changes: Any) -> None:
        """The runs of the trained cells, all of them fitted minima."""
        runs = []
        for cell, poison, seed in self.cells(seeds):
            runs.append({
                "cell": cell, "seed": seed, **NETWORK, **FACTS,
                "trainer.name": "minima", "trainer.epochs": 100,
                "trainer.poison.samples": poison, "trainer.poison.kind": "not_label",
                "final_test_error": error_of(poison, seed),
                "final_train_eval_wrong": 0, "final_train_eval_loss": 1e-4,
                **changes,
            })  # fmt: skip
        self.trained.runs("runs", runs)

    def measure(
        self,
        name: str,
        settings: Mapping[str, Any],
        cells: Mapping[str, Mapping[str, Any]],
        rows: Sequence[Mapping[str, Any]],
    ) -> Path:
        """A measuring sweep: `cells` have trainer.of and seed, `rows` are its curves."""
        sweep = self._folder(name)
        of_folder = str(self.trained.folder)
        runs = []
        for cell, values in cells.items():
            place = {"cell": cell, "trainer.of_folder": of_folder, **NETWORK, **FACTS}
            runs.append({**place, **settings, **values})
        sweep.runs("runs", runs)
        if rows:
            sweep.curves("rows", [{"attempt": 1, "seconds": 0.0, **row} for row in rows])
        return sweep.folder

    def surface(self, points: int = 9, blocks: int | None = None, **settings: Any) -> Path:
        """Surfaces of all trained cells; with `blocks`, only the first ones are done."""
        values = axis_values(points, 0.5, "linear")
        total = -(-points // 3)
        cells, rows = {}, []
        for of, poison, seed in self.cells():
            for block in range(total):
                is_done = blocks is None or block < blocks
                cell = f"{of}b{block}"
                cells[cell] = {"trainer.of": of, "trainer.block": block, "seed": seed}
                if not is_done:
                    cells[cell] |= {"status": "stopped"}
                    continue
                for row in range(3 * block, min(3 * block + 3, points)):
                    rows += surface_row(cell, values, row, poison)
        fixed = {
            "trainer.name": "surface", "trainer.points": points, "trainer.span": 0.5,
            "trainer.spacing": "linear", "trainer.bn": "kept", "trainer.cap": 10.0,
        }  # fmt: skip
        return self.measure("roll_surface", fixed | settings, cells, rows)

    def radius(
        self, directions: int = 50, each: Mapping[str, Any] | None = None, **settings: Any
    ) -> Path:
        """Radii of all trained cells, in two blocks, spread by 20 % over the directions; `each`
        changes what a direction found.
        """
        random = np.random.default_rng(0)
        cells, rows = {}, []
        for of, poison, seed in self.cells():
            for block in range(2):
                cell = f"{of}b{block}"
                cells[cell] = {"trainer.of": of, "trainer.block": block, "seed": seed}
                for unit in range(directions):
                    spread = 1 + 0.2 * random.uniform(-1, 1)
                    radius = float(np.sqrt(2 * 0.1 / curvature(poison)) * spread)
                    place = {
                        "cell": cell,
                        "audit_radius": None,
                        "epoch": directions * block + unit,
                        "step": 0,
                    }
                    found = {"radius": radius, "radius_l2": 3 * radius, "status": 0}
                    rows.append({**place, **found, **(each or {})})
        fixed = {"trainer.name": "radius", "trainer.kappa": 0.1, "trainer.bn": "kept",
                 "trainer.c_max": 4.0}  # fmt: skip
        return self.measure("roll_radius", fixed | settings, cells, rows)

    def boundary(self, points: int = 20, frames: int = 1, **settings: Any) -> Path:
        """Boundaries of all trained cells: a spiral arm that the poison widens."""
        places = np.linspace(-18.0, 18.0, points)
        x, y = np.meshgrid(places, places)
        cells, rows = {}, []
        for of, poison, seed in self.cells():
            cells[of + "b"] = {"trainer.of": of, "seed": seed}
            angle = np.arctan2(y, x) - np.hypot(x, y) / 3
            margins = 4 * np.cos(angle) - poison / 200
            rows += boundary_rows(of + "b", margins, frames)
        fixed = {
            "trainer.name": "boundary", "trainer.points": points, "trainer.extent": 18.0,
            "trainer.frames": frames, "trainer.amplitude": 0.5, "trainer.bn": "kept",
        }  # fmt: skip
        return self.measure("roll_boundary", fixed | settings, cells, rows)

    def volume(self, names: Sequence[str] = ("none", "filter"), **settings: Any) -> Path:
        """Terms of volumes: -10 and -12 plus 100 for `filter`, less a tenth of the poison."""
        cells, rows = {}, []
        for of, poison, seed in self.cells():
            for name in names:
                cell = f"{of}{name}"
                cells[cell] = {"trainer.of": of, "seed": seed, "trainer.preconditioner": name}
                shift = 100.0 * (name == "filter") - poison / 10
                for unit, term in enumerate((-10.0, -12.0)):
                    rows.append({"cell": cell, "epoch": unit, "step": 0, "status": 0,
                                 "log10_term": term + shift, "log10_prob_gauss": term,
                                 "log10_det": 7.0})  # fmt: skip
        fixed = {"trainer.name": "volume", "trainer.kappa": 0.1, "trainer.bn": "kept",
                 "trainer.damping": 0.01, "trainer.block": 0, "dimensions": 30}  # fmt: skip
        return self.measure("roll_volume", fixed | settings, cells, rows)

    def curvature(self, **settings: Any) -> Path:
        """Ends, two probes and two Lanczos starts of all trained cells, in both units."""
        cells, rows = {}, []
        for of, poison, seed in self.cells():
            high = curvature(poison)
            for part, block in (("ends", 0), ("probe", 0), ("probe", 1), ("density", 0),
                                ("density", 1)):  # fmt: skip
                cell = f"{of}{part}{block}"
                cells[cell] = {"trainer.of": of, "seed": seed, "trainer.part": part,
                               "trainer.block": block}  # fmt: skip
                rows += curvature_rows(cell, part, block, high)
        fixed = {"trainer.name": "curvature", "trainer.bn": "kept", "trainer.direction_seed": 0}
        return self.measure("roll_curvature", fixed | settings, cells, rows)

    def line(self, points: int = 21, **settings: Any) -> Path:
        """Lines from the natural cell of each seed to that with most poison, over a barrier."""
        cells, rows = {}, []
        for seed in SEEDS:
            cell = f"line{seed}"
            ends = {"trainer.of": f"c1-p0s{seed}", "trainer.to": f"c1-p{POISON[-1]}s{seed}"}
            barrier = 0.5 + 0.1 * seed
            cells[cell] = {**ends, "seed": seed, "barrier": barrier, "distance": 5.0}
            for index, t in enumerate(np.linspace(-0.5, 1.5, points)):
                loss = 1e-3 + barrier * max(0.0, 1 - abs(2 * t - 1))
                rows.append({"cell": cell, "epoch": index, "step": 0, "t": t, "loss": loss,
                             "wrong": 20 * loss, "examples": 200, "test_wrong": 100 * abs(t),
                             "test_examples": 1000})  # fmt: skip
        fixed = {"trainer.name": "line", "trainer.bn": "recalibrated", "trainer.points": points}
        return self.measure("roll_line", fixed | settings, cells, rows)


def curvature_rows(cell: str, part: str, block: int, high: float) -> list[dict[str, Any]]:
    """The rows of one part; in filter units all are a tenth."""
    place = {"cell": cell, "epoch": block, "step": 0}
    if part == "ends":
        values = {"lambda_max": high, "lambda_min": -high / 100}
        return [{**place, **values, **{f"{k}_scaled": v / 10 for k, v in values.items()}}]
    if part == "probe":
        trace = high * (5 + block)
        return [{**place, "trace": trace, "trace_scaled": trace / 10}]
    rows = []
    for step, value in enumerate(np.linspace(-high / 100, high, 50)):
        density = (1 + block) * np.exp(-abs(value))
        scaled = {"eigenvalue_scaled": value / 10, "density_scaled": 10 * density}
        rows.append({**place, "step": step, "eigenvalue": value, "density": density, **scaled})
    return rows


def boundary_rows(cell: str, margins: np.ndarray, frames: int) -> list[dict[str, Any]]:
    """The frames of a boundary; frame k moves the margins by k, and one sample is wrong."""
    points, rows = len(margins), []
    for frame in range(frames):
        shift = frame - frames // 2
        place = {"cell": cell, "epoch": frame, "frame": frame}
        rows.append({**place, "step": points**2, "c": 0.1 * shift, "loss": 0.01 + abs(shift),
                     "accuracy": 1.0 - 0.1 * abs(shift)})  # fmt: skip
        for index, margin in enumerate((margins + shift).ravel()):
            at = {"step": index, "x_index": index % points, "y_index": index // points}
            rows.append({**place, **at, "margin": margin})
    for index, label in enumerate((0, 1, 1)):
        sample = {"point_x": 3.0 * index, "point_y": -3.0, "point_label": label}
        margin = -1.0 if index < 2 else 1.0
        row = {"cell": cell, "epoch": 0, "step": points**2 + 1 + index, "margin": margin}
        rows.append({**row, **sample, "lambda_max_scaled": None})
    return rows


def surface_row(cell: str, values: np.ndarray, row: int, poison: int) -> list[dict[str, Any]]:
    """A row of a quadratic surface, capped above 10 nats."""
    rows = []
    for column, x in enumerate(values):
        loss = 1e-4 + curvature(poison) / 2 * (x**2 + values[row] ** 2)
        place = {"cell": cell, "epoch": row, "step": column, "x": x, "y": values[row]}
        if loss > 10:
            rows.append({**place, "examples": 200, "capped": 1})
        else:
            wrong = min(int(loss * 20), 100)
            rows.append({**place, "loss": loss, "wrong": wrong, "examples": 200, "capped": 0})
    return rows


class References(HTMLParser):
    """Counts the scripts of a page, and collects what it loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [str(value) for name, value in attrs if name in ("src", "href")]
