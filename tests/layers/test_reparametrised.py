import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.combinators import residual, serial
from jaxnn.layers.conv import conv
from jaxnn.layers.dense import dense
from jaxnn.layers.norm import batch_norm
from jaxnn.layers.reparametrised import spectral_norm, weight_norm
from jaxnn.params import Params
from tests.support import assert_close, deep, rng_array

WRAPPED = {
    "dense": (dense(4), (2, 3)),
    "conv": (conv(4, 3), (2, 5, 3)),
    "composite": (serial(conv(4, 3), batch_norm(), jax.nn.relu, residual(dense(4))), (2, 5, 3)),
}
every_layer = pytest.mark.parametrize("name", WRAPPED)


def as_matrix(kernel):
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


@every_layer
def test_weight_norm_starts_as_the_layer_itself(name, key):
    layer, shape = WRAPPED[name]
    x = rng_array(*shape)
    plain, params = layer.init(key, shape), weight_norm(layer).init(key, shape)
    both = lambda layer: jax.jit(lambda params: (layer.apply(params, x), layer.train(params, x)))  # noqa: E731
    assert_close(both(weight_norm(layer))(params), both(layer)(plain))
    assert_close(params.state, plain.state)


def test_weight_norm_parts_direction_and_magnitude(key):
    layer = weight_norm(dense(4, bias=False))
    params = layer.init(key, (1, 3))
    kernel = params.weights["kernel"]
    assert jax.tree.map(jnp.shape, kernel) == {"direction": (3, 4), "magnitude": (4,)}
    magnitude = jnp.array([1.0, 2.0, -3.0, 0.0])
    weights = {"kernel": {"direction": 7 * kernel["direction"], "magnitude": magnitude}}
    effective = layer.apply(Params(weights, {}), jnp.eye(3))
    direction = np.asarray(kernel["direction"])
    assert_close(effective, direction / np.linalg.norm(direction, axis=0) * magnitude[None])


def test_the_gradient_of_the_direction_stands_across_it(key):
    layer, x = weight_norm(dense(4)), rng_array(5, 3)
    weights = layer.init(key, (1, 3)).weights
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(layer.apply(Params(w, {}), x)))))(weights)["kernel"]
    along = np.sum(np.asarray(gradient["direction"]) * weights["kernel"]["direction"], 0)
    assert_close(along, np.zeros(4))
    assert np.abs(gradient["magnitude"]).min() > 0


def test_a_kernel_of_zeros_gets_no_nan(key):
    for wrap in (weight_norm, spectral_norm):
        layer = wrap(dense(4, kernel_init=jax.nn.initializers.zeros))
        params = layer.init(key, (1, 3))
        loss = lambda w: jnp.sum(layer.train(Params(w, params.state), jnp.ones((2, 3)))[0])  # noqa: B023, E731
        value, gradient = jax.jit(jax.value_and_grad(loss))(params.weights)
        assert value == 0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


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


def test_they_work_inside_each_other_and_inside_composites(key):
    x = rng_array(2, 3)
    net = serial(weight_norm(spectral_norm(dense(4))), spectral_norm(dense(2)))
    params = net.init(key, x.shape)
    y, state = jax.jit(net.train)(params, x)
    assert jax.tree.structure(state) == jax.tree.structure(params.state)
    assert list(params.weights) == ["dense_0", "dense_1"]
    assert y.shape == (2, 2)


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
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


def test_settings_out_of_range_raise():
    with pytest.raises(ValueError, match=r"^spectral_norm: iterations must be at least 1, got 0"):
        spectral_norm(dense(2), iterations=0)
    with pytest.raises(ValueError, match=r"^spectral_norm: epsilon must be positive, got 0"):
        spectral_norm(dense(2), epsilon=0)


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
@pytest.mark.parametrize("scale", [1e-36, deep(1e-20), deep(1e-7), deep(1e20), 1e37])
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


def test_weight_norm_in_float16():
    """A direction may be of any size; a length above the largest float16 is infinite."""
    x = jnp.ones((1, 4), jnp.float16)
    kernel = {"direction": jnp.full((4, 1), 6e4, jnp.float16), "magnitude": jnp.ones(1, jnp.float16)}
    assert weight_norm(dense(1, bias=False)).apply(Params({"kernel": kernel}, {}), x) == 2
    for size, known in ((3e4, True), (6e4, False)):
        layer = weight_norm(dense(1, kernel_init=jax.nn.initializers.constant(size)))
        magnitude = layer.init(jax.random.key(0), x).weights["kernel"]["magnitude"]
        assert jnp.isfinite(magnitude).all() == known


def test_spectral_norm_of_zeros_with_a_tiny_epsilon():
    layer = spectral_norm(dense(2, kernel_init=jax.nn.initializers.zeros), epsilon=1e-30)
    x = jnp.ones((1, 4))
    weights, state = layer.init(jax.random.key(0), x)
    grads = jax.jit(jax.grad(lambda weights: jnp.sum(layer.apply(Params(weights, state), x))))(weights)
    assert all(jnp.isfinite(grad).all() for grad in jax.tree.leaves(grads))
