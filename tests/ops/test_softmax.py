from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxnn import ops
from tests.reference import activation as reference
from tests.support import assert_close, known_answers, plain_jit, rng_array

INF, NAN = float("inf"), float("nan")

rows = st.integers(0, 10_000).map(lambda seed: rng_array(3, 5, seed=seed, dtype=np.float64))


@pytest.mark.usefixtures("x64")
@given(x=rows, scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_sparsemax_is_the_nearest_probability_vector(x, scale):
    y = ops.sparsemax(scale * x)
    assert_close(y, np.apply_along_axis(reference.sparsemax, 1, scale * x))
    assert_close(y.sum(1), np.ones(3))


@jax.jit
def sparsemax_jacobians(row):
    return jax.jacrev(ops.sparsemax)(row), jax.jacfwd(ops.sparsemax)(row)


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
    y = jax.jit(ops.sparsemax, static_argnums=1)(x, axis)
    moved = jax.jit(ops.sparsemax)(np.moveaxis(x, axis, -1))
    assert_close(y, np.moveaxis(moved, -1, axis))


def test_sparsemax_of_ties_of_large_and_of_infinite_logits():
    sparsemax = jax.jit(ops.sparsemax)
    assert_close(sparsemax(jnp.zeros(4)), np.full(4, 0.25, np.float32))
    x = jnp.array([1e30, 1e30, -1e30, -INF])
    assert_close(sparsemax(x), np.array([0.5, 0.5, 0, 0], np.float32))
    assert np.isfinite(jax.jit(jax.jacrev(sparsemax))(x)).all()
    assert np.isnan(sparsemax(jnp.array([0.0, NAN]))).all()


@given(x=rows, masked=st.integers(0, 2**15 - 1))
def test_softmax_and_log_softmax_with_a_mask(x, masked):
    where = np.array([masked >> i & 1 == 1 for i in range(15)]).reshape(3, 5)
    x = x.astype(np.float32)
    y = ops.softmax(x, where=where)
    expected = np.stack([reference.softmax(*row) for row in zip(x, where, strict=True)])
    assert_close(y, expected, dtype=np.float32)
    logs = ops.log_softmax(x, where=where)
    assert (np.asarray(logs)[~where] == -INF).all()
    assert_close(np.exp(logs), y)

    def total(function, x):
        return jnp.sum(
            jnp.where(where, function(x, where=where), 0) * jnp.sin(jnp.arange(15.0)).reshape(3, 5)
        )

    for function in (ops.softmax, ops.log_softmax):
        gradient = np.asarray(jax.grad(partial(total, function))(x))
        assert np.isfinite(gradient).all()
        assert (gradient[~where] == 0).all()


def test_a_row_that_is_masked_throughout_gives_zeros_with_a_zero_gradient():
    x, where = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[False, False], [True, True]])
    y, pull = jax.vjp(lambda x: ops.softmax(x, where=where), x)
    assert np.array_equal(y[0], [0, 0])
    assert np.array_equal(pull(jnp.ones_like(y))[0][0], [0, 0])
    assert np.array_equal(ops.log_softmax(x, where=where)[0], [-INF, -INF])
    assert np.array_equal(ops.softmin(x, where=where)[0], [0, 0])


def test_what_is_masked_may_be_anything():
    x = jnp.array([1.0, NAN, 2.0, INF])
    where = jnp.array([True, False, True, False])
    y = ops.softmax(x, where=where)
    assert_close(y, reference.softmax(np.array([1.0, 0, 2, 0]), np.asarray(where)), dtype=np.float32)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax, ops.softmin])
def test_logits_of_1e4_do_not_overflow(op):
    x = jnp.array([1e4, -1e4, 0.0])
    y, pull = jax.vjp(op, x)
    assert np.isfinite(y).all()
    assert np.isfinite(pull(jnp.ones_like(y))[0]).all()


@pytest.mark.parametrize("shape", [(4096, 3), (7, 600, 5), (4095, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_softmax_of_many_rows_is_that_of_jax(shape, dtype):
    x, cotangent = (jnp.asarray(k * rng_array(*shape, seed=k), dtype) for k in (5, 1))

    def run(function, x, cotangent):
        y, pull = jax.vjp(function, x)
        return y, pull(cotangent)[0], jax.jvp(function, (x,), (cotangent,))[1]

    y, gradient, slope = jax.jit(partial(run, ops.softmax))(x, cotangent)
    theirs, their_gradient, _ = plain_jit(partial(run, jax.nn.softmax))(x, cotangent)
    assert y.dtype == x.dtype
    assert_close((y, gradient), (theirs, their_gradient), terms=shape[-1])
    assert_close(slope, gradient, terms=shape[-1])


def test_softmin_is_softmax_of_the_negative():
    x = rng_array(3, 5)
    assert_close(ops.softmin(x, 0), ops.softmax(-x, 0))
    assert_close(ops.softmin(x, (0, 1)).sum(), np.float32(1))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_values_and_derivatives_are_those_of_torch(name):
    answers = known_answers("activation")
    y, pull = jax.vjp(getattr(ops, name), jnp.asarray(answers["rows"]))
    probe = jnp.sin(jnp.arange(1.0, y.size + 1)).reshape(y.shape)
    assert_close((y, pull(probe)[0]), (answers[f"{name}/y"], answers[f"{name}/grad"]))


def test_an_axis_that_is_not_there_raises():
    with pytest.raises(ValueError, match=r"^sparsemax: axis must be one of the axes of x \(2, 6\), got 2"):
        ops.sparsemax(jnp.ones((2, 6)), 2)
