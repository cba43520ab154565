"""``learning_curves``: what was recorded while a net was trained."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from jaxnn.plots import arguments
from jaxnn.plots.panels import grid
from jaxnn.plots.style import COLOURS


def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """What ``fit`` recorded, over the epochs: one panel per score, training and validation together.

    >>> import jaxnn as nn
    >>> from jaxnn import plots
    >>> figure = plots.learning_curves({"loss": [2.0, 1.0], "val_loss": [2.1, 1.3]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss']
    """
    owner = "learning_curves"
    if not (isinstance(history, Mapping) and not history):
        arguments.by_title(owner, "history", history, "score")
    for name in history:
        values = arguments.numbers(owner, f"history[{name!r}]", history[name])
        if values.ndim != 1 or not values.size:
            raise ValueError(
                f"{owner}: history[{name!r}] must hold one number per epoch, got shape {values.shape}"
            )
    names = [name for name in history if not name.startswith("val_")]
    if not names:
        raise ValueError("learning_curves: history holds no scores; was fit run for 0 epochs?")
    figure, panels = grid(len(names), len(names), width=4.5, height=3.2)
    for axes, name in zip(panels, names, strict=True):
        for series, label, colour in (
            (name, "training", COLOURS[0]),
            (f"val_{name}", "validation", COLOURS[1]),
        ):
            if series in history:
                epochs = range(1, len(history[series]) + 1)
                axes.plot(epochs, history[series], color=colour, label=label, marker=".", markersize=4)
        axes.set(xlabel="epoch", ylabel=name)
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
