"""Figures. Each function returns a matplotlib figure and shows nothing; matplotlib is imported only here.

A figure is saved with ``figure.savefig("name.png")``, and a notebook shows a figure that ends a cell. The two
surfaces also take ``axes=``, to be drawn beside other panels in the caller's figure. ``STYLE`` is the look
of the gallery and of the benchmarks' charts: ``with matplotlib.rc_context(plots.STYLE): ...``.
"""

from jaxnn.exports import public
from jaxnn.plots.functions import activation_functions as activation_functions
from jaxnn.plots.histograms import histograms as histograms
from jaxnn.plots.images import feature_maps as feature_maps
from jaxnn.plots.images import filters as filters
from jaxnn.plots.images import image_grid as image_grid
from jaxnn.plots.learning import learning_curves as learning_curves
from jaxnn.plots.style import COLOURS as COLOURS
from jaxnn.plots.style import STYLE as STYLE
from jaxnn.plots.surfaces import decision_surface as decision_surface
from jaxnn.plots.surfaces import loss_surface as loss_surface

__all__ = public(globals())
