from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxnn.ops import activation
from tests.reference import activation as reference
from tests.support import assert_close, deep, known_answers, rng_array

INF, NAN = float("inf"), float("nan")

ELEMENTWISE = {name: getattr(activation, name, None) for name in reference.SCALAR} | {
    "gelu_exact": partial(activation.gelu, approximate=False),
    "threshold": partial(activation.threshold, threshold=0.5, value=-2.0),
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


def derivative(function):
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
    assert getattr(activation, name) is getattr(jax.nn, name)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["gelu", "gelu_exact", "silu", "mish", "hard_silu", "soft_sign"])
def test_what_replaces_a_function_of_jax_has_its_values(name, dtype, x64):
    theirs = partial(jax.nn.gelu, approximate=False) if name == "gelu_exact" else getattr(jax.nn, name)
    x = jnp.concatenate([jnp.linspace(-80, 80, 1601), jnp.linspace(-2000, 2000, 101)]).astype(dtype)
    ours = ELEMENTWISE[name](x)
    assert ours.dtype == x.dtype
    # JAX's are right to a rounding of x; that the tails are better here is tested in test_edges.
    wide = np.asarray(x, np.float64)
    expected = np.asarray(theirs(wide))
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
        x = sign * jnp.array([100, 200, 300, 1e4, large, INF], dtype)
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
    assert jax.grad(activation.elu)(200.0) == 1


def test_gelu_is_the_tanh_approximation_unless_asked():
    x = jnp.array([1.0])
    assert_close(activation.gelu(x), np.array([0.841192]))
    assert_close(activation.gelu(x, approximate=False), np.array([0.841345]))


def test_leaky_relu_has_a_slope_of_a_hundredth():
    assert activation.leaky_relu(jnp.array([-1.0]))[0] == jnp.float32(-0.01)


@pytest.mark.parametrize(
    "name", sorted(ELEMENTWISE.keys() - {"linear"} - set(dir(jax.nn)) | {"gelu", "silu"})
)
def test_our_own_refuse_integers(name):
    op = name.removesuffix("_exact")
    with pytest.raises(TypeError, match=rf"^{op}: x must be floating-point, got int32; cast it first"):
        ELEMENTWISE[name](jnp.arange(3))


# Those of several values.

rows = st.integers(0, 10_000).map(lambda seed: rng_array(3, 5, seed=seed, dtype=np.float64))


@pytest.mark.usefixtures("x64")
@given(x=rows, scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_sparsemax_is_the_nearest_probability_vector(x, scale):
    y = activation.sparsemax(scale * x)
    assert_close(y, np.apply_along_axis(reference.sparsemax, 1, scale * x))
    assert_close(y.sum(1), np.ones(3))


@jax.jit
def sparsemax_jacobians(row):
    return jax.jacrev(activation.sparsemax)(row), jax.jacfwd(activation.sparsemax)(row)


@pytest.mark.usefixtures("x64")
@given(x=rows)
def test_derivative_of_sparsemax_is_that_of_the_paper(x):
    row = x[0]
    tau = (row - reference.sparsemax(row)).max()
    assume(np.abs(row - tau).min() > 1e-6)
    jacobian = reference.sparsemax_jacobian(row)
    assert_close(sparsemax_jacobians(row), (jacobian, jacobian))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sparsemax_along_any_axis(axis):
    x = rng_array(3, 4, 5)
    y = jax.jit(activation.sparsemax, static_argnums=1)(x, axis)
    moved = jax.jit(activation.sparsemax)(np.moveaxis(x, axis, -1))
    assert_close(y, np.moveaxis(moved, -1, axis))


def test_sparsemax_of_ties_of_large_and_of_infinite_logits():
    sparsemax = jax.jit(activation.sparsemax)
    assert_close(sparsemax(jnp.zeros(4)), np.full(4, 0.25, np.float32))
    x = jnp.array([1e30, 1e30, -1e30, -INF])
    assert_close(sparsemax(x), np.array([0.5, 0.5, 0, 0], np.float32))
    assert np.isfinite(jax.jit(jax.jacrev(sparsemax))(x)).all()
    assert np.isnan(sparsemax(jnp.array([0.0, NAN]))).all()


@given(x=rows, masked=st.integers(0, 2**15 - 1))
def test_softmax_and_log_softmax_with_a_mask(x, masked):
    where = np.array([masked >> i & 1 == 1 for i in range(15)]).reshape(3, 5)
    x = x.astype(np.float32)
    y = activation.softmax(x, where=where)
    expected = np.stack([reference.softmax(*row) for row in zip(x, where, strict=True)])
    assert_close(y, expected, dtype=np.float32)
    logs = activation.log_softmax(x, where=where)
    assert (np.asarray(logs)[~where] == -INF).all()
    assert_close(np.exp(logs), y)

    def total(function, x):
        return jnp.sum(
            jnp.where(where, function(x, where=where), 0) * jnp.sin(jnp.arange(15.0)).reshape(3, 5)
        )

    for function in (activation.softmax, activation.log_softmax):
        gradient = np.asarray(jax.grad(partial(total, function))(x))
        assert np.isfinite(gradient).all()
        assert (gradient[~where] == 0).all()


def test_a_row_that_is_masked_all_over_gives_zeros_with_a_zero_gradient():
    x, where = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[False, False], [True, True]])
    y, pull = jax.vjp(lambda x: activation.softmax(x, where=where), x)
    assert np.array_equal(y[0], [0, 0])
    assert np.array_equal(pull(jnp.ones_like(y))[0][0], [0, 0])
    assert np.array_equal(activation.log_softmax(x, where=where)[0], [-INF, -INF])
    assert np.array_equal(activation.softmin(x, where=where)[0], [0, 0])


def test_what_is_masked_may_be_anything():
    x = jnp.array([1.0, NAN, 2.0, INF])
    where = jnp.array([True, False, True, False])
    y = activation.softmax(x, where=where)
    assert_close(y, reference.softmax(np.array([1.0, 0, 2, 0]), np.asarray(where)), dtype=np.float32)


@pytest.mark.parametrize("op", [activation.softmax, activation.log_softmax, activation.softmin])
def test_logits_of_1e4_do_not_overflow(op):
    x = jnp.array([1e4, -1e4, 0.0])
    y, pull = jax.vjp(op, x)
    assert np.isfinite(y).all()
    assert np.isfinite(pull(jnp.ones_like(y))[0]).all()


@pytest.mark.parametrize("shape", [(4096, 3), (7, 600, 5), (4095, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_softmax_of_many_rows_is_that_of_jax(shape, dtype):
    x, cotangent = (jnp.asarray(k * rng_array(*shape, seed=k), dtype) for k in (5, 1))
    y, pull = jax.vjp(activation.softmax, x)
    theirs, their_pull = jax.vjp(jax.nn.softmax, x)
    assert y.dtype == x.dtype
    assert_close((y, *pull(cotangent)), (theirs, *their_pull(cotangent)), terms=shape[-1])
    slope = jax.jvp(activation.softmax, (x,), (cotangent,))[1]
    assert_close(slope, pull(cotangent)[0], terms=shape[-1])


def test_softmin_is_softmax_of_the_negative():
    x = rng_array(3, 5)
    assert_close(activation.softmin(x, 0), activation.softmax(-x, 0))
    assert_close(activation.softmin(x, (0, 1)).sum(), np.float32(1))


@given(x=rows, pieces=st.sampled_from([1, 2, 3, 6]))
def test_maxout_takes_neighbours(x, pieces):
    x = np.concatenate([x, x[:, ::-1] + 1, x[:, :2]], 1).astype(np.float32)
    assert_close(activation.maxout(x, pieces), reference.maxout(x, pieces).astype(np.float32))
    assert_close(activation.maxout(x.T, pieces, axis=0), activation.maxout(x, pieces).T)


@pytest.mark.parametrize("pieces", [2, 3, 4, 6])
def test_maxout_shares_its_derivative_among_ties(pieces):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (50, 12)), jnp.float32)
    groups = np.asarray(x).reshape(50, -1, pieces)
    taken = groups == groups.max(-1, keepdims=True)
    cotangent = rng_array(*groups.shape[:2])
    exact = (cotangent[..., None] * taken / taken.sum(-1, keepdims=True)).reshape(x.shape)
    (found,) = jax.vjp(lambda x: activation.maxout(x, pieces), x)[1](cotangent)
    assert_close(found, exact.astype(np.float32))


@given(x=rows, shared=st.booleans())
def test_prelu(x, shared):
    x = x.astype(np.float32)
    slope = np.array([0.25, -1, 0, 2, 0.5], np.float32)
    if shared:
        slope = np.full(5, 0.25, np.float32)
    y = activation.prelu(x, slope[0] if shared else slope)
    assert_close(y, reference.prelu(x, slope).astype(np.float32))


def test_prelu_at_0_and_at_infinity():
    slope, x = jnp.full(4, 0.25), jnp.array([0.0, -INF, INF, -1e30])
    by_x, by_slope = jax.grad(lambda *a: jnp.sum(activation.prelu(*a)), argnums=(0, 1))(x, slope)
    assert np.array_equal(by_x, [1, 0.25, 1, 0.25])
    assert np.array_equal(by_slope, np.array([0, -INF, 0, -1e30], np.float32))


# What torch gives.


@pytest.mark.parametrize("name", sorted(ELEMENTWISE.keys() - {"linear", "step"}))
def test_values_and_derivatives_are_those_of_torch(name):
    answers = known_answers("activation")
    x = answers["x"]
    assert_close(jax.jit(ELEMENTWISE[name])(x), answers[f"{name}/y"])
    assert_close(derivative(ELEMENTWISE[name])(x), answers[f"{name}/grad"])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "glu"])
def test_functions_of_rows_are_those_of_torch(name):
    answers = known_answers("activation")
    y, pull = jax.vjp(getattr(activation, name), jnp.asarray(answers["rows"]))
    probe = jnp.sin(jnp.arange(1.0, y.size + 1)).reshape(y.shape)
    assert_close((y, pull(probe)[0]), (answers[f"{name}/y"], answers[f"{name}/grad"]))


def test_prelu_is_that_of_torch():
    answers = known_answers("activation")
    x, slope = (jnp.asarray(answers[f"prelu/{name}"]) for name in ("x", "slope"))
    y, pull = jax.vjp(activation.prelu, x, slope)
    assert_close(y, answers["prelu/y"])
    gradients = pull(jnp.sin(jnp.arange(1.0, y.size + 1)).reshape(y.shape))
    assert_close(gradients, (answers["prelu/grad"], answers["prelu/grad/slope"]))


# Bad input.

x = jnp.ones((2, 6))
BAD = {
    "pieces that do not divide": (
        lambda: activation.maxout(x, 4),
        ValueError,
        r"^maxout: pieces must be at least 1 and divide the channels, got 4 for 6 channels",
    ),
    "no pieces": (lambda: activation.maxout(x, 0), ValueError, r"^maxout: pieces must be at least 1, got 0"),
    "axis": (
        lambda: activation.sparsemax(x, 2),
        ValueError,
        r"^sparsemax: axis must be one of the axes of x \(2, 6\), got 2",
    ),
    "slope of another shape": (
        lambda: activation.prelu(x, jnp.ones(5)),
        ValueError,
        r"^prelu: slope must be one value, shape \(\), or one a channel, shape \(6,\), got shape \(5,\)",
    ),
    "slope of another dtype": (
        lambda: activation.prelu(x, jnp.ones(6, jnp.bfloat16)),
        TypeError,
        r"^prelu: slope is bfloat16 but x is float32",
    ),
    "negative threshold": (
        lambda: activation.soft_shrink(x, -1),
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
    gradient = jax.grad(lambda slope: jnp.sum(activation.prelu(x, slope), dtype=jnp.float32))(slope)
    assert_close(gradient, np.full(2, -20_000.0), terms=20_000)
