"""A finished figure at another size: text, panels and legends that fit into it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator

from analysis.figure import style

SMALLEST_TEXT = 6.0  # points
NARROWEST = 2.0  # inches of a panel
UNREADABLE = 1.1  # inches of a panel that is refused
LOWEST = 0.7  # height of a panel over its width
STACKED_TEXT = 0.75  # factor on the text of panels below one another, at most
MARGIN = 0.25  # inches of height around square panels, title and foot
LABEL_GAP = 0.5  # between numbers below an axis, of the height of their text
PASSES = 3  # of the layout: each starts from the places of the last


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
    if not entries:
        return
    legend.remove()
    for columns in range(len(entries), 0, -1):
        above = figure.legend(
            handles=legend.legend_handles,
            labels=[entry.get_text() for entry in entries],
            loc="outside upper center",
            ncols=columns,
            fontsize=entries[0].get_fontsize(),
            handlelength=legend.handlelength,
            title=legend.get_title().get_text(),
            title_fontsize=legend.get_title().get_fontsize(),
        )
        box = above.get_window_extent()
        if columns == 1 or box.width < figure.bbox.width:
            break
        above.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def put_legends_below(figure: Figure, title: Text) -> None:
    """Put the legends that a title of the figure would cover between it and the panels; the figure
    is higher by the title.
    """
    engine = figure.get_layout_engine()
    if not isinstance(engine, ConstrainedLayoutEngine):
        return
    lay_out(figure)
    top = title.get_window_extent()
    boxes = [(legend, legend.get_window_extent()) for legend in figure.legends]
    covered = [(legend, box) for legend, box in boxes if box.overlaps(top)]
    if not covered:
        return
    figure.set_figheight(figure.get_figheight() + top.height / figure.dpi)
    height = figure.bbox.height
    pad = engine.get()["h_pad"] * figure.dpi
    for legend, _ in covered:
        legend.set_bbox_to_anchor((0, 0, 1, 1 - (top.height + pad) / height))
    lowest = max(box.height for _, box in covered) + pad
    engine.set(rect=(0, 0, 1, 1 - lowest / height))  # anchored legends get no room by themselves
    lay_out(figure)


def settle(figure: Figure) -> None:
    """Lay the figure out, cut the height that square panels leave empty, and make titles as wide as
    their panels at most.
    """
    lay_out(figure)
    panels = [panel for panel in _specs(figure) if panel.get_visible()]
    if panels and all(panel.get_aspect() != "auto" for panel in panels):
        boxes = [box for panel in panels if (box := panel.get_tightbbox())]
        filled = max(box.y1 for box in boxes) - min(box.y0 for box in boxes)
        filled += sum(text.get_window_extent().height for text in figure.texts)
        figure.set_figheight(min(filled / figure.dpi + MARGIN, figure.get_figheight()))
        lay_out(figure)
    for panel in panels:
        share = panel.bbox.width / max(panel.title.get_window_extent().width, 1.0)
        size = float(panel.title.get_fontsize())
        panel.title.set_fontsize(max(min(share, 1.0) * size, min(size, SMALLEST_TEXT)))
        thin_labels(panel)
        free_legend(panel)


def free_legend(axes: Axes) -> None:
    """Move a legend that covers lines to where it covers fewest."""
    legend = axes.get_legend()
    if legend is None:
        return
    box = legend.get_window_extent()
    for line in axes.lines:
        path = line.get_path().transformed(line.get_transform())
        if path.intersects_bbox(box, filled=False):
            legend.set_loc("best")
            return


def thin_labels(axes: Axes) -> None:
    """Leave out numbers below fixed ticks of the horizontal axis that would touch the one before
    or the last; the ticks stay.
    """
    if not isinstance(axes.xaxis.get_major_locator(), FixedLocator):
        return
    texts = axes.xaxis.get_ticklabels()  # none where another panel has the labels of both
    if not texts:
        return
    ticks = axes.xaxis.get_majorticklocs()
    labels = axes.xaxis.get_major_formatter().format_ticks(list(ticks))
    present = [index for index, label in enumerate(labels) if label]
    if len(present) < 2 or not all(_is_number(labels[index]) for index in present):
        return
    size = float(texts[0].get_fontsize()) * float(axes.figure.dpi) / 72  # pixels
    axes.get_xlim()  # scales the axis to its data
    centres = axes.get_xaxis_transform().transform([(tick, 0.0) for tick in ticks])[:, 0]
    half = {n: TextPath((0, 0), labels[n], size=size).get_extents().width / 2 for n in present}

    def fit_beside(left: int, right: int) -> bool:
        space = abs(centres[right] - centres[left])
        return bool(half[left] + LABEL_GAP * size + half[right] <= space)

    *others, last = present
    kept: list[int] = []
    for index in others:
        if fit_beside(index, last) and (not kept or fit_beside(kept[-1], index)):
            kept.append(index)
    kept.append(last)
    if len(kept) < len(present):
        axes.set_xticks(ticks, [text if n in kept else "" for n, text in enumerate(labels)])


def _is_number(label: str) -> bool:
    """Whether a label is a number, such as 64 or a power of ten in mathtext."""
    if label.startswith("$"):
        return True
    try:
        float(label.replace(",", ""))
    except ValueError:
        return False
    return True


def lay_out(figure: Figure) -> None:
    """Place the panels; each of the passes starts from the places of the last."""
    for _ in range(PASSES):
        figure.draw_without_rendering()


def _titles(figure: Figure) -> list[Text]:
    """Titles of the figure and of its panels, at any side, and its notes."""
    titles = list(figure.texts)
    for axes in figure.axes:
        inside = set(axes.texts)
        texts = [child for child in axes.get_children() if isinstance(child, Text)]
        titles += [text for text in texts if text not in inside]
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
