"""The options that figure scripts have, and what they make of a finished figure."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figure import heatmap, names, style
from analysis.figure.arguments import finite

FORMATS = ("png", "pdf", "svg")
WIDTHS = {"column": 3.35, "page": 6.9}  # inches, of a two-column paper
TALK_TEXT, TALK_LINES = 1.35, 1.6  # factors on those of a paper
SMALLEST_TEXT = 6.0  # points
NARROWEST = 2.0  # inches of a panel
UNREADABLE = 1.1  # inches of a panel that is refused
LOWEST = 0.7  # height of a panel over its width
STACKED_TEXT = 0.75  # factor on the text of panels below one another, at most
MARGIN = 0.25  # inches of height around square panels, title and foot
PASSES = 3  # of the layout: each starts from the places of the last
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
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    stem = f"name of the files written (default: {name})"
    option("--name", default=name, metavar="STEM", help=stem)


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
    """Make the figure what the options ask for; without any it stays as it is.

    Raises ValueError unless the limits increase, and for a width at which panels are unreadable.
    """
    chosen: dict[str, Any] = vars(options)
    if chosen.get("limits"):
        set_limits(figure, *chosen["limits"])
    width, title = chosen.get("width"), chosen.get("title")
    is_talk = chosen.get("style") == "talk"
    if not (width or title or is_talk):
        return
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    if title:
        figure.suptitle(title)
    if is_talk:
        scale(figure, TALK_TEXT, TALK_LINES)
        fit_texts(figure)
    if width:
        resize(figure, width)
    if is_talk or width:
        settle(figure)


def scale(figure: Figure, text: float, lines: float) -> None:
    """Multiply the sizes of text, but not to below 6 points, and the widths of lines."""
    for label in figure.findobj(Text):
        size = float(label.get_fontsize())
        label.set_fontsize(max(size * text, min(size, SMALLEST_TEXT)))
    for axes in figure.axes:
        for axis in ("x", "y"):
            for tick in getattr(axes, f"{axis}axis").get_ticklabels()[:1]:
                axes.tick_params(axis=axis, which="both", labelsize=tick.get_fontsize())
        for line in axes.findobj(Line2D):
            line.set_linewidth(line.get_linewidth() * lines)


def resize(figure: Figure, width: float) -> None:
    """Give the figure a width in inches at the same ratio of its sides, with text in proportion.

    Columns of panels that would be narrower than NARROWEST go below one another. Where text cannot
    shrink in proportion, a panel is at least as high as LOWEST says. Raises ValueError for panels
    that would be unreadable.
    """
    old_width, old_height = figure.get_size_inches()
    grid = _grid(figure)
    columns, rows = (grid.ncols, 1) if grid is not None else (1, 1)
    if grid is not None and width / columns < NARROWEST and not is_matrix(figure, grid):
        stack(figure, grid)
        columns, rows = 1, columns
    if width / columns < UNREADABLE:
        raise ValueError(
            f"--width {width:g}: each of {columns} panels side by side would be "
            f"{width / columns:.2f} inches wide; expected a width of at least "
            f"{columns * UNREADABLE:g} inches"
        )
    factor = width * rows / old_width
    height = old_height * factor
    if factor * style.FONT_SIZE < SMALLEST_TEXT:
        height = max(height, width / columns * LOWEST)
    figure.set_size_inches(width, height * rows)
    text = min(factor, STACKED_TEXT) if rows > 1 else factor
    scale(figure, text, max(text, 0.5))
    if width < old_width:
        fit_texts(figure)


def fit_texts(figure: Figure) -> None:
    """Wrap titles and notes; put the legends of the whole figure above its panels, where they can
    be as wide as it.
    """
    for note in figure.texts:
        note.set_text(note.get_text().replace("\n", " "))
    for label in _titles(figure):
        label.set_wrap(True)
    for legend in list(figure.legends):
        put_above(figure, legend)


def put_above(figure: Figure, legend: Legend) -> None:
    """Put a legend of the whole figure above its panels, with as many columns as fit into its
    width; the figure is higher by the legend.
    """
    entries = legend.get_texts()
    legend.remove()
    for columns in range(len(entries), 0, -1):
        above = figure.legend(
            handles=legend.legend_handles,
            labels=[entry.get_text() for entry in entries],
            loc="outside upper center",
            ncols=columns,
            fontsize=entries[0].get_fontsize(),
            title=legend.get_title().get_text(),
            title_fontsize=legend.get_title().get_fontsize(),
        )
        box = above.get_window_extent()
        if columns == 1 or box.width < figure.bbox.width:
            break
        above.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def settle(figure: Figure) -> None:
    """Lay the figure out, cut the height that square panels leave empty, and make titles as wide as
    their panels at most.
    """
    lay_out(figure)
    panels = [panel for panel in _specs(figure) if panel.get_visible()]
    if all(panel.get_aspect() != "auto" for panel in panels):
        boxes = [box for panel in panels if (box := panel.get_tightbbox())]
        filled = max(box.y1 for box in boxes) - min(box.y0 for box in boxes)
        filled += sum(text.get_window_extent().height for text in figure.texts)
        figure.set_figheight(min(filled / figure.dpi + MARGIN, figure.get_figheight()))
        lay_out(figure)
    for panel in panels:
        share = panel.bbox.width / max(panel.title.get_window_extent().width, 1.0)
        size = float(panel.title.get_fontsize())
        panel.title.set_fontsize(max(min(share, 1.0) * size, min(size, SMALLEST_TEXT)))


def lay_out(figure: Figure) -> None:
    """Place the panels; each of the passes starts from the places of the last."""
    for _ in range(PASSES):
        figure.draw_without_rendering()


def _titles(figure: Figure) -> list[Text]:
    """Titles of the figure and of its panels, at any side, and its notes."""
    titles = list(figure.texts)
    for axes in figure.axes:
        inside = set(axes.texts)
        titles += [
            child
            for child in axes.get_children()
            if isinstance(child, Text) and child not in inside
        ]
    return titles


def is_matrix(figure: Figure, grid: GridSpec) -> bool:
    """Whether the rows of a figure's panels belong together: no panel is as high as all rows, or
    one has several columns.
    """
    specs = _specs(figure).values()
    is_wide = any(len(spec.colspan) > 1 for spec in specs)
    return is_wide or all(len(spec.rowspan) < grid.nrows for spec in specs)


def stack(figure: Figure, grid: GridSpec) -> None:
    """Put the columns of panels below one another, in their order, each with its own vertical
    labels: a shared axis has them at the first column alone.
    """
    ratios = np.tile(grid.get_height_ratios(), grid.ncols).tolist()
    column = figure.add_gridspec(grid.nrows * grid.ncols, 1, height_ratios=ratios)
    specs = _specs(figure)
    for axes, spec in specs.items():
        first = spec.colspan.start * grid.nrows + spec.rowspan.start
        axes.set_subplotspec(column[first : first + len(spec.rowspan), 0])
        axes.tick_params(labelleft=True)
        for other in specs:
            is_shared = axes.get_shared_y_axes().joined(axes, other)
            if is_shared and axes.yaxis.get_visible() and not axes.get_ylabel():
                axes.set_ylabel(other.get_ylabel())


def _grid(figure: Figure) -> GridSpec | None:
    """The grid that all panels are in; None if there are several, or grids inside of it."""
    grids = {spec.get_gridspec() for spec in _specs(figure).values()}
    grid = grids.pop() if len(grids) == 1 else None
    return grid if isinstance(grid, GridSpec) else None


def _specs(figure: Figure) -> dict[Axes, SubplotSpec]:
    """The places of the axes that have one in a grid; colour bars have none."""
    places = [(axes, axes.get_subplotspec()) for axes in figure.axes]
    return {axes: spec for axes, spec in places if spec is not None}


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
