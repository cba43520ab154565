"""What a script of the gallery gives, and how it is drawn: one style, and no fact that was not checked."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from jaxnn.plots import COLOURS

#: One look for every figure: readable at 640 pixels, colours that all readers can tell apart.
STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 9,
    "grid.alpha": 0.3,
    "image.cmap": "gray",
    "legend.fontsize": 8,
    "legend.framealpha": 0.8,
    "lines.linewidth": 1.5,
}


class Exhibit(NamedTuple):
    """Figures by name, and sentences about them, each made by ``fact``."""

    figures: dict[str, Figure]
    facts: list[str]


#: What each script defines as ``draw(quick)``; a quick exhibit shows the same at a small size, for the tests.
Draw = Callable[[bool], Exhibit]


def fact(holds: Any, sentence: str) -> str:
    """The sentence, if what it says was measured to hold; an ``AssertionError`` if not.

    >>> fact(1 + 1 == 2, "one and one are two")
    'one and one are two'
    """
    if not np.all(holds):
        raise AssertionError(f"measured otherwise: {sentence}")
    return sentence


def panels(rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any) -> Any:
    """A figure of so many inches and its axes, always as an array ``(rows, columns)``."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def load(name: str) -> tuple[str, Draw]:
    """The text and the ``draw`` of the script called ``name``."""
    module = importlib.import_module(f"examples.gallery.{name}")
    return module.__doc__, module.draw
