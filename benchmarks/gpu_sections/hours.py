"""What the published runs would take."""

from __future__ import annotations

import math
from collections.abc import Iterator

from turns import TRAIN

from gpu_sections.table import Row, failed


def published_hours(table: list[Row]) -> Iterator[Row]:
    """Hours of the published runs, one row for each timed version of the widest network."""
    from launch.sweep import compose

    cells = compose.expand_sweep("fig2_ab", ["hydra/launcher=local", "data.root=."]).cells
    epochs, width = cells[0].flat["trainer.epochs"], cells[0].flat["model.width"]
    timed = [row for row in table if row.unit == "images/s"]
    if not timed:
        yield failed("hours", "no speed was measured")
        return
    widest = max(timed_width(row) for row in timed)
    note = f"{len(cells)} runs of {epochs} epochs at k={widest}"
    if widest != width:
        note += f"; NOT the published network, which has k={width}"
    for row in timed:
        if timed_width(row) == widest:
            needed = hours(len(cells), epochs, TRAIN, row.value or math.nan)
            yield Row("hours", row.name, needed, "h", note=note)


def timed_width(row: Row) -> int:
    """The width of the network that a row timed."""
    return int(row.section.partition("=")[2])


def hours(runs: int, epochs: int, images: int, rate: float) -> float:
    """Hours that `runs` of `epochs` over `images` take at `rate` images per second."""
    return runs * epochs * images / rate / 3600
