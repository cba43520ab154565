"""Grids of small pictures: images, the filters of a convolution, its feature maps."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxnn.ops import checks
from jaxnn.plots import arguments
from jaxnn.plots.panels import grid
from jaxnn.plots.style import COLOURS


def image_grid(
    images: ArrayLike,
    titles: Sequence[str],
    *,
    marked: Sequence[bool] | None = None,
    columns: int = 10,
    heading: str = "",
) -> Figure:
    """Images in a grid, each under its title; those that are ``marked`` in a frame.

    Shapes: images (n, H, W, 1) or (n, H, W, 3), values in [0, 1] for colour.

    >>> import numpy as np
    >>> from jaxnn import plots
    >>> len(plots.image_grid(np.zeros((3, 8, 8, 1)), ["a", "b", "c"], columns=2).axes)
    4
    """
    owner = "image_grid"
    pictures = arguments.numbers(owner, "images", images)
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3, 4) or not pictures.size:
        raise ValueError(
            f"{owner}: images must be (n, H, W, 1) or (n, H, W, 3), at least one, got shape {pictures.shape}"
        )
    for name, value in (("titles", titles), ("marked", marked)):
        if value is not None or name == "titles":
            _one_per_image(owner, name, value, len(pictures))
    checks.text(owner, "heading", heading)
    columns = checks.integer(owner, "columns", columns, least=1)
    rows = ceil(len(pictures) / columns)
    figure = Figure(figsize=(1.0 * columns, 1.22 * rows + 0.4 * bool(heading)), layout="constrained")
    if heading:
        figure.suptitle(heading)
    cells = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in cells:
        axes.set_axis_off()
    for i, (axes, picture, title) in enumerate(zip(cells, pictures, titles, strict=False)):
        mistake = marked is not None and marked[i]
        axes.imshow(picture, cmap="gray")
        axes.set_title(title, fontsize=8, color=COLOURS[1] if mistake else "black")
        if mistake:
            axes.add_patch(_frame(picture))
    return figure


def filters(kernel: ArrayLike, *, columns: int = 8) -> Figure:
    """The filters of a convolution's first layer: grey for one input channel, colour for three.

    Shapes: kernel (height, width, C_in, C_out). Other numbers of input channels are shown by their mean.
    All filters share one grey scale, centred on 0.

    >>> import numpy as np
    >>> from jaxnn import plots
    >>> len(plots.filters(np.zeros((3, 3, 1, 16))).axes)
    17
    """
    owner = "filters"
    values = arguments.numbers(owner, "kernel", kernel).astype(np.float32)
    columns = checks.integer(owner, "columns", columns, least=1)
    if values.ndim != 4:
        raise ValueError(
            f"filters: kernel must be (height, width, C_in, C_out), got shape {values.shape}; only a "
            "convolution over two axes can be drawn"
        )
    if not values.size:
        raise ValueError(f"{owner}: kernel must have no axis of size 0, got shape {values.shape}")
    limit = float(np.abs(values).max()) or 1.0
    coloured = values.shape[2] == 3
    n = values.shape[-1]
    rows = ceil(n / columns)
    figure = Figure(figsize=(0.8 * columns + 1, 0.8 * rows + 0.3), layout="constrained")
    cells = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for i, axes in enumerate(cells):
        axes.set_axis_off()
        if i < n:
            one = values[..., i]
            picture = (one / limit + 1) / 2 if coloured else one.mean(axis=-1)
            drawn = axes.imshow(picture, cmap="gray", vmin=-limit, vmax=limit)
    if not coloured:
        figure.colorbar(drawn, ax=cells.tolist(), label="weight", shrink=0.9)
    return figure


def feature_maps(maps: ArrayLike, *, example: int = 0, columns: int = 8) -> Figure:
    """The output of a layer for one example: one panel per channel, with its number, on one grey scale.

    Args:
      maps: (N, H, W, C), such as an entry of ``activations(net, params, x)``.
      example: which of the N, from 0, or from −1 backwards.
      columns: the number of panels per row.

    Raises:
      ValueError: ``maps`` has another number of axes, or no such example.

    >>> import numpy as np
    >>> from jaxnn import plots
    >>> len(plots.feature_maps(np.zeros((2, 5, 5, 16))).axes)
    17
    """
    owner = "feature_maps"
    values = arguments.numbers(owner, "maps", maps)
    if values.ndim != 4:
        raise ValueError(f"{owner}: maps must be (N, H, W, C), got shape {values.shape}")
    if not values.size:
        raise ValueError(f"{owner}: maps must have no axis of size 0, got shape {values.shape}")
    example = checks.integer(owner, "example", example, least=-len(values), most=len(values) - 1)
    columns = checks.integer(owner, "columns", columns, least=1)
    channels = np.moveaxis(values[example].astype(np.float32), -1, 0)
    finite = channels[np.isfinite(channels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    height, width = channels.shape[1:]
    figure, panels = grid(len(channels), columns, width=0.9, height=0.9 * height / width + 0.25)
    for i, (axes, channel) in enumerate(zip(panels, channels, strict=True)):
        drawn = axes.imshow(channel, cmap="gray", vmin=low, vmax=high)
        axes.set_axis_off()
        axes.set_title(str(i), fontsize=8)
    figure.colorbar(drawn, ax=panels, label="activation", shrink=0.9)
    return figure


def _one_per_image(owner: str, name: str, value: Any, n: int) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) != n:
        came = f"{len(value)}" if isinstance(value, Sequence | np.ndarray) else checks.shown(value)
        raise ValueError(f"{owner}: {name} must be a sequence of {n}, one per image, got {came}")


def _frame(picture: np.ndarray) -> Rectangle:
    height, width = picture.shape[:2]
    return Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=COLOURS[1], linewidth=3)
