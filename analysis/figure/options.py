"""The options that figure scripts have, and what they make of a finished figure."""

from __future__ import annotations

import argparse
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from analysis.figure import fit, heatmap, names
from analysis.figure.arguments import documented, finite, stem

FORMATS = ("png", "pdf", "svg")
WIDTHS = {"column": 3.35, "page": 6.9}  # inches, of a two-column paper
TALK_TEXT, TALK_LINES = 1.35, 1.6  # factors on those of a paper
OF_PICTURE = ("out", "name", "format", "width", "style", "limits", "title")
"""The options that say where and how a picture is drawn and never what it shows."""


def parser(
    doc: str | None,
    folder: str = "log folder of a sweep, logs/NAME",
    where: str = "take only these runs",
    *,
    many: bool = False,
) -> argparse.ArgumentParser:
    """The parser of a script that reads logs: the folder (or `many` folders) and --where.

    doc: the script's docstring, shown as help. folder, where: help texts.
    """
    parser = documented(doc)
    if many:
        parser.add_argument("folders", nargs="+", metavar="folder", help=folder)
    else:
        parser.add_argument("folder", help=folder)
    parser.add_argument("--where", action="append", default=[], metavar="CONDITION", help=where)
    return parser


def add_files(parser: argparse.ArgumentParser, name: str) -> None:
    """Add --out and --name, which a script that writes a page and no picture has too."""
    option = parser.add_argument
    option("--out", default="figures", help="folder for the files written (default: figures)")
    written = f"name of the files written (default: {name})"
    option("--name", type=stem, default=name, metavar="STEM", help=written)


def add(parser: argparse.ArgumentParser, name: str) -> None:
    """Add --out, --name, --format, --width, --style, --limits and --title."""
    add_files(parser, name)
    option = parser.add_argument
    formats = "of the picture (default: png pdf)"
    option("--format", nargs="+", choices=FORMATS, default=["png", "pdf"], help=formats)
    width = f"inches, column ({WIDTHS['column']}) or page ({WIDTHS['page']}); text is at least 6 pt"
    option("--width", type=_width, metavar="INCHES", help=width)
    style = "talk has larger text and thicker lines (default: paper)"
    option("--style", choices=("paper", "talk"), default="paper", help=style)
    limits = "of the colours, or of the vertical axes where nothing is coloured by value"
    option("--limits", type=finite, nargs=2, metavar=("LOW", "HIGH"), help=limits)
    option("--title", help="a line above the figure")


def add_time(parser: argparse.ArgumentParser) -> None:
    """Add --time: what an axis of training time counts."""
    parser.add_argument(
        "--time",
        choices=tuple(names.TIMES),
        default="epochs",
        help="what the axis of time counts; steps and examples show rows inside epochs too",
    )


def _width(text: str) -> float:
    """The inches that --width gives; argparse.ArgumentTypeError for anything else."""
    try:
        width = WIDTHS.get(text) or float(text)
    except ValueError:
        width = 0.0
    if not 1 <= width <= 100:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected column, page or 1 to 100 inches, such as 5.5"
        )
    return width


def formats(options: argparse.Namespace) -> list[str]:
    """The formats to write, each once."""
    return list(dict.fromkeys(getattr(options, "format", ("png", "pdf"))))


def apply(figure: Figure, options: argparse.Namespace) -> None:
    """Make the figure what the options ask for; without any, only numbers below an axis that touch
    are left out.

    Raises ValueError unless the limits increase, and for a width at which panels are unreadable.
    """
    chosen: dict[str, Any] = vars(options)
    for axes in figure.axes:
        fit.thin_labels(axes)
    if chosen.get("limits"):
        set_limits(figure, *chosen["limits"])
    width, title = chosen.get("width"), chosen.get("title")
    is_talk = chosen.get("style") == "talk"
    if not (width or title or is_talk):
        return
    has_grid = any(axes.get_subplotspec() for axes in figure.axes)
    if has_grid and figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    # wrapping measures mathtext, whatever parse_math says
    above = figure.suptitle(title.replace("$", r"\$"), wrap=True) if title else None
    if is_talk:
        fit.scale(figure, TALK_TEXT, TALK_LINES)
        fit.fit_texts(figure)
    if width:
        fit.resize(figure, width)
    if is_talk or width:
        fit.settle(figure)
    if above:
        fit.put_legends_below(figure, above)


def set_limits(figure: Figure, low: float, high: float) -> None:
    """Set the ends of all colours, or of the vertical axes of a figure without colour bars."""
    if low >= high:
        raise ValueError(f"--limits {low:g} {high:g}: expected the lower one first")
    coloured: list[Any] = list(figure.findobj(_has_values))
    if not coloured:
        for axes in figure.axes:
            axes.set_ylim(low, high)
        return
    for mappable in coloured:
        mappable.set_clim(low, high)
    for mappable in coloured:
        bar = getattr(mappable, "colorbar", None)
        if bar is not None:
            heatmap.renew_bar(bar, coloured)


def _has_values(artist: Any) -> bool:
    """Whether an artist is coloured by values; the colours of a colour bar itself are not."""
    if not isinstance(artist, ScalarMappable) or artist.get_array() is None:
        return False
    axes = getattr(artist, "axes", None)
    return axes is None or axes.get_label() != "<colorbar>"
