"""``swiglu`` and ``patch_embedding``: what their equations say."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from tests.support import assert_close, rng_array


def test_swiglu_is_a_gate_times_a_dense_layer():
    layer, x = nn.swiglu(3, 5, bias=True), rng_array(2, 4, 6)
    weights = layer.init(jax.random.key(0), x).weights
    weights = jax.tree.map(lambda a: rng_array(*a.shape, seed=1), weights)

    def dense(name, x):
        return x @ weights[name]["kernel"] + weights[name]["bias"]

    gate = dense("gate", x)
    expected = dense("down", gate / (1 + np.exp(-gate)) * dense("up", x))
    assert_close(layer.apply(nn.Params(weights, {}), x), expected)


def test_patches_stand_in_rows_and_each_is_mapped_alike():
    layer, x = nn.patch_embedding(3, (2, 3)), rng_array(2, 5, 6, 4)
    params = layer.init(jax.random.key(0), x)
    kernel = np.asarray(params.weights["conv"]["kernel"]).reshape(2 * 3 * 4, 3)
    y = layer.apply(params, x)
    assert y.shape == (2, 4, 3)
    for place, (i, j) in enumerate(np.ndindex(2, 2)):
        patch = x[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].reshape(2, -1)
        assert_close(y[:, place], patch @ kernel)


def test_what_fits_in_no_patch_is_not_read():
    layer, x = nn.patch_embedding(3, 2), rng_array(1, 5, 4, 1)
    params = layer.init(jax.random.key(0), x)
    assert_close(layer.apply(params, jnp.asarray(x).at[:, 4].set(jnp.nan)), layer.apply(params, x))
