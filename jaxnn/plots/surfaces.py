"""Functions of two numbers, seen from above: decision and loss surfaces."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from jaxnn.ops import checks
from jaxnn.plots import arguments
from jaxnn.plots.style import COLOURS

_MARKERS = "osD^vP"
_SURFACE_POINTS = 121  #: per axis of a loss surface
#: Light enough for paths of every colour.
_GREYS = LinearSegmentedColormap.from_list("heights", ["white", "0.5"])


def decision_surface(
    predict: Callable[[Any], Any],
    x: ArrayLike,
    y: ArrayLike,
    *,
    resolution: int = 200,
    axes: Axes | None = None,
) -> Figure:
    """The decision of a classifier at every point of the plane, with the points of its training set.

    Each class has a colour, paler where the second class is nearly as probable; lines mark where
    the decision changes.

    Args:
      predict: (n, 2) → (n, K), scores whose softmax are the probabilities of K classes, or → (n,) or (n, 1),
        the logit of class 1 against class 0.
      x: the points, (N, 2).
      y: their classes, integers (N,) from 0.
      resolution: the number of points per axis at which ``predict`` is evaluated.
      axes: where to draw; by default a figure of its own.

    Raises:
      ValueError: ``x`` is not (N, 2), ``y`` has another length or holds no classes, or ``predict`` returns
        another shape.

    >>> import numpy as np
    >>> from jaxnn import plots
    >>> x, y = np.array([[-1.0, 0.0], [1.0, 0.5]]), np.array([0, 1])
    >>> figure = plots.decision_surface(lambda points: points[:, 0], x, y, resolution=20)
    >>> figure.axes[0].get_xlabel()
    'x₁'
    """
    owner = "decision_surface"
    checks.function(owner, "predict", predict, "a function of points (n, 2)")
    points, labels = arguments.numbers(owner, "x", x), arguments.numbers(owner, "y", y)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"{owner}: x must be (N, 2) and y (N,), got shapes {points.shape} and {labels.shape}"
        )
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"{owner}: x must hold at least one point, and finite ones, got {checks.shown(x)}")
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.min() < 0:
        raise ValueError(f"{owner}: y must be integers from 0, got {checks.shown(y)}")
    resolution = checks.integer(owner, "resolution", resolution, least=2)
    arguments.axes(owner, axes)
    axes = axes or _single()
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    across, up = (np.linspace(low[i] - margin[i], high[i] + margin[i], resolution) for i in range(2))
    plane = np.stack(np.meshgrid(across, up), axis=-1)
    scores = np.asarray(predict(jnp.asarray(plane.reshape(-1, 2), jnp.result_type(float))), np.float64)
    if scores.shape[:1] != (resolution**2,) or scores.ndim > 2 or 0 in scores.shape:
        raise ValueError(
            f"{owner}: predict must give (n,), (n, 1) or (n, K) for n points, got shape {scores.shape} for "
            f"{resolution**2}"
        )
    chances = _chances(scores).reshape(resolution, resolution, -1)
    classes = chances.shape[-1]
    colours = np.array([to_rgb(_colour(k)) for k in range(classes)])
    second, first = np.moveaxis(np.sort(chances, axis=-1)[..., -2:], -1, 0)
    strength = np.expand_dims(0.1 + 0.5 * (first - second), -1)
    extent = (across[0], across[-1], up[0], up[-1])
    picture = 1 - strength * (1 - colours[chances.argmax(axis=-1)])
    axes.imshow(picture, extent=extent, origin="lower", aspect="auto")
    for k in range(1, classes):
        lead = chances[..., k] - np.delete(chances, k, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            axes.contour(across, up, lead, levels=[0.0], colors="black", linewidths=1.0)
    for k in np.unique(labels):
        marker = _MARKERS[k % len(_MARKERS)]
        axes.plot(
            *points[labels == k].T, linestyle="", marker=marker, markersize=4.5, color=_colour(k),
            markeredgecolor="white", markeredgewidth=0.5, label=f"class {k}",
        )  # fmt: skip
    axes.set(xlabel="x₁", ylabel="x₂", xlim=extent[:2], ylim=extent[2:])
    axes.legend(fontsize=9, framealpha=0.9)
    return _figure(axes)


def loss_surface(
    loss: Callable[[Any], Any],
    limits: tuple[tuple[float, float], tuple[float, float]],
    *,
    paths: Mapping[str, ArrayLike] | None = None,
    labels: tuple[str, str] = ("w₁", "w₂"),
    levels: int = 20,
    logarithmic: bool = False,
    axes: Axes | None = None,
) -> Figure:
    """A function of two weights as a contour map, with the paths of optimisers.

    A circle marks where a path starts, a star where it ends.

    Args:
      loss: an array (2,) → a scalar; traced once, and mapped.
      limits: the ranges of the first and of the second weight.
      paths: by name, arrays (steps, 2). Parts outside the limits are not drawn.
      labels: the names of the two weights.
      levels: the approximate number of bands of height.
      logarithmic: the bands are equal in the logarithm of the loss, which must then be positive.
      axes: where to draw; by default a figure of its own.

    Raises:
      ValueError: ``loss`` is nowhere finite, or not positive though ``logarithmic``; or a path is not
        (steps, 2).

    >>> import jax.numpy as jnp
    >>> from jaxnn import plots
    >>> figure = plots.loss_surface(lambda w: jnp.sum(w**2), ((-1, 1), (-2, 2)))
    >>> figure.axes[0].get_xlabel(), figure.axes[1].get_ylabel()
    ('w₁', 'loss')
    """
    owner = "loss_surface"
    checks.function(owner, "loss", loss, "a function of two weights, (2,)")
    ranges = _two(owner, "limits", limits, "two pairs of numbers")
    limits = arguments.limits(owner, "limits", ranges[0]), arguments.limits(owner, "limits", ranges[1])
    paths = {} if paths is None else paths
    if not (isinstance(paths, Mapping) and not paths):
        arguments.by_title(owner, "paths", paths, "path")
    drawn_paths = [(name, _path(owner, name, path)) for name, path in paths.items()]
    labels = _two(owner, "labels", labels, "two strings")
    levels = checks.integer(owner, "levels", levels, least=1)
    logarithmic = checks.flag(owner, "logarithmic", logarithmic)
    arguments.axes(owner, axes)
    axes = axes or _single()
    across, up = (np.linspace(*ends, _SURFACE_POINTS) for ends in limits)
    plane = jnp.asarray(np.stack(np.meshgrid(across, up), axis=-1), jnp.result_type(float))
    heights = np.asarray(jax.jit(lambda plane: jax.lax.map(jax.vmap(loss), plane))(plane), np.float64)
    if heights.shape != plane.shape[:-1]:
        raise ValueError(f"{owner}: loss must give a scalar, got shape {heights.shape[2:]}")
    heights = np.where(np.isfinite(heights), heights, np.nan)
    if np.isnan(heights).all():
        raise ValueError("loss_surface: loss must be finite somewhere within limits, got none that is")
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    if logarithmic and low <= 0:
        raise ValueError(f"loss_surface: loss must be positive to be drawn logarithmic, got a least of {low}")
    bands, ticks, norm = _scale(low, high if low < high else low + 1.0, levels, logarithmic)
    drawn = axes.contourf(across, up, heights, bands, norm=norm, cmap=_GREYS)
    axes.contour(across, up, heights, bands, colors="black", linewidths=0.3, alpha=0.5)
    bar = _figure(axes).colorbar(drawn, ax=axes, label="loss", ticks=ticks, format="%.3g")
    bar.minorticks_off()
    for i, (name, path) in enumerate(drawn_paths):
        _draw_path(axes, name, path, _colour(i))
    if drawn_paths:
        marks = [
            Line2D([], [], color="black", linestyle="", marker=marker, markerfacecolor="white", label=label)
            for marker, label in (("o", "start"), ("*", "end"))
        ]
        axes.legend(handles=[*axes.get_legend_handles_labels()[0], *marks], fontsize=9, framealpha=0.9)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=limits[0], ylim=limits[1])
    return _figure(axes)


def _scale(
    low: float, high: float, levels: int, logarithmic: bool
) -> tuple[np.ndarray, np.ndarray, Normalize]:
    """The bounds of the bands, the ticks of the colour bar, and the map from heights to [0, 1]."""
    norm: Normalize
    if logarithmic:
        bands, norm = np.geomspace(low, high, levels + 1), LogNorm(low, high)
        ticks = LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)).tick_values(low, high)
    else:
        bands, norm = np.asarray(MaxNLocator(levels).tick_values(low, high)), Normalize(low, high)
        ticks = MaxNLocator(6).tick_values(low, high)
    inside = np.asarray(ticks)
    return bands, inside[(inside >= bands[0]) & (inside <= bands[-1])], norm


def _two(owner: str, name: str, value: Any, rule: str) -> Any:
    """``value``; raises unless it is a sequence of two."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
        raise TypeError(checks.refusal(owner, name, rule, value))
    return value


def _path(owner: str, name: str, value: ArrayLike) -> np.ndarray:
    path = arguments.numbers(owner, f"paths[{name!r}]", value).astype(np.float64)
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"{owner}: a path must be (steps, 2), got shape {path.shape} for {name!r}")
    return path


def _draw_path(axes: Axes, name: str, path: np.ndarray, colour: str) -> None:
    path = path[np.isfinite(path).all(axis=1)]
    axes.plot(*path.T, color=colour, linewidth=1.5, marker=".", markersize=4, label=name)
    for point, marker, size in ((path[:1], "o", 7), (path[-1:], "*", 13)):
        axes.plot(*point.T, marker=marker, markersize=size, color=colour, markeredgecolor="white", zorder=3)


def _chances(scores: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) from the result of ``predict``."""
    if scores.ndim == 1 or scores.shape[1] == 1:
        logits = scores.reshape(-1, 1)
        scores = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _single() -> Axes:
    return Figure(figsize=(5.6, 4.2), layout="constrained").subplots()


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure
