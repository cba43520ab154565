"""Checks whether a legend hides data."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure


def legends_over_data(figure: Figure) -> list[str]:
    """The titles of the panels in which a line or a point lies under the panel's own legend."""
    FigureCanvasAgg(figure).draw()
    return [axes.get_title() or axes.get_ylabel() for axes in figure.axes if _hides(axes)]


def _hides(axes: Axes) -> bool:
    legend = axes.get_legend()
    if legend is None:
        return False
    box = legend.get_window_extent()
    lines = (line for line in axes.lines if line.get_transform() == axes.transData)
    places = [_along(axes.transData.transform(line.get_xydata())) for line in lines]
    places += [
        axes.transData.transform(np.ma.getdata(points.get_offsets()))
        for points in axes.collections
        if isinstance(points, PathCollection)
    ]
    places += [_outline(bar) for bar in axes.patches]
    seen = (place for group in places for place in group if axes.bbox.contains(*place))
    return any(box.contains(*place) for place in seen)


def _along(corners: np.ndarray) -> np.ndarray:
    """Places every few pixels along a line through these corners."""
    pieces = []
    for start, end in pairwise(corners):
        if np.isfinite(start).all() and np.isfinite(end).all():
            steps = min(int(np.abs(end - start).max() // 3) + 2, 2000)
            pieces.append(np.linspace(start, end, steps))
    return np.concatenate([corners, *pieces])


def _outline(bar) -> np.ndarray:
    return _along(bar.get_transform().transform(bar.get_path().vertices))
