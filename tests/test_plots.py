import numpy as np
import pytest

from jaxnn import plots


def test_learning_curves_have_a_panel_a_score():
    history = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.7], "val_loss": [2.1, 1.4], "val_accuracy": [0.4, 0.6]}
    figure = plots.learning_curves(history)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines] == ["training", "validation"]
    np.testing.assert_array_equal(lines[1].get_ydata(), [0.4, 0.6])
    with pytest.raises(ValueError, match="history holds no scores"):
        plots.learning_curves({})


def test_marked_images_are_framed():
    figure = plots.image_grid(np.zeros((3, 4, 4, 3)), ["a", "b", "c"], marked=[False, True, False], columns=2)
    assert [len(axes.patches) for axes in figure.axes] == [0, 1, 0, 0]
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_filters_share_one_scale(channels):
    kernel = np.random.default_rng(0).normal(size=(3, 3, channels, 10))
    figure = plots.filters(kernel, columns=4)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) >= 10
    if channels != 3:
        assert images[0].get_clim() == images[9].get_clim()


def test_only_kernels_over_two_axes_can_be_drawn():
    with pytest.raises(
        ValueError, match=r"filters: kernel must be \(height, width, C_in, C_out\), got shape \(3, 1, 4\)"
    ):
        plots.filters(np.zeros((3, 1, 4)))
