"""The result of a script of the gallery: figures and checked facts."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure


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
