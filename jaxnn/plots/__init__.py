"""Figures. Each function returns a matplotlib figure and shows nothing; matplotlib is imported only here.

A figure is written with ``figure.savefig("name.png")``, and a notebook shows one that ends a cell. The two
surfaces also take ``axes=``, to stand beside other panels in a figure of the caller's. ``STYLE`` is the look
of the gallery and of the benchmarks' charts: ``with matplotlib.rc_context(plots.STYLE): ...``.
"""

from jaxnn.plots.functions import activation_functions
from jaxnn.plots.histograms import histograms
from jaxnn.plots.images import feature_maps, filters, image_grid
from jaxnn.plots.learning import learning_curves
from jaxnn.plots.style import COLOURS, STYLE
from jaxnn.plots.surfaces import decision_surface, loss_surface

__all__ = [
    "COLOURS",
    "STYLE",
    "activation_functions",
    "decision_surface",
    "feature_maps",
    "filters",
    "histograms",
    "image_grid",
    "learning_curves",
    "loss_surface",
]
