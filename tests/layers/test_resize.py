import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from jaxnn.layers.resize import pixel_shuffle, pixel_unshuffle, resize, upsample
from jaxnn.outputs import output_shape
from tests.support import assert_close, rng_array

LAYERS = {
    "resize": (resize(5), lambda x: ops.resize(x, 5)),
    "resize-settings": (
        resize((3, 7), method="cubic", antialias=True, cubic_coefficient=-0.5),
        lambda x: ops.resize(x, (3, 7), method="cubic", antialias=True, cubic_coefficient=-0.5),
    ),
    "resize-aligned": (
        resize(7, method="linear", align_corners=True),
        lambda x: ops.resize(x, 7, method="linear", align_corners=True),
    ),
    "upsample": (upsample(2), lambda x: ops.upsample(x, 2)),
    "upsample-settings": (
        upsample((1.5, 2), method="linear", align_corners=True),
        lambda x: ops.upsample(x, (1.5, 2), method="linear", align_corners=True),
    ),
    "pixel_shuffle": (pixel_shuffle((2, 1)), lambda x: ops.pixel_shuffle(x, (2, 1))),
    "pixel_unshuffle": (pixel_unshuffle(2), lambda x: ops.pixel_unshuffle(x, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_op_with_the_settings(name, key):
    layer, op = LAYERS[name]
    x = rng_array(2, 4, 6, 2)
    params = layer.init(key, x.shape)
    assert not jax.tree.leaves(params)
    assert_close(layer.apply(params, x), op(x))
    y, state = layer.train(params, x)
    assert_close(y, op(x))
    assert state == {}
    assert output_shape(layer, x.shape) == op(x).shape
    assert layer.name == name.split("-")[0]


def test_the_rank_is_taken_from_the_input(key):
    for space in ((3,), (3, 4), (3, 4, 2)):
        assert output_shape(upsample(2), (1, *space, 5)) == (1, *(2 * n for n in space), 5)


def test_nearest_and_shuffling_keep_integers(key):
    x = np.ones((1, 2, 2, 4), np.uint8)
    for layer in (resize(3), upsample(2), pixel_shuffle(2), pixel_unshuffle(2)):
        assert layer.apply(layer.init(key, x), x).dtype == jnp.uint8


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: resize(0), "resize: size must be at least 1, got 0"),
        (lambda: resize(4, method="area"), "resize: method must be 'nearest', 'linear'"),
        (lambda: resize(4, antialias=True), "resize: antialias must be False for method 'nearest'"),
        (lambda: resize(4, cubic_coefficient=float("inf")), "resize: cubic_coefficient must be a finite"),
        (lambda: upsample(-2), "upsample: scale must be positive and finite, got -2"),
        (lambda: upsample(2, align_corners=True), "upsample: align_corners must be False"),
        (lambda: pixel_shuffle(0), "pixel_shuffle: scale must be at least 1, got 0"),
        (lambda: pixel_unshuffle((2, 0)), "pixel_unshuffle: scale must be at least 1"),
    ],
)
def test_bad_settings_raise_at_construction(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
