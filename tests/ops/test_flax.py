"""The drop-in: Flax's own convolution layer, with jaxnn's kernels handed to it by one argument."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxnn as nn
from tests.support import assert_close, deep, rng_array

#: Channels, features, window, and further settings of ``nnx.Conv``.
SETTINGS = {
    "same": (4, 6, (3, 3), {}),
    "strided": (4, 6, (3, 3), {"strides": (2, 1), "padding": "VALID"}),
    "dilated": (4, 6, (3, 3), {"kernel_dilation": 2, "padding": [(2, 1), (0, 3)]}),
    "grouped": (4, 6, (3, 2), {"feature_group_count": 2}),
    "depthwise": (4, 8, (3, 3), {"feature_group_count": 4, "strides": 2}),
    "dilated-input": (4, 6, (3, 3), {"input_dilation": 2, "padding": ((1, 2), (2, 0))}),
    "circular": (4, 6, (3, 3), {"padding": "CIRCULAR"}),
    "one-axis": (4, 6, (3,), {"padding": "CAUSAL", "use_bias": False}),
    "three-axes": (2, 3, (2, 1, 2), {}),
}


#: What the others are made of.
MAIN = ("strided", "grouped")


@pytest.mark.parametrize("name", [name if name in MAIN else deep(name) for name in SETTINGS])
def test_flax_convolutions_give_the_same_by_our_kernels(name):
    channels, features, window, settings = SETTINGS[name]
    x = jnp.asarray(rng_array(2, *(7, 6, 5)[: len(window)], channels))

    def results(**convolution):
        """Output, and the gradients of weights and x for a fixed cotangent."""
        layer = nnx.Conv(channels, features, window, **settings, **convolution, rngs=nnx.Rngs(0))
        graph, weights = nnx.split(layer)

        @jax.jit
        def run(weights, x):
            y, pull = jax.vjp(lambda weights, x: nnx.merge(graph, weights)(x), weights, x)
            return y, *jax.tree.leaves(pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))

        return run(weights, x), str(jax.make_jaxpr(run)(weights, x))

    theirs, plain = results()
    ours, program = results(conv_general_dilated=nn.ops.conv_general_dilated)
    assert_close(ours, theirs)
    assert "jaxnn_conv" in program
    assert "jaxnn_conv" not in plain


def test_flax_trains_by_our_kernels_under_its_own_transforms():
    """``nnx.jit``, ``nnx.value_and_grad`` and an optimiser's step: the losses are the same."""
    x, target = jnp.asarray(rng_array(4, 8, 8, 3)), jnp.asarray(rng_array(4, 4, 4, 6, seed=1))

    def losses(**convolution):
        layer = nnx.Conv(3, 6, (3, 3), 2, **convolution, rngs=nnx.Rngs(0))

        @nnx.jit
        def step(layer):
            loss, grads = nnx.value_and_grad(lambda layer: jnp.mean(jnp.square(layer(x) - target)))(layer)
            nnx.update(layer, jax.tree.map(lambda w, g: w - 0.1 * g, nnx.state(layer, nnx.Param), grads))
            return loss

        return [step(layer) for _ in range(3)]

    theirs, ours = losses(), losses(conv_general_dilated=nn.ops.conv_general_dilated)
    assert ours[2] < ours[0]
    assert_close(ours, theirs)
