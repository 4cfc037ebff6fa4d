"""How the curves of a figure are told apart: colour, marker and line style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType

MARKERS = "osD^vP*Xphd<>"


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of a curve."""

    colour: tuple[float, float, float]
    marker: str = "o"
    line: str = "-"


def assign(names: Sequence[str], colours: Sequence[ColorType], solid: int) -> dict[str, Look]:
    """A look for each name; colours and markers begin again at their end. After the first `solid`
    names the lines are dashed.
    """
    look_of = {}
    for i, name in enumerate(names):
        colour, marker = colours[i % len(colours)], MARKERS[i % len(MARKERS)]
        look_of[name] = Look(to_rgb(colour), marker, "-" if i < solid else "--")
    return look_of
