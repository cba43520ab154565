from inspect import signature

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxnn as nn
from jaxnn import plots
from tests.support import assert_close


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


def test_feature_maps_have_a_panel_a_channel_on_one_scale():
    maps = np.random.default_rng(0).normal(size=(2, 4, 6, 10))
    figure = plots.feature_maps(maps, example=1, columns=4)
    images = [axes.images[0] for axes in figure.axes if axes.get_title()]
    assert len(images) == 10
    assert_close(np.asarray(images[7].get_array()), maps[1, ..., 7])
    assert {image.get_clim() for image in images} == {images[0].get_clim()}
    with pytest.raises(ValueError, match=r"feature_maps: maps must be \(N, H, W, C\), got shape \(4, 6\)"):
        plots.feature_maps(maps[0, ..., 0])


def test_functions_are_drawn_with_their_derivatives():
    figure = plots.activation_functions({"tanh": nn.tanh, "step": nn.step}, limits=(-2, 2), columns=1)
    assert [axes.get_title() for axes in figure.axes] == ["tanh", "step"]
    x, f = figure.axes[0].lines[-2].get_data()
    _, slope = figure.axes[0].lines[-1].get_data()
    assert 0 in x
    assert_close(f, np.tanh(x), dtype=np.float32)
    assert_close(slope, 1 - np.tanh(x) ** 2, dtype=np.float32)
    assert not figure.axes[1].lines[-1].get_ydata().any()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["f(x)", "f′(x)"]
    with pytest.raises(ValueError, match="functions must hold at least one function, got none"):
        plots.activation_functions({})


def test_bars_of_a_histogram_are_shares_of_all_values():
    values = {"even": np.arange(10.0), "poor": np.array([0.0, 9.0, np.nan, np.inf]), "none": np.zeros((0, 3))}
    figure = plots.histograms(values, bins=10)
    even, poor, none = (axes.patches[0].get_data().values for axes in figure.axes)
    np.testing.assert_allclose(even, np.full(10, 10.0))
    assert (poor[0], poor[-1], poor.sum()) == (25, 25, 50)
    assert not none.any()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["even\n4.5 ± 2.9", "poor\n50 % not finite", "none\nempty"]
    assert {axes.get_xlim() for axes in figure.axes} == {(0, 9)}
    narrow = plots.histograms(values, bins=2, limits=(-0.5, 4.5))
    assert narrow.axes[0].patches[0].get_data().values.sum() == 50
    constant = plots.histograms({"zeros": np.zeros(3)})
    assert constant.axes[0].patches[0].get_data().values.sum() == 100
    with pytest.raises(ValueError, match="values must hold at least one array, got none"):
        plots.histograms({})


@pytest.mark.parametrize("classes", [0, 1, 2, 3])
def test_a_decision_surface_shows_the_class_with_the_largest_score(classes):
    """Classes: 0 for logits (n,), 1 for logits (n, 1), else ``classes`` scores."""
    x = np.array([[-1.0, 0.0], [1.0, 0.0], [0.9, 1.0]])

    def predict(points):
        logits = points[:, 0]
        columns = [jnp.zeros_like(logits), logits, logits - 10][:classes]
        return jnp.stack([logits] if classes == 1 else columns, axis=-1) if classes else logits

    figure = plots.decision_surface(predict, x, [0, 1, 1], resolution=20)
    (axes,) = figure.axes
    picture = axes.images[0].get_array()
    left, right = picture[0, 0], picture[0, -1]
    assert left[2] > left[0], "class 0 is blue"
    assert right[0] > right[2], "class 1 is orange"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["class 0", "class 1"]


def test_a_decision_surface_can_stand_in_a_figure_of_the_callers():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    sure = plots.decision_surface(lambda x: x[:, 0] ** 2 + 1, np.zeros((2, 2)), [1, 1], axes=right)
    assert sure is figure
    assert right.images
    assert not left.images
    with pytest.raises(ValueError, match=r"x must be \(N, 2\) and y \(N,\), got shapes \(3, 2\) and \(2,\)"):
        plots.decision_surface(lambda x: x, np.zeros((3, 2)), [0, 1])


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_loss_surface_with_paths(logarithmic):
    path = np.array([[1.0, 1.0], [0.5, 0.2], [np.nan, np.inf]])
    figure = plots.loss_surface(
        lambda w: jnp.sum(w**2) + 0.1, ((-1, 1), (-2, 2)), paths={"sgd": path}, labels=("a", "b"),
        logarithmic=logarithmic,
    )  # fmt: skip
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("a", "b", "loss")
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 1), (-2, 2))
    line, start, end = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), path[:2])
    np.testing.assert_array_equal(start.get_xydata(), path[:1])
    np.testing.assert_array_equal(end.get_xydata(), path[1:2])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sgd", "start", "end"]


def test_a_loss_surface_leaves_out_what_is_not_finite_and_draws_a_plain():
    plots.loss_surface(lambda w: jnp.where(w[0] > 0, jnp.inf, 3.0), ((-1, 1), (-1, 1)))
    with pytest.raises(ValueError, match="loss must be finite somewhere"):
        plots.loss_surface(lambda w: w[0] * jnp.nan, ((-1, 1), (-1, 1)))
    with pytest.raises(ValueError, match="loss must be positive to be drawn logarithmic, got a least of"):
        plots.loss_surface(lambda w: w[0], ((-1, 1), (-1, 1)), logarithmic=True)
    with pytest.raises(ValueError, match=r"a path must be \(steps, 2\), got shape \(3,\) for 'sgd'"):
        plots.loss_surface(lambda w: w[0], ((-1, 1), (-1, 1)), paths={"sgd": np.zeros(3)})


def test_a_histogram_without_bars_says_so():
    figure = plots.histograms({"small": np.zeros(9), "large": np.full(9, 1e30)}, limits=(-1, 1))
    small, large = figure.axes
    assert small.get_ylim()[0] == 0
    assert [text.get_text() for text in large.texts] == ["none in\nthis range"]


IMAGES, MAPS = np.zeros((3, 4, 4, 1)), np.zeros((2, 4, 4, 3))
GOOD = {
    plots.learning_curves: {"history": {"loss": [1.0]}},
    plots.image_grid: {"images": IMAGES, "titles": ["a", "b", "c"]},
    plots.filters: {"kernel": np.zeros((3, 3, 1, 2))},
    plots.feature_maps: {"maps": MAPS},
    plots.activation_functions: {"functions": {"tanh": nn.tanh}},
    plots.histograms: {"values": {"ones": np.ones(3)}},
    plots.decision_surface: {"predict": lambda x: x[:, 0], "x": np.eye(2), "y": np.array([0, 1])},
    plots.loss_surface: {"loss": lambda w: w[0], "limits": ((-1, 1), (-1, 1))},
}
WHOLE = [None, 0, -1, 1.5, "3", True, np.nan, [2]]
PAIR = [1, "ab", (1,), (1, 2, 3), (2, 1), (1, 1), (0, np.nan), (-np.inf, 0), ("a", "b"), (None, 1)]
TITLED = [None, [1.0], 3, "loss", {1: [1.0]}, {"a": None}, {"a": "b"}, {"a": [[1], [1, 2]]}]
EMPTY = [None, "x", [], [[1], [1, 2]], {}, np.array(["a"])]
BAD = {
    "history": [*TITLED, {}, {"loss": []}, {"loss": 1.0}, {"loss": [1j]}],
    "images": [*EMPTY, IMAGES[:0], IMAGES[0], IMAGES[..., :0], np.zeros((3, 4, 4, 2)), IMAGES * 1j],
    "titles": [None, "abc", ["a"], ["a"] * 4, 3],
    "marked": [True, [True], "abc"],
    "columns": WHOLE,
    "kernel": [*EMPTY, IMAGES[0], IMAGES[:0], IMAGES[..., :0], IMAGES * 1j],
    "maps": [*EMPTY, MAPS[0], MAPS[:0], MAPS[..., :0], MAPS[:, :0]],
    "example": [None, 2, -3, 0.0, "0", True],
    "functions": [None, nn.tanh, [nn.tanh], {}, {"tanh": "tanh"}, {1: nn.tanh}],
    "limits": PAIR,
    "values": [*TITLED, {}, {"a": np.ones(3) * 1j}],
    "bins": WHOLE,
    "predict": [None, "x", lambda x: x[:3, 0], lambda x: x[..., None], lambda x: x[0, 0], lambda x: x[:, :0]],
    "x": [*EMPTY, np.eye(3), np.eye(2)[:0], np.eye(2) * np.nan, np.eye(2)[:1]],
    "y": [*EMPTY, np.array([0.0, 1.0]), np.array([0, -1]), np.array([0]), np.eye(2, dtype=int)],
    "resolution": [*WHOLE, 1],
    "axes": [1, "axes", Figure()],
    "loss": [None, 1.0, lambda w: w],
    "paths": [[np.eye(2)], {"sgd": None}, {"sgd": np.eye(3)}, {1: np.eye(2)}, np.eye(2), "sgd"],
    "labels": [None, "ab", ["a"], 3],
    "levels": WHOLE,
    "logarithmic": [None, 1, "yes"],
    "heading": [None, 3, ["a"]],
    "xlabel": [None, 3],
}


def bad_cases():
    for function in GOOD:
        for name in signature(function).parameters:
            values = BAD[name]
            if function is plots.loss_surface and name == "limits":
                values = [None, 1, ((0, 1),), *(((0, 1), pair) for pair in values)]
            for i, value in enumerate(values):
                yield pytest.param(function, name, value, id=f"{function.__name__}-{name}-{i}")


@pytest.mark.parametrize(("function", "name", "value"), list(bad_cases()))
def test_a_bad_argument_is_named(function, name, value):
    named = {"paths": "paths?", "x": "(x|y)", "y": "(x|y)"}.get(name, name)
    with pytest.raises((TypeError, ValueError), match=rf"^{function.__name__}: (a )?{named}\b"):
        function(**GOOD[function] | {name: value})


@pytest.mark.parametrize("function", GOOD)
def test_the_good_arguments_are_good(function):
    assert isinstance(function(**GOOD[function]), Figure)


def test_maps_that_are_not_finite_are_drawn():
    maps = np.stack([MAPS[0] * np.nan, MAPS[0]])
    maps[1, 0, 0, 0] = np.inf
    for example in (0, 1, -1):
        plots.feature_maps(maps, example=example)
