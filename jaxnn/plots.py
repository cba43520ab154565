"""Figures. Each function returns a matplotlib figure and shows nothing; matplotlib is imported only here."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

#: Okabe and Ito's colours: told apart by colour-blind readers, and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """What ``fit`` recorded, over the epochs: a panel for each score, training beside validation.

    >>> import jaxnn as nn
    >>> from jaxnn import plots
    >>> figure = plots.learning_curves({"loss": [2.0, 1.0], "val_loss": [2.1, 1.3]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss']
    """
    names = [name for name in history if not name.startswith("val_")]
    if not names:
        raise ValueError("learning_curves: history holds no scores; was fit run for 0 epochs?")
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        for series, label, colour in (
            (name, "training", COLOURS[0]),
            (f"val_{name}", "validation", COLOURS[1]),
        ):
            if series in history:
                epochs = range(1, len(history[series]) + 1)
                axes.plot(epochs, history[series], color=colour, label=label, marker=".", markersize=4)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


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
    pictures = np.asarray(images)
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
    values = np.asarray(kernel, dtype=np.float32)
    if values.ndim != 4:
        raise ValueError(
            f"filters: kernel must be (height, width, C_in, C_out), got shape {values.shape}; only a "
            "convolution over two axes can be drawn"
        )
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


def _frame(picture: np.ndarray) -> Rectangle:
    height, width = picture.shape[:2]
    return Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=COLOURS[1], linewidth=3)
