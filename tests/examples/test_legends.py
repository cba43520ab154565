"""The checker of legends finds one that hides data."""

import numpy as np
import pytest

from examples.gallery.exhibit import panels
from tests.examples.legends import legends_over_data


@pytest.mark.parametrize(("corner", "hidden"), [("upper right", ["rising"]), ("lower right", [])])
def test_a_legend_over_a_line_is_found(corner, hidden):
    figure, ((axes,),) = panels(size=(4, 3))
    axes.plot([0, 1, 2], [0, 1, 2], label="a line")
    axes.set_title("rising")
    axes.legend(loc=corner)
    assert legends_over_data(figure) == hidden


def test_a_legend_beside_the_panel_hides_nothing():
    figure, ((axes,),) = panels(size=(4, 3))
    axes.scatter(*np.random.default_rng(0).uniform(size=(2, 500)), label="points")
    axes.legend()
    assert legends_over_data(figure) == [""]
    axes.get_legend().remove()
    figure.legend(loc="outside lower center")
    assert legends_over_data(figure) == []
