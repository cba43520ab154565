"""The checker of derivatives that other tests use must detect a wrong one, in each order of the modes."""

import jax
import jax.numpy as jnp
import pytest

from tests.derivatives import check_derivatives

ARGS = (jnp.arange(1.0, 4.0), jnp.array([0.5, -1.0, 2.0]))


def right(x, y):
    return jnp.sin(x) * y, (x * y).sum()


@pytest.fixture
def args(x64):
    return [jnp.asarray(a, jnp.float64) for a in ARGS]


def test_right_derivatives_pass(args):
    check_derivatives(right, args)
    check_derivatives(jax.jit(right), args, order=1, forward_mode=False)


def test_a_wrong_slope(args):
    @jax.custom_jvp
    def wrong(x):
        return x**3

    wrong.defjvp(lambda primals, tangents: (wrong(*primals), 3.01 * primals[0] ** 2 * tangents[0]))
    for order, forward_mode in ((1, False), (1, True), (2, True)):
        with pytest.raises(AssertionError, match="derivative in reverse mode"):
            check_derivatives(wrong, args[:1], order=order, forward_mode=forward_mode)


@pytest.mark.parametrize("forward_mode", [False, True])
def test_a_wrong_curvature(args, forward_mode):
    @jax.custom_jvp
    def slope(x):
        return 3 * x**2

    @jax.custom_jvp
    def cube(x):
        return x**3

    slope.defjvp(lambda primals, tangents: (slope(*primals), 6.01 * primals[0] * tangents[0]))
    cube.defjvp(lambda primals, tangents: (cube(*primals), slope(*primals) * tangents[0]))
    check_derivatives(cube, args[:1], order=1)
    with pytest.raises(AssertionError, match=r"derivative in .* over reverse mode"):
        check_derivatives(cube, args[:1], forward_mode=forward_mode)


def test_a_wrong_forward_mode(args):
    def wrong_forwards(t):
        """t, whose transpose is right."""
        return jax.lax.custom_linear_solve(lambda v: v, t, lambda _, v: 2 * v, lambda _, v: v)

    @jax.custom_jvp
    def f(x):
        return x**2

    f.defjvp(lambda primals, tangents: (f(*primals), 2 * primals[0] * wrong_forwards(tangents[0])))
    with pytest.raises(AssertionError, match="derivative in forward mode"):
        check_derivatives(f, args[:1], order=1)
