import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.combinators import spectral_norm
from jaxnn.layers.dense import dense
from jaxnn.params import Params
from tests.combinators.wrapped import WRAPPED, every_layer
from tests.support import assert_close, rng_array


def as_matrix(kernel):
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


@every_layer
def test_spectral_norm_divides_by_the_largest_singular_value(name, key):
    layer, shape = WRAPPED[name]
    wrapped = spectral_norm(layer, iterations=50)
    x = rng_array(*shape)
    params = wrapped.init(key, shape)
    divided = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            np.asarray(leaf) / np.linalg.norm(as_matrix(leaf), 2) if path[-1].key.endswith("kernel") else leaf
        ),
        params.weights,
    )
    y, _ = wrapped.train(params, x)  # 50 iterations, one after the other: as one program they take longer
    expected, _ = jax.jit(layer.train)(Params(divided, params.state["state"]), x)
    np.testing.assert_allclose(y, expected, atol=2e-3)  # what 50 iterations leave


def test_power_iterations_reach_the_singular_value_one_step_at_a_time(key):
    layer = spectral_norm(dense(6, bias=False))
    params = layer.init(key, (1, 8))
    before = np.asarray(params.weights["kernel"])
    train, x = jax.jit(layer.train), np.eye(8, dtype=np.float32)
    for _ in range(100):
        y, state = train(params, x)
        params = Params(params.weights, state)
    assert_close(y, before / np.linalg.norm(before, 2))
    assert np.array_equal(params.weights["kernel"], before)
    _, _, right = np.linalg.svd(before)
    assert_close(abs(right[0] @ params.state["vectors"]["kernel"]), 1.0, dtype=np.float32)


def test_apply_uses_the_stored_vector_and_agrees_with_the_step_that_stored_it(key):
    layer = spectral_norm(dense(6))
    params = layer.init(key, (1, 8))
    x = rng_array(3, 8)
    y, state = layer.train(params, x)
    assert_close(layer.apply(Params(params.weights, state), x), y)


def test_the_gradient_of_sigma_holds_its_vectors_fixed(key, x64):
    """σ = vᵀ W u, so its derivative is v uᵀ and nothing else."""
    spec = jax.ShapeDtypeStruct((1, 5), jnp.float64)
    layer = spectral_norm(dense(4, bias=False))
    params = layer.init(key, spec)
    x, probe = rng_array(3, 5, dtype=np.float64), rng_array(3, 4, seed=1, dtype=np.float64)

    def loss(weights):
        return jnp.sum(layer.apply(Params(weights, params.state), x) * probe)

    kernel, u = np.asarray(params.weights["kernel"]), np.asarray(params.state["vectors"]["kernel"])
    sigma = np.linalg.norm(kernel @ u)
    v = kernel @ u / sigma
    by_kernel = x.T @ probe
    expected = by_kernel / sigma - (by_kernel * kernel).sum() / sigma**2 * np.outer(v, u)
    assert_close(jax.jit(jax.grad(loss))(params.weights)["kernel"], expected)


def test_spectral_norm_keeps_the_state_of_the_layer_inside(key):
    layer, shape = WRAPPED["composite"]
    wrapped = spectral_norm(layer)
    params = wrapped.init(key, shape)
    assert_close(params.weights, layer.init(key, shape).weights)
    _, state = jax.jit(wrapped.train)(params, rng_array(*shape))
    assert jax.tree.structure(state) == jax.tree.structure(params.state)
    assert not np.allclose(
        state["state"]["batch_norm_0"]["mean"], params.state["state"]["batch_norm_0"]["mean"]
    )
    assert sorted(state["vectors"]) == ["conv_0", "residual_0"]


def test_settings_out_of_range_raise():
    with pytest.raises(ValueError, match=r"^spectral_norm: iterations must be at least 1, got 0"):
        spectral_norm(dense(2), iterations=0)
    with pytest.raises(ValueError, match=r"^spectral_norm: epsilon must be positive, got 0"):
        spectral_norm(dense(2), epsilon=0)


def test_spectral_norm_of_zeros_with_a_tiny_epsilon():
    layer = spectral_norm(dense(2, kernel_init=jax.nn.initializers.zeros), epsilon=1e-30)
    x = jnp.ones((1, 4))
    weights, state = layer.init(jax.random.key(0), x)
    grads = jax.jit(jax.grad(lambda weights: jnp.sum(layer.apply(Params(weights, state), x))))(weights)
    assert all(jnp.isfinite(grad).all() for grad in jax.tree.leaves(grads))
