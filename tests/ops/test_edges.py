"""Values and derivatives over the whole range of floats, against float64; limits from both sides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, ndtr

import jaxnn as nn
from tests.support import deep, rng_array

#: Formulas that overflow in float64 are never asked beyond this.
LARGEST = 1e30


def _twice_u(x):
    return np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)


def _bell(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _gelu_slope(x):
    by_x = np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * x * x)
    return expit(_twice_u(x)) * (1 + x * expit(-_twice_u(x)) * by_x)


def _log1pexp(x):
    return np.logaddexp(0, x)


def _mish_slope(x):
    return np.tanh(_log1pexp(x)) + x * expit(x) / np.cosh(np.minimum(_log1pexp(x), 300)) ** 2


#: Value and derivative, wherever the latter is not about to cross 0.
EXACT = {
    "gelu": (nn.gelu, lambda x: x * expit(_twice_u(x)), _gelu_slope),
    "gelu-exact": (
        lambda x: nn.ops.gelu(x, approximate=False),
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * _bell(x),
    ),
    "silu": (nn.silu, lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "mish": (nn.mish, lambda x: x * np.tanh(_log1pexp(x)), _mish_slope),
    "soft_sign": (nn.soft_sign, lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2),
    "arctan": (nn.arctan, np.arctan, lambda x: 1 / (1 + x * x)),
    "tanh_shrink": (nn.tanh_shrink, None, lambda x: np.tanh(x) ** 2),
    "softplus": (nn.softplus, _log1pexp, expit),
    "log_sigmoid": (nn.log_sigmoid, lambda x: -_log1pexp(-x), lambda x: expit(-x)),
    "sigmoid": (nn.sigmoid, expit, None),
    "tanh": (nn.tanh, np.tanh, None),
    "elu": (nn.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), None),
}
#: Of what jax.nn has, right to a rounding of 1, and so is a difference to a rounding of x.
ROUGH = {
    "tanh_shrink": (nn.tanh_shrink, lambda x: x - np.tanh(x), None),
    "sigmoid": (nn.sigmoid, None, lambda x: expit(x) * expit(-x)),
    "tanh": (nn.tanh, None, lambda x: np.cosh(np.clip(x, -300, 300)) ** -2),
    "elu": (nn.elu, None, lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0)))),
}


def everywhere(dtype):
    """Both signs, from the smallest normal number to the largest, and evenly around 0."""
    info = jnp.finfo(dtype)
    low, high = np.log2(float(info.tiny)), np.log2(min(float(info.max), LARGEST))
    sizes = np.concatenate([2.0 ** np.arange(low, high, 0.25), np.linspace(0, 100, 2001)[1:]])
    return jnp.asarray(np.concatenate([-sizes, sizes]), dtype)


def value_and_slope(function, x):
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(function)))(x)
    return np.asarray(value, np.float64), np.asarray(slope, np.float64)


@pytest.mark.parametrize("dtype", ["float16", deep("bfloat16"), "float32"])
@pytest.mark.parametrize("name", EXACT)
def test_an_activation_is_exact_everywhere(name, dtype):
    """To the roundings that the argument of an exponential takes part in, down to the normal numbers."""
    function, value, slope = EXACT[name]
    x = everywhere(dtype)
    wide, info = np.asarray(x, np.float64), jnp.finfo(dtype)
    # exp(z) of a rounded z is off by z roundings, and of squares of x by twice as many.
    rounding = float(info.eps) * 200
    # Below this a factor of the value, though not the value, is not a normal number.
    tiny = float(info.tiny) * (2000 if dtype != "float16" or name in ("sigmoid", "softplus", "elu") else 10)
    for got, formula in zip(value_and_slope(function, x), (value, slope), strict=True):
        if formula is None:
            continue
        with np.errstate(all="ignore"):
            expected = formula(wide)
        # gelu, silu and mish: their slope crosses 0 between -2 and -0.5.
        near_zero = (formula is slope) & (wide < -0.5) & (wide > -2)
        normal = (abs(expected) > tiny) & ~near_zero
        np.testing.assert_allclose(got[normal], expected[normal], rtol=min(rounding, 0.3))
        np.testing.assert_allclose(got, expected, rtol=0.3, atol=max(tiny, float(info.eps) * near_zero.max()))


@pytest.mark.parametrize("dtype", ["float16", deep("bfloat16"), deep("float32")])
@pytest.mark.parametrize("name", ROUGH)
def test_the_limits_that_are_documented(name, dtype):
    function, value, slope = ROUGH[name]
    x = everywhere(dtype)
    wide, eps = np.asarray(x, np.float64), float(jnp.finfo(dtype).eps)
    for got, formula, size in zip(
        value_and_slope(function, x), (value, slope), (np.abs(wide), 1.0), strict=True
    ):
        if formula is not None:
            assert (np.abs(got - formula(wide)) <= 4 * eps * np.minimum(size, 1e30)).all()


SPECIAL = ["relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hard_silu"]
SPECIAL += ["soft_sign", "sigmoid", "tanh", "softplus", "log_sigmoid", "hard_tanh", "hard_sigmoid", "arctan"]
SPECIAL += ["tanh_shrink", "hard_shrink", "soft_shrink", "step", "linear"]


@pytest.mark.parametrize("name", SPECIAL)
def test_zeros_infinities_and_nan(name):
    """Finite derivatives at 0 of either sign and at infinity; a NaN stays one."""
    function = getattr(nn.ops, name)
    x = jnp.asarray([-np.inf, -0.0, 0.0, np.inf, np.nan])
    value, slope = value_and_slope(function, x)
    assert not np.isnan(value[:4]).any()
    assert np.isfinite(slope[:4]).all()
    assert np.isnan(value[4])
    assert value[1] == value[2]


LARGE = {
    "one far below": lambda largest: [0.5, -largest, 1.0, -1.0],
    "all but one far below": lambda largest: [0.5, -largest, -largest, -largest],
    "all far below": lambda largest: [-largest] * 4,
    "from end to end": lambda largest: [largest, -largest, 0.0, 1.0],
    "masked": lambda largest: [0.5, -np.inf, 1.0, -np.inf],
}


@pytest.mark.parametrize("dtype", ["float16", deep("bfloat16"), deep("float32")])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "sparsemax"])
def test_softmax_of_large_entries(name, dtype):
    """Finite first and second derivatives, and the right first ones, in few rows and in many."""
    function = getattr(nn.ops, name)
    rows = [make(float(jnp.finfo(dtype).max)) for kind, make in LARGE.items() if kind != "masked"]
    if name in ("softmax", "log_softmax"):
        rows.append(LARGE["masked"](0))
    ct = jnp.asarray([0.5, -1.0, 2.0, 0.25], dtype)

    def first(x):
        return jax.vjp(function, x)[1](jnp.broadcast_to(ct, x.shape))[0]

    for repeats in (1, 4096):
        x = jnp.tile(jnp.asarray(rows, dtype), (repeats, 1))
        slope, second = jax.jit(lambda x: jax.jvp(first, (x,), (jnp.ones_like(x),)))(x)
        assert jnp.isfinite(slope).all()
        assert jnp.isfinite(second).all()
        if name != "sparsemax":
            sign = -1.0 if name == "softmin" else 1.0
            z = sign * np.asarray(x[: len(rows)], np.float64)
            p = np.exp(z - z.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            g = np.asarray(ct, np.float64)
            exact = (
                g - p * g.sum() if name == "log_softmax" else sign * p * (g - (p * g).sum(-1, keepdims=True))
            )
            np.testing.assert_allclose(
                np.asarray(slope[: len(rows)], np.float64), exact, atol=10 * float(jnp.finfo(dtype).eps)
            )


NORMS = {
    "batch": (lambda x, e: nn.ops.batch_norm_train(x, epsilon=e)[0], (0, 1)),
    "layer": (lambda x, e: nn.ops.layer_norm(x, epsilon=e), (2,)),
    "rms": (lambda x, e: nn.ops.rms_norm(x, epsilon=e), (2,)),
    "group": (lambda x, e: nn.ops.group_norm(x, 1, epsilon=e), (1, 2)),
    "instance": (lambda x, e: nn.ops.instance_norm(x, epsilon=e), (1,)),
}
SMALLEST = float(np.finfo(np.float32).tiny)


@pytest.mark.parametrize("name", NORMS)
def test_norms_at_every_scale(name):
    """Values and gradients from deviations of 1e-30 to 1e17; from 1e20 on squares overflow and y is 0."""
    norm, axes = NORMS[name]
    x, ct = rng_array(3, 5, 8), rng_array(3, 5, 8, seed=1)

    @jax.jit
    def both(x):
        y, pull = jax.vjp(lambda x: norm(x, 1e-5), x)
        return y, pull(jnp.asarray(ct))[0]

    for scale in 10.0 ** np.arange(-30, 18, 4):
        wide = x.astype(np.float64) * scale
        y, slope = both(jnp.asarray(wide, jnp.float32))
        rests = wide if name == "rms" else wide - wide.mean(axes, keepdims=True)
        deviation = np.sqrt((rests**2).mean(axes, keepdims=True) + 1e-5)
        exact = rests / deviation
        np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-5 * abs(exact).max())
        g = ct - (0 if name == "rms" else ct.mean(axes, keepdims=True))
        g = (g - exact * (ct * exact).mean(axes, keepdims=True)) / deviation
        np.testing.assert_allclose(slope, g, rtol=1e-3, atol=1e-4 * abs(g).max())
    y, slope = both(jnp.asarray(x * 1e20, jnp.float32))
    assert (y == 0).all()
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("name", NORMS)
def test_the_smallest_epsilon(name):
    """Zeros and tiny values have finite outputs and gradients with the smallest normal ε; less is refused."""
    norm, _ = NORMS[name]
    for scale in (0.0, 1e-38, 1e-20, 1.0):
        x = jnp.asarray(rng_array(3, 5, 8) * scale)
        y, slope = jax.jit(jax.value_and_grad(lambda x: jnp.sum(norm(x, SMALLEST))))(x)
        assert jnp.isfinite(y).all()
        assert jnp.isfinite(slope).all()
    with pytest.raises(ValueError, match=r"_norm: epsilon must be at least 1\.175e-38, the smallest normal"):
        norm(jnp.ones((3, 5, 8)), 1e-38)


@pytest.mark.parametrize("scale", [1e-34, 1e-20, 1.0, 1e20, 1e37])
def test_feature_statistics_at_every_scale(scale):
    x = rng_array(50, 3).astype(np.float64)
    mean, deviation = nn.ops.feature_statistics(jnp.asarray(x * scale, jnp.float32))
    np.testing.assert_allclose(np.asarray(mean, np.float64) / scale, x.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(deviation, np.float64) / scale, x.std(0), rtol=1e-4)


@pytest.mark.parametrize("p", [1, 1.5, 2, 7, 100, 1e6])
def test_lp_pool_at_every_scale(p):
    """The norm of a window scales with it, and its derivative does not change."""
    x = jnp.asarray([[[0.5], [-0.25], [1.0], [0.75]]])

    @jax.jit
    def both(x):
        return jax.value_and_grad(lambda x: nn.ops.lp_pool(x, 4, p=p)[0, 0, 0])(x)

    value, slope = both(x)
    exact = (np.abs(np.asarray(x, np.float64)) ** p).sum() ** (1 / p)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        scaled, same = both(x * scale)
        np.testing.assert_allclose(np.asarray(scaled, np.float64) / scale, exact, rtol=1e-5)
        np.testing.assert_allclose(same, slope, rtol=1e-4, atol=1e-6)
