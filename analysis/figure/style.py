"""The look of the figures: themes, colour map, logarithmic axes, and saving as PNG and PDF.

Uses matplotlib's object interface: no display, no LaTeX. Computes nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from analysis.figure.origin import by_format

DPI = 200
ROUNDING = 1e-8  # relative; a tick so near the end of an axis is drawn
FONT_SIZE, LEGEND_SIZE, NOTE_SIZE = 11, 10, 6  # points
HATCH = "////"  # what is planned but not in the logs
ANCHOR_INDEX = (0, 64, 128, 191, 255)
ANCHOR_RGB = ((5, 0, 83), (84, 58, 197), (197, 124, 150), (236, 192, 101), (253, 254, 36))  # of 255

RC: dict[Any, Any] = {
    "font.size": FONT_SIZE,
    "legend.fontsize": LEGEND_SIZE,
    "axes.titlesize": FONT_SIZE,
    "hatch.linewidth": 0.6,
    "hatch.color": "0.55",
    "pdf.fonttype": 42,  # text stays text
}


THEME: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: equal figures on every machine
    "axes.edgecolor": "0.3",
    "axes.linewidth": 0.8,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "xtick.bottom": True,  # logarithmic axes need their minor ticks
    "ytick.left": True,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.minor.size": 2.0,
    "ytick.minor.size": 2.0,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
}


def colour_map() -> ListedColormap:
    """256 colours from dark blue over violet and orange to yellow, linear between five anchors."""
    index = np.arange(256)
    anchors = np.asarray(ANCHOR_RGB, float) / 255
    channels = [np.interp(index, ANCHOR_INDEX, anchors[:, channel]) for channel in range(3)]
    return ListedColormap(np.stack(channels, axis=1), name="redescent")


class SeenDecades(LogLocator):
    """Ticks of a logarithmic axis without those beyond its ends. Matplotlib makes three more
    decades of them and draws none, but each takes the time of one that it draws."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks from `vmin` to `vmax`, both included."""
        low, high = min(vmin, vmax) * (1 - ROUNDING), max(vmin, vmax) * (1 + ROUNDING)
        return [tick for tick in super().tick_values(vmin, vmax) if low <= tick <= high]


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Font sizes and line settings of every figure; the settings of before return afterwards.

    All others are matplotlib's defaults: a matplotlibrc of the user changes no picture.
    """
    with mpl.rc_context({**_defaults(), **RC}):
        yield


def _defaults() -> dict[Any, Any]:
    """Matplotlib's defaults, without those that say how pictures are shown and not how they look.

    To set `backend` would load a toolkit.
    """
    free = ("backend", "backend_fallback", "interactive", "toolbar", "timezone")
    return {key: value for key, value in mpl.rcParamsDefault.items() if key not in free}


@contextlib.contextmanager
def themed() -> Iterator[None]:
    """Seaborn's theme with a light grid and our font sizes, for figures that read the store.

    Imported inside, because seaborn loads pandas, scipy and pyplot: the theory's figures are drawn
    without them.
    """
    import seaborn as sns

    context = sns.plotting_context("notebook", font_scale=FONT_SIZE / 12)
    with mpl.rc_context({**_defaults(), **sns.axes_style("whitegrid"), **context, **RC, **THEME}):
        yield


def power_label(exponent: float) -> str:
    """10 to a power as text for an axis, in mathtext."""
    return rf"$10^{{{exponent:g}}}$"


def value_label(value: float) -> str:
    """A number as a short power of ten, such as 3.2 x 10^-4, in mathtext; as it is near one."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    factor, exponent = f"{value:.1e}".split("e")
    short = factor.removesuffix(".0")
    if short == "1":
        return power_label(int(exponent))
    return rf"${short}\times 10^{{{int(exponent)}}}$"


def log_time(axes: Axes, last: float, which: str, first: float = 1) -> None:
    """Make the "x" or "y" axis logarithmic from `first` to `last`, labelled at every decade; at 1,
    2 and 5 where it has no two.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(first, max(last, 2 * first))
    if last < 10 * first:
        axis.set_major_locator(SeenDecades(10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.set_major_locator(SeenDecades(10))
        decade = FuncFormatter(lambda value, _: power_label(round(math.log10(value))))
        axis.set_major_formatter(decade)
    axis.set_minor_locator(SeenDecades(10, subs=range(2, 10)))
    axis.set_minor_formatter(NullFormatter())


def letter(panels: Sequence[Axes]) -> None:
    """Letters (a), (b), ... above the left edge of the panels, in order."""
    for number, axes in enumerate(panels):
        axes.set_title(f"({chr(ord('a') + number)})", loc="left")


def mark_diverged(axes: Axes, x: ArrayLike, y: ArrayLike | float) -> None:
    """A black cross at each place where a run diverged."""
    places = np.atleast_1d(np.asarray(x, np.float64))
    heights = np.broadcast_to(np.asarray(y, np.float64), places.shape)
    if places.size:
        axes.plot(places, heights, "x", color="black", ms=6, mew=1.5, zorder=5, clip_on=False)


def note_diverged(figure: Figure, count: int) -> None:
    """A note at the lower right edge that says what crosses are, and how many runs diverged."""
    if count:
        text = f"\N{MULTIPLICATION SIGN} diverged: {count} {'cell' if count == 1 else 'cells'}"
        figure.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=NOTE_SIZE)


def place_empty_labels(figure: Figure) -> None:
    """Gives every label without text a fixed place; to look for a free one takes two more passes
    over the ticks.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)


def output_folder(out_dir: str | os.PathLike[str]) -> Path:
    """The folder of --out, which is created if it is not there. Raises OSError."""
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--out: found {folder}, expected a folder, or the place for one ({error.strerror})"
        ) from error
    return folder


def save(
    figure: Figure,
    out_dir: str | os.PathLike[str],
    stem: str,
    formats: Sequence[str] = ("png", "pdf"),
    facts: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Write `out_dir/stem.FORMAT` for each format, at 200 dpi; return the paths.

    facts: what the files say of their origin. They carry no date: equal figures are equal files.
    """
    folder = output_folder(out_dir)
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    place_empty_labels(figure)
    paths = []
    with styled(), mpl.rc_context({"svg.hashsalt": stem}):
        for name in formats:
            paths.append(folder / f"{stem}.{name}")
            figure.savefig(paths[-1], dpi=DPI, metadata=by_format(facts or {}, name))
    return tuple(paths)
