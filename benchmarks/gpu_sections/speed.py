"""How fast training is: the plain loop and ours, in turns."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from turns import Child, Series, flops_per_image

from gpu_sections import cells
from gpu_sections.settings import Settings
from gpu_sections.table import Row


def speed(settings: Settings) -> Iterator[Row]:
    """Images per second at one width."""
    section, width = settings.section, settings.section.partition("=")[2]
    chosen = f"model={settings.network}", f"model.width={width}"
    flat = cells.image_cell(settings, settings.device, *chosen)
    flops, products = flops_per_image(flat), matrix_rate(flat)

    def note(series: Series) -> str:
        if "precision" not in series.facts[0]:
            return "float32"
        images = len(series.children) * settings.images
        rate = images / statistics.median(series.wall)
        percent = 100 * rate * flops / products
        return f"{series.facts[0]['precision']}, {percent:.0f} % of the rate of matrix products"

    with warm_children(
        ("plain", flat | {"threads": 0}, 1),
        ("ours", flat, max(settings.cells)),
        ("ours", flat | {"graphs": False}, len(settings.unrecorded)),
        ("ours", flat | {"run.compile": True}, 1),
    ) as (plain, ours, unrecorded, compiled):
        yield compilation(section, compiled, ours)
        ways = {"plain": Series(plain.children)} | ours.series("ours", *settings.cells)
        ways |= unrecorded.series("ours without graphs", *settings.unrecorded)
        ways |= compiled.series("compiled", 1)
        take_turns(ways, settings)
    yield from rates(section, ways, settings.images, "images/s", note)


def transformer(settings: Settings) -> Iterator[Row]:
    """Steps per second of the published transformer; `quick` leaves out bfloat16 and compiling."""
    steps = 3 if settings.quick else 200
    base = {"device": settings.device, "steps": steps, "way": "ours"}
    at_once = () if settings.quick else (1,)
    in_bfloat16 = at_once if "bfloat16" in settings.formats else ()

    def order(*overrides: str, count: int = 1, **more: Any) -> tuple[str, dict[str, Any], int]:
        return "transformer", base | {"overrides": list(overrides)} | more, count

    with warm_children(
        order(way="plain"),
        order(count=max(settings.cells)),
        order(graphs=False, count=len(settings.unrecorded)),
        order("trainer.precision=bfloat16", count=len(in_bfloat16)),
        order("run.compile=true", count=len(at_once)),
    ) as (plain, ours, unrecorded, rounded, compiled):
        if at_once:
            yield compilation(settings.section, compiled, ours)
        ways = {"plain": Series(plain.children)} | ours.series("ours", *settings.cells)
        ways |= unrecorded.series("ours without graphs", *settings.unrecorded)
        ways |= rounded.series("ours bfloat16", *in_bfloat16)
        ways |= compiled.series("compiled", *at_once)
        take_turns(ways, settings)
    yield from rates(settings.section, ways, steps, "steps/s", lambda series: "")


@dataclass(frozen=True)
class Warm:
    """Children that have done their first turn."""

    children: list[Child]
    seconds: float
    """Of the first child's first turn."""

    def series(self, name: str, *counts: int) -> dict[str, Series]:
        """A version for each number of children that run at once."""
        return {f"{name} x {count}": Series(self.children[:count]) for count in counts}


@contextlib.contextmanager
def warm_children(*orders: tuple[str, dict[str, Any], int]) -> Iterator[list[Warm]]:
    """So many children of each kind and settings, started together and warmed up."""
    groups = [[Child(kind, settings) for _ in range(count)] for kind, settings, count in orders]
    try:
        first_turns = [[float(child.answer()["wall"]) for child in group] for group in groups]
        seconds = [walls[0] if walls else 0.0 for walls in first_turns]
        yield [Warm(*pair) for pair in zip(groups, seconds, strict=True)]
    finally:
        for child in itertools.chain(*groups):
            child.end()
        for child in itertools.chain(*groups):
            child.process.wait()


def take_turns(ways: dict[str, Series], settings: Settings) -> None:
    """Run rounds with one measurement of each version: at least one, at most as many as requested
    or as fit into the section's time.
    """
    longest, until = 0.0, settings.deadline - 10.0  # s, to end the processes
    for number in range(settings.rounds):
        if number and time.time() + 1.5 * longest > until:
            return
        began = time.time()
        for series in ways.values():
            series.turn()
        longest = max(longest, time.time() - began)


def rates(
    section: str, ways: dict[str, Series], work: int, unit: str, note: Callable[[Series], str]
) -> Iterator[Row]:
    """Speed and peak memory of each version, with `work` units per turn of one cell, and its ratio
    to "plain".
    """
    speeds, middle = {}, {}
    for name, series in ways.items():
        speeds[name] = [len(series.children) * work / seconds for seconds in series.wall]
        middle[name] = statistics.median(speeds[name])
    for name, series in ways.items():
        low, high = min(speeds[name]), max(speeds[name])
        yield Row(section, name, middle[name], unit, low, high, note=note(series))
        yield peak_memory(section, name, series)
        if name != "plain":
            yield Row(section, f"{name} over plain", middle[name] / middle["plain"], "ratio")


def peak_memory(section: str, name: str, series: Series) -> Row:
    """The peak memory of all cells of a version together."""
    peak = sum(fact["peak"] for fact in series.facts) / 2**20
    reserved = [fact["reserved"] for fact in series.facts if fact["reserved"] is not None]
    kept = "resident in RAM"
    if reserved:
        kept = f"{sum(reserved) / 2**20:,.0f} MiB with the allocator's reserve"
    return Row(section, f"{name} peak memory", peak, "MiB", note=f"{kept}; all cells together")


def compilation(section: str, compiled: Warm, eager: Warm) -> Row:
    """The time that compiling adds to the first turn of a process."""
    seconds = max(compiled.seconds - eager.seconds, 0.0)
    return Row(section, "compilation", seconds, "s", note="not in the rates")


def matrix_rate(flat: dict[str, Any]) -> float:
    """FLOPs per second of matrix products in the trainer's format."""
    child = Child("matmul", flat)
    child.answer()
    series = Series([child])
    for _ in range(3):
        series.turn()
    child.close()
    return float(series.facts[0]["flops"] / statistics.median(series.wall))
