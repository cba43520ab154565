"""What holds for ``weight_norm`` and for ``spectral_norm``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.combinators import serial, spectral_norm, weight_norm
from jaxnn.layers.dense import dense
from jaxnn.layers.norm import batch_norm
from jaxnn.params import Params
from tests.support import assert_close, deep, rng_array


def test_a_kernel_of_zeros_gets_no_nan(key):
    for wrap in (weight_norm, spectral_norm):
        layer = wrap(dense(4, kernel_init=jax.nn.initializers.zeros))
        params = layer.init(key, (1, 3))
        loss = lambda w: jnp.sum(layer.train(Params(w, params.state), jnp.ones((2, 3)))[0])  # noqa: B023, E731
        value, gradient = jax.jit(jax.value_and_grad(loss))(params.weights)
        assert value == 0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_they_work_inside_each_other_and_inside_composites(key):
    x = rng_array(2, 3)
    net = serial(weight_norm(spectral_norm(dense(4))), spectral_norm(dense(2)))
    params = net.init(key, x.shape)
    y, state = jax.jit(net.train)(params, x)
    assert jax.tree.structure(state) == jax.tree.structure(params.state)
    assert list(params.weights) == ["dense_0", "dense_1"]
    assert y.shape == (2, 2)


@pytest.mark.parametrize("wrap", [deep(weight_norm), spectral_norm])
def test_vmap_over_keys_and_narrow_dtypes(wrap, key):
    layer = wrap(dense(4))
    many = jax.jit(jax.vmap(lambda key: layer.init(key, (1, 3))))(jax.random.split(key, 2))
    assert jax.jit(jax.vmap(layer.apply, in_axes=(0, None)))(many, rng_array(5, 3)).shape == (2, 5, 4)
    params = layer.init(key, jax.ShapeDtypeStruct((1, 3), jnp.bfloat16))
    assert layer.apply(params, jnp.ones((5, 3), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
def test_a_layer_without_a_kernel_raises(wrap, key):
    with pytest.raises(
        ValueError,
        match=rf"^{wrap.__name__}: the layer 'batch_norm' must have a kernel, its weights are: scale, bias",
    ):
        wrap(batch_norm()).init(key, (1, 3))


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
@pytest.mark.parametrize("scale", [1e-36, deep(1e-20), deep(1e-7), deep(1e20), deep(1e37)])
def test_the_scale_of_a_kernel_does_not_matter(wrap, scale):
    """The kernel's squares would leave the range of float32."""
    x, kernel = jnp.asarray(rng_array(3, 4)), rng_array(4, 2, seed=2)

    def params_at(scale):
        drawn = dense(2, bias=False, kernel_init=lambda key, shape, dtype: jnp.asarray(kernel * scale, dtype))
        return wrap(drawn, **settings).init(jax.random.key(0), x)

    settings = {"epsilon": 1e-37} if wrap is spectral_norm else {}
    layer, usual, params = wrap(dense(2, bias=False), **settings), params_at(1.0), params_at(scale)
    if wrap is weight_norm:
        polar = params.weights["kernel"]
        params = params._replace(
            weights={"kernel": {**polar, "magnitude": polar["magnitude"] / np.float32(scale)}}
        )
    assert_close(jax.jit(layer.train)(params, x), jax.jit(layer.train)(usual, x), scale=10)
