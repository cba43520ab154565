"""``histograms``: how the values of many arrays are distributed, side by side."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jaxnn.ops import checks
from jaxnn.plots import arguments
from jaxnn.plots.panels import grid
from jaxnn.plots.style import COLOURS


def histograms(
    values: Mapping[str, ArrayLike],
    *,
    bins: int = 60,
    limits: tuple[float, float] | None = None,
    columns: int = 5,
    xlabel: str = "",
) -> Figure:
    """How values are distributed: one panel per array, with its mean ± deviation, over one shared range.

    The height of a bar is its share of all values of that array, in per cent; values outside ``limits`` and
    values that are not finite have no bar but count in the total. Heights are scaled panel by panel.

    Args:
      values: arrays of any shapes by title, such as ``activations(net, params, x)``.
      bins: the number of bars.
      limits: the range; by default from the least to the greatest finite value of all.
      columns: the number of panels per row.
      xlabel: what the values are.

    >>> import jax, jaxnn as nn
    >>> from jaxnn import plots
    >>> net = nn.serial(nn.dense(8), nn.tanh, head=nn.dense(2))
    >>> x = jax.random.normal(jax.random.key(0), (100, 4))
    >>> figure = plots.histograms(nn.activations(net, net.init(jax.random.key(1), x), x))
    >>> len(figure.axes)
    3
    """
    owner = "histograms"
    arguments.by_title(owner, "values", values, "array")
    arrays = {
        name: arguments.numbers(owner, f"values[{name!r}]", array).astype(np.float64).ravel()
        for name, array in values.items()
    }
    bins = checks.integer(owner, "bins", bins, least=1)
    columns = checks.integer(owner, "columns", columns, least=1)
    checks.text(owner, "xlabel", xlabel)
    limits = None if limits is None else arguments.limits(owner, "limits", limits)
    finite = {name: array[np.isfinite(array)] for name, array in arrays.items()}
    low, high = limits or _range(np.concatenate(list(finite.values())))
    figure, panels = grid(len(arrays), columns, width=1.6, height=1.6)
    for i, (axes, (name, array)) in enumerate(zip(panels, arrays.items(), strict=True)):
        counts, edges = np.histogram(finite[name], bins, (low, high))
        shares = 100 * counts / max(array.size, 1)
        axes.stairs(shares, edges, fill=True, color=COLOURS[0])
        axes.set_xlim(low, high)
        moments = _moments(array, finite[name])
        axes.set_title(f"{name}\n{moments}", fontsize=8)
        axes.locator_params(nbins=3)
        if counts.any():
            axes.set_ylim(bottom=0)
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "none in\nthis range", ha="center", va="center", transform=axes.transAxes)
        axes.tick_params(labelsize=7.5)
        if i % columns == 0:
            axes.set_ylabel("% of values", fontsize=9)
    figure.supxlabel(xlabel, fontsize=9)
    return figure


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _moments(array: np.ndarray, finite: np.ndarray) -> str:
    if finite.size < array.size:
        return f"{100 * (1 - finite.size / array.size):.3g} % not finite"
    return f"{finite.mean():.2g} ± {finite.std():.2g}".replace("-", "−") if finite.size else "empty"
