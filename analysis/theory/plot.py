"""Drawing of curves of the theory on given Axes. Computes and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes

from analysis.figure import style
from analysis.theory.curves import Curve

LINE_WIDTH, GRID_ALPHA = 2.2, 0.3
MSE, MSE_LOSS, TIME = "MSE Generalization Error", "MSE generalization loss", "Training time"


def kappa_label(kappa: float) -> str:
    """The κ of a legend, in powers of ten from 10,000 on."""
    return f"κ = {kappa:g}" if kappa < 1e4 else f"κ = {style.value_label(kappa)}"


def error_axes(
    axes: Axes, last: float, limits: tuple[float, float] = (0.0, 0.5), grid: float = GRID_ALPHA
) -> None:
    """Logarithmic time from 1 to `last`, error within `limits`, a dashed grid."""
    style.log_epochs(axes, last, "x")
    axes.set_ylim(*limits)
    axes.grid(color="k", linestyle="--", linewidth=0.5, alpha=grid)


def draw_errors(
    axes: Axes, curves: Iterable[Curve], colours: Iterable[str], width: float = LINE_WIDTH
) -> None:
    """Error over t + 1, one line for each curve."""
    for curve, colour in zip(curves, colours, strict=True):
        axes.plot(curve.abscissa, curve.order.error, color=colour, lw=width, label=curve.label)
