"""One look for every figure: the functions here, the gallery and the charts of the benchmarks."""

from typing import Any

from cycler import cycler
from matplotlib.figure import Figure

#: Okabe and Ito's colours: distinguishable for colour-blind readers, and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: For ``matplotlib.rc_context``: readable at 640 pixels wide, sharp on a dense screen.
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "figure.titlesize": 10,
    "font.size": 9,
    "grid.alpha": 0.3,
    "image.cmap": "gray",
    "legend.fontsize": 8,
    "legend.framealpha": 0.8,
    "lines.linewidth": 1.5,
    "savefig.dpi": 160,
}


def without_frames(figure: Figure) -> Figure:
    """The figure, with no spines and no grid in the panels that show a picture."""
    for axes in figure.axes:
        if axes.images and axes.get_label() != "<colorbar>":
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
    return figure
