from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn import ops
from tests.reference import activation as reference
from tests.support import assert_close, deep, known_answers, plain_jit, rng_array

INF, NAN = float("inf"), float("nan")

ELEMENTWISE = {name: getattr(ops, name, None) for name in reference.SCALAR} | {
    "gelu_exact": partial(ops.gelu, approximate=False),
    "threshold": partial(ops.threshold, threshold=0.5, value=-2.0),
}
every_activation = pytest.mark.parametrize("name", ELEMENTWISE)

#: name: (value, derivative) at −∞ and at +∞.
LIMITS = {
    "relu": ((0, 0), (INF, 1)),
    "relu6": ((0, 0), (6, 0)),
    "leaky_relu": ((-INF, 0.01), (INF, 1)),
    "elu": ((-1, 0), (INF, 1)),
    "selu": ((-reference.SCALE * reference.ALPHA, 0), (INF, reference.SCALE)),
    "celu": ((-1, 0), (INF, 1)),
    "gelu": ((0, 0), (INF, 1)),
    "gelu_exact": ((0, 0), (INF, 1)),
    "silu": ((0, 0), (INF, 1)),
    "sigmoid": ((0, 0), (1, 0)),
    "tanh": ((-1, 0), (1, 0)),
    "softplus": ((0, 0), (INF, 1)),
    "soft_sign": ((-1, 0), (1, 0)),
    "hard_tanh": ((-1, 0), (1, 0)),
    "hard_sigmoid": ((0, 0), (1, 0)),
    "hard_silu": ((0, 0), (INF, 1)),
    "mish": ((0, 0), (INF, 1)),
    "log_sigmoid": ((-INF, 1), (0, 0)),
    "linear": ((-INF, 1), (INF, 1)),
    "step": ((0, 0), (1, 0)),
    "arctan": ((-np.pi / 2, 0), (np.pi / 2, 0)),
    "hard_shrink": ((-INF, 1), (INF, 1)),
    "soft_shrink": ((-INF, 1), (INF, 1)),
    "tanh_shrink": ((-INF, 1), (INF, 1)),
    "threshold": ((-2, 0), (INF, 1)),
}


@cache
def derivative(function):
    """Compiled once for each shape and dtype."""
    return jax.jit(jax.vmap(jax.grad(function)))


@pytest.mark.parametrize(
    "name",
    [
        "celu",
        "elu",
        "glu",
        "hard_sigmoid",
        "hard_tanh",
        "leaky_relu",
        "log_sigmoid",
        "log_softmax",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "softplus",
        "tanh",
    ],
)
def test_what_jax_has_is_the_very_same_object(name):
    assert getattr(ops, name) is getattr(jax.nn, name)


@pytest.mark.parametrize("dtype", ["float32", deep("float16"), "bfloat16", deep("float64")])
@pytest.mark.parametrize("name", ["gelu", "gelu_exact", "silu", "mish", "hard_silu", "soft_sign"])
def test_what_replaces_a_function_of_jax_has_its_values(name, dtype, x64):
    theirs = partial(jax.nn.gelu, approximate=False) if name == "gelu_exact" else getattr(jax.nn, name)
    x = jnp.asarray(np.concatenate([np.linspace(-80, 80, 1601), np.linspace(-2000, 2000, 101)]), dtype)
    ours = jax.jit(ELEMENTWISE[name])(x)
    assert ours.dtype == x.dtype
    # JAX's are right to a rounding of x; that the tails are better here is tested in test_edges.
    wide = np.asarray(x, np.float64)
    expected = np.asarray(plain_jit(theirs)(wide))
    assert_close(ours, expected, scale=np.maximum(np.abs(wide), 1.0))


@every_activation
def test_values_and_derivatives_are_those_of_the_reference(name, x64):
    value, slope = reference.SCALAR[name]
    x = np.concatenate([np.linspace(-9, 9, 181), rng_array(20, dtype=np.float64), [-40.0, 40.0, 200.0]])
    kinks = np.array([0, 0.5, 1, 3, 6])
    smooth = x[(np.abs(np.abs(x)[:, None] - kinks) > 1e-6).all(1)]
    assert_close(jax.jit(ELEMENTWISE[name])(x), reference.each(value, x))
    assert_close(derivative(ELEMENTWISE[name])(smooth), reference.each(slope, smooth), scale=9)
    differences = reference.each(lambda v: (value(v + 1e-6) - value(v - 1e-6)) / 2e-6, smooth)
    np.testing.assert_allclose(derivative(ELEMENTWISE[name])(smooth), differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "step", "hard_shrink", "threshold", "silu"])
def test_derivative_at_0(name):
    slope = derivative(ELEMENTWISE[name])(jnp.zeros(1))[0]
    assert slope == {"leaky_relu": 1, "elu": 1, "silu": 0.5}.get(name, 0)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float16", deep("bfloat16")])  # which has float32's range
def test_limits_are_reached_at_large_values_and_at_infinity(name, dtype):
    """The value stays right and the derivative finite, from 100 on, for both signs."""
    function = ELEMENTWISE[name]
    large = float(jnp.finfo(dtype).max)
    for sign, (value, slope) in zip((-1, 1), LIMITS[name], strict=True):
        x = jnp.asarray(sign * np.array([100, 200, 300, 1e4, large, INF]), dtype)
        y, slopes = jax.jit(function)(x), derivative(function)(x)
        assert (y.dtype, slopes.dtype) == (x.dtype, x.dtype)
        assert not np.isnan(np.asarray(y, np.float64)).any()
        np.testing.assert_allclose(np.asarray(slopes, np.float64), slope, atol=1e-2)
        np.testing.assert_allclose(float(y[-1]), value, rtol=1e-2)
        np.testing.assert_allclose(float(slopes[-1]), slope, rtol=1e-2)


@every_activation
def test_second_derivatives_are_finite_at_large_values(name):
    second = derivative(jax.grad(ELEMENTWISE[name]))
    assert np.isfinite(second(jnp.array([-1e30, -1e4, -200, 0, 200, 1e4, 1e30]))).all()


@every_activation
def test_nan_stays_nan(name):
    assert np.isnan(ELEMENTWISE[name](jnp.array([NAN]))).all()


def test_elu_at_200_has_a_finite_derivative():
    assert jax.grad(ops.elu)(200.0) == 1


def test_gelu_is_the_tanh_approximation_unless_asked():
    x = jnp.array([1.0])
    assert_close(ops.gelu(x), np.array([0.841192]))
    assert_close(ops.gelu(x, approximate=False), np.array([0.841345]))


def test_leaky_relu_has_a_slope_of_a_hundredth():
    assert ops.leaky_relu(jnp.array([-1.0]))[0] == jnp.float32(-0.01)


@pytest.mark.parametrize(
    "name", sorted(ELEMENTWISE.keys() - {"linear"} - set(dir(jax.nn)) | {"gelu", "silu"})
)
def test_our_own_refuse_integers(name):
    op = name.removesuffix("_exact")
    with pytest.raises(TypeError, match=rf"^{op}: x must be floating-point, got int32; cast it first"):
        ELEMENTWISE[name](jnp.arange(3))


rows = st.integers(0, 10_000).map(lambda seed: rng_array(3, 5, seed=seed, dtype=np.float64))


@given(x=rows, shared=st.booleans())
def test_prelu(x, shared):
    x = x.astype(np.float32)
    slope = np.array([0.25, -1, 0, 2, 0.5], np.float32)
    if shared:
        slope = np.full(5, 0.25, np.float32)
    y = ops.prelu(x, slope[0] if shared else slope)
    assert_close(y, reference.prelu(x, slope).astype(np.float32))


def test_prelu_at_0_and_at_infinity():
    slope, x = jnp.full(4, 0.25), jnp.array([0.0, -INF, INF, -1e30])
    by_x, by_slope = jax.grad(lambda *a: jnp.sum(ops.prelu(*a)), argnums=(0, 1))(x, slope)
    assert np.array_equal(by_x, [1, 0.25, 1, 0.25])
    assert np.array_equal(by_slope, np.array([0, -INF, 0, -1e30], np.float32))


# What torch gives.


@pytest.mark.parametrize("name", sorted(ELEMENTWISE.keys() - {"linear", "step"}))
def test_values_and_derivatives_are_those_of_torch(name):
    answers = known_answers("activation")
    x = answers["x"]
    assert_close(jax.jit(ELEMENTWISE[name])(x), answers[f"{name}/y"])
    assert_close(derivative(ELEMENTWISE[name])(x), answers[f"{name}/grad"])


def test_glu_is_that_of_torch():
    answers = known_answers("activation")
    y, pull = jax.vjp(ops.glu, jnp.asarray(answers["rows"]))
    probe = jnp.sin(jnp.arange(1.0, y.size + 1)).reshape(y.shape)
    assert_close((y, pull(probe)[0]), (answers["glu/y"], answers["glu/grad"]))


def test_prelu_is_that_of_torch():
    answers = known_answers("activation")
    x, slope = (jnp.asarray(answers[f"prelu/{name}"]) for name in ("x", "slope"))
    y, pull = jax.vjp(ops.prelu, x, slope)
    assert_close(y, answers["prelu/y"])
    gradients = pull(jnp.sin(jnp.arange(1.0, y.size + 1)).reshape(y.shape))
    assert_close(gradients, (answers["prelu/grad"], answers["prelu/grad/slope"]))


# Bad input.

x = jnp.ones((2, 6))
BAD = {
    "slope of another shape": (
        lambda: ops.prelu(x, jnp.ones(5)),
        ValueError,
        r"^prelu: slope must be one value, shape \(\), or one value per channel, shape \(6,\), got "
        r"shape \(5,\)",
    ),
    "slope of another dtype": (
        lambda: ops.prelu(x, jnp.ones(6, jnp.bfloat16)),
        TypeError,
        r"^prelu: slope is bfloat16 but x is float32",
    ),
    "negative threshold": (
        lambda: ops.soft_shrink(x, -1),
        ValueError,
        r"^soft_shrink: threshold must be at least 0, got -1",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_gets_a_sentence(bad):
    call, error, sentence = BAD[bad]
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_slopes_gradient_of_prelu_is_summed_in_float32(dtype):
    """A sum of 20,000 values in bfloat16 would stop growing at 256."""
    x = -jnp.ones((20_000, 2), dtype)
    slope = jnp.full(2, 0.25, dtype)
    gradient = jax.grad(lambda slope: jnp.sum(ops.prelu(x, slope), dtype=jnp.float32))(slope)
    assert_close(gradient, np.full(2, -20_000.0), terms=20_000)
