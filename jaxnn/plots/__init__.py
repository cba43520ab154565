"""Figures. Each function returns a matplotlib figure and shows nothing; matplotlib is imported only here.

A figure is saved with ``figure.savefig("name.png")``, and a notebook shows a figure that ends a cell. The two
surfaces also take ``axes=``, to be drawn beside other panels in the caller's figure. ``STYLE`` is the look
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
