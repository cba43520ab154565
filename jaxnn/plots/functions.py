"""``activation_functions``: functions of one number, each with its derivative."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxnn.ops import checks
from jaxnn.plots import arguments
from jaxnn.plots.panels import grid
from jaxnn.plots.style import COLOURS

_POINTS = 801  #: odd, so that the middle of the limits, the usual kink, is one of them


def activation_functions(
    functions: Mapping[str, Callable[[Any], Any]],
    *,
    limits: tuple[float, float] = (-5.0, 5.0),
    columns: int = 4,
) -> Figure:
    """Functions of one number, one panel each: f(x) solid, and f′(x) by ``jax.grad`` dashed.

    Args:
      functions: by title; each maps a scalar to a scalar, as every elementwise activation does.
      limits: the range of x.
      columns: the number of panels per row.

    >>> import jax, jaxnn as nn
    >>> from jaxnn import plots
    >>> figure = plots.activation_functions({"relu": nn.relu, "tanh": nn.tanh})
    >>> [axes.get_title() for axes in figure.axes]
    ['relu', 'tanh']
    """
    owner = "activation_functions"
    arguments.by_title(owner, "functions", functions, "function")
    for title, function in functions.items():
        checks.function(owner, f"functions[{title!r}]", function, "a function of one number")
    limits = arguments.limits(owner, "limits", limits)
    columns = checks.integer(owner, "columns", columns, least=1)
    x = np.linspace(*limits, _POINTS)
    figure, panels = grid(len(functions), columns, width=2.0, height=1.75, extra=0.35)
    for axes, (name, function) in zip(panels, functions.items(), strict=True):
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        value, slope = jax.vmap(jax.value_and_grad(function))(jnp.asarray(x, jnp.result_type(float)))
        lines = [
            axes.plot(x, np.asarray(value), color=COLOURS[0], linewidth=1.8)[0],
            axes.plot(x, np.asarray(slope), color=COLOURS[1], linewidth=1.5, linestyle="--")[0],
        ]
        axes.set_title(name, fontsize=10)
        axes.set_xlim(*limits)
        axes.tick_params(labelsize=8)
    figure.legend(lines, ["f(x)", "f′(x)"], loc="outside upper center", ncols=2, frameon=False)
    return figure
