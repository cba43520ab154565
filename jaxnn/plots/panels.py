"""Panels in a grid, shared by all figures."""

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def grid(
    n: int, columns: int, *, width: float, height: float, extra: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels, ``columns`` in a row, and the panels in order; remaining cells stay empty.

    Args:
      n: the number of panels.
      columns: the most panels per row.
      width: the width of a panel, in inches.
      height: the height of a panel, in inches.
      extra: height above all panels, in inches, for a heading or a legend.
    """
    columns = min(columns, n)
    rows = ceil(n / columns)
    figure = Figure(figsize=(width * columns, height * rows + extra), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for cell in cells[n:]:
        cell.set_axis_off()
    return figure, cells[:n]
