import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxnn.kernels.explain import explain
from jaxnn.ops.adaptive_pool import adaptive_avg_pool, adaptive_max_pool
from jaxnn.ops.lp_pool import lp_pool
from jaxnn.ops.pool import avg_pool, max_pool, min_pool
from jaxnn.ops.unpool import max_pool_with_indices, max_unpool
from tests.ops.pool_settings import drawn, tied, value_and_gradient
from tests.reference import pool as reference
from tests.support import assert_close, known_answers, on_cpu, rng_array

#: The forms of an extreme, and None for the one that is chosen.
EXTREMES = [None, "slices", "unfolded", "lax"]
POOLS = [max_pool, min_pool, avg_pool]
every_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.__name__)


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(1, -1, 1)


def flat(y):
    return np.asarray(y).ravel().tolist()


# Values and gradients


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("pool", [max_pool, min_pool], ids=lambda pool: pool.__name__)
@given(drawn(), st.sampled_from(EXTREMES))
def test_max_and_min_pool_equal_the_reference(pool, setting, form):
    space, settings, windows = setting
    assume(form != "lax" or set(settings["dilation"]) == {1})
    x = tied(2, *space, 2)
    y, cotangent, dx = value_and_gradient(lambda x: pool(x, **settings, implementation=form), x)
    expected, _, gradient = getattr(reference, pool.__name__)(x, windows, cotangent)
    assert_close((y, dx), (expected, gradient))


@pytest.mark.usefixtures("x64")
@given(drawn(), st.booleans(), st.sampled_from([None, "by_axis", "lax"]))
def test_avg_pool_equals_the_reference(setting, count_include_pad, form):
    space, settings, windows = setting
    x = rng_array(2, *space, 2, dtype=np.float64)
    settings |= {"count_include_pad": count_include_pad, "implementation": form}
    y, cotangent, dx = value_and_gradient(lambda x: avg_pool(x, **settings), x)
    assert_close((y, dx), reference.avg_pool(x, windows, cotangent, count_include_pad))


def unpooled(x, window, strides, output_size):
    return max_unpool(*max_pool_with_indices(x, window, strides=strides), output_size)


BY_NAME = {
    "max_pool": max_pool_with_indices,
    "min_pool": min_pool,
    "avg_pool": avg_pool,
    "lp_pool": lp_pool,
    "adaptive_avg_pool": adaptive_avg_pool,
    "adaptive_max_pool": adaptive_max_pool,
    "max_unpool": unpooled,
}


def answers_of(name):
    """(settings, x, y, its gradient, indices) of each case of one op: see make_pool.py."""
    answers = known_answers("pool")
    at = {"y": 0, "dx": 0, "indices": 0}

    def following(key, shape):
        start = at[key]
        at[key] += int(np.prod(shape))
        return answers[key][start : at[key]].reshape(shape)

    for case in map(json.loads, answers["settings"]):
        x = answers[f"x{case['rank']}"]
        y, dx = following("y", case["shape"]), following("dx", x.shape)
        indices = following("indices", case["shape"]) if case["indices"] else None
        if case["op"] == name:
            yield case["options"], x, y, dx, indices


@pytest.mark.parametrize("name", BY_NAME)
def test_pytorch_agrees(name):
    for options, x, y, dx, indices in answers_of(name):
        cotangent = np.cos(np.arange(y.size)).astype(np.float32).reshape(y.shape)

        @jax.jit
        def both(x, cotangent):
            op = BY_NAME[name]
            if op is not max_pool_with_indices:
                out, pull = jax.vjp(lambda x: op(x, **options), x)  # noqa: B023
                return out, pull(cotangent)[0], None
            out, pull, places = jax.vjp(lambda x: op(x, **options), x, has_aux=True)  # noqa: B023
            return out, pull(cotangent)[0], places

        assert_close(both(x, cotangent), (y, dx, indices if name == "max_pool" else None))


def test_windows_of_hundreds_of_values():
    x = rng_array(2, 400, 3)
    for strides in (1, 7, 300):
        y = max_pool(x, 300, strides=strides, padding=20)
        assert_close(
            y, max_pool(np.pad(x, ((0, 0), (20, 20), (0, 0)), constant_values=-np.inf), 300, strides=strides)
        )
        starts = range(0, 101, strides)
        assert_close(
            avg_pool(x, 300, strides=strides), np.stack([x[:, i : i + 300].mean(1) for i in starts], 1)
        )
        assert_close(
            max_pool(x, 300, strides=strides), np.stack([x[:, i : i + 300].max(1) for i in starts], 1)
        )


# Conventions


@every_pool
def test_strides_default_to_the_window(pool):
    x = rng_array(1, 7, 9, 2)
    assert pool(x, (2, 3)).shape == (1, 3, 3, 2)
    assert_close(pool(x, (2, 3)), pool(x, (2, 3), strides=(2, 3)))


@every_pool
def test_nothing_is_padded_unless_asked(pool):
    x = rng_array(1, 7, 2)
    assert_close(pool(x, 3), pool(x, 3, padding=0))


def test_average_leaves_padding_out_of_the_count():
    x = line(3, 1, 4, 1, 5)
    assert flat(avg_pool(x, 2, padding=1)) == [3, 2.5, 3]
    assert flat(avg_pool(x, 2, padding=1, count_include_pad=True)) == [1.5, 2.5, 3]


@pytest.mark.parametrize("form", [None, "blocks", "lax"])
def test_padded_windows_that_have_as_many_values_as_the_input_do_not_tile_it(form):
    """Three windows of three values, shifted by one, on nine."""
    x = line(*range(1, 10))
    assert flat(avg_pool(x, 3, padding=1, count_include_pad=True, implementation=form)) == [1, 4, 7]
    dx = jax.grad(lambda x: avg_pool(x, 3, padding=1, implementation=form)[0, 0, 0])(x)
    assert flat(dx) == [0.5, 0.5, 0, 0, 0, 0, 0, 0, 0]
    assert flat(lp_pool(x, 3, padding=1, p=1)) == [3, 12, 21]
    assert flat(max_pool(x, 3, padding=1)) == [2, 5, 8]


@pytest.mark.parametrize("form", ["blocks", "by_axis", "lax"])
def test_what_windows_leave_over_has_no_gradient(form):
    x = line(*range(1, 9))
    assert flat(avg_pool(x, 3, implementation=form)) == [2, 5]
    dx = jax.grad(lambda x: 3 * avg_pool(x, 3, implementation=form).sum())(x)
    assert flat(dx) == [1, 1, 1, 1, 1, 1, 0, 0]


def test_windows_of_several_values_that_overlap_are_not_blocks():
    with pytest.raises(ValueError, match="blocks"):
        avg_pool(line(1, 2, 3), 2, strides=1, implementation="blocks")


def test_average_never_counts_the_overhang_of_ceil_mode():
    x = line(2, 4, 6)
    assert flat(avg_pool(x, 2, ceil_mode=True)) == [3, 6]
    assert flat(avg_pool(x, 2, ceil_mode=True, count_include_pad=True)) == [3, 6]
    assert flat(avg_pool(x, 3, strides=2, padding=((0, 1),), ceil_mode=True, count_include_pad=True)) == [
        4,
        3,
    ]


@every_pool
def test_ceil_mode_drops_a_window_that_starts_in_the_high_padding(pool):
    x = line(1, 2, 3, 4)
    assert pool(x, 2, padding=1, ceil_mode=True).shape == (1, 3, 1)
    assert pool(x, 2, strides=3, padding=1, ceil_mode=True).shape == (1, 2, 1)
    assert pool(x, 3, strides=3, ceil_mode=True).shape == (1, 2, 1)
    assert pool(x[:, :3], 2, strides=3, padding=1, ceil_mode=True).shape == (1, 2, 1)


@pytest.mark.parametrize("pool", [max_pool, min_pool])
def test_ties_give_their_gradient_to_the_first_in_row_major_order(pool):
    x = np.zeros((1, 2, 3, 1), np.float32)
    dx = jax.grad(lambda x: pool(x, (2, 2), strides=1).sum())(x)
    assert flat(dx) == [1, 1, 0, 0, 0, 0]
    later_row = np.array([[0, 1, 0], [1, 1, 1]], np.float32).reshape(1, 2, 3, 1)
    dx = jax.grad(lambda x: max_pool(x, (2, 3)).sum())(later_row)
    assert flat(dx) == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.uint32])
@pytest.mark.parametrize("form", EXTREMES)
def test_integers_keep_their_dtype_and_padding_never_wins(dtype, form):
    info = np.iinfo(dtype)
    for pool, value in ((max_pool, info.min), (min_pool, info.max)):
        y = pool(line(value, value, value, dtype=dtype), 3, strides=1, padding=1, implementation=form)
        assert y.dtype == dtype
        assert flat(y) == [value] * 3


@pytest.mark.parametrize("form", EXTREMES)
def test_booleans_are_any_and_all(form):
    x = line(False, True, True, False, False, False, dtype=bool)
    assert flat(max_pool(x, 2, implementation=form)) == [True, True, False]
    assert flat(min_pool(x, 2, implementation=form)) == [False, False, False]
    padded = {"padding": 1, "strides": 1, "implementation": form}
    assert flat(min_pool(x, 3, **padded)) == [False, False, False, False, False, False]
    assert flat(min_pool(x[:, 1:3], 3, **padded)) == [True, True]


@pytest.mark.parametrize(
    ("pool", "form"),
    [(pool, form) for pool in (max_pool, min_pool) for form in EXTREMES]
    + [(avg_pool, form) for form in (None, "blocks", "by_axis", "lax")],
)
def test_nan_propagates_to_its_own_windows_only(pool, form):
    y = pool(line(1, np.nan, 3, 4, 5, 6), 2, implementation=form)
    assert np.isnan(flat(y)).tolist() == [True, False, False]


@pytest.mark.parametrize("pool", [max_pool, min_pool])
@pytest.mark.parametrize("form", ["slices", "unfolded"])
def test_the_first_nan_gets_the_gradient(pool, form):
    dx = jax.grad(lambda x: pool(x, 4, implementation=form).sum())(line(7, np.nan, np.nan, -7))
    assert flat(dx) == [0, 1, 0, 0]


@pytest.mark.parametrize("form", ["slices", "unfolded"])
def test_windows_of_infinities_keep_their_gradient_out_of_the_padding(form):
    x = line(-np.inf, -np.inf, -np.inf)
    y, pull = jax.vjp(lambda x: max_pool(x, 3, strides=1, padding=1, implementation=form), x)
    assert flat(y) == [-np.inf] * 3
    assert flat(pull(jnp.ones_like(y))[0]) == [2, 1, 0]


def test_half_precision_average_of_many_values():
    x = np.full((1, 300, 300, 1), 7.5, np.float16)
    y = avg_pool(x, 300)
    assert y.dtype == np.float16
    assert flat(y) == [7.5]
    assert flat(avg_pool(x[:, :30, :30] * np.float16(1000), 5)) == [7500] * 36


@every_pool
def test_same_puts_the_odd_padding_on_the_high_side(pool):
    x = line(5, 1, 2, 9)
    high = pool(x, 2, strides=1, padding=((0, 1),))
    low = pool(x, 2, strides=1, padding=((1, 0),))
    assert_close(pool(x, 2, strides=1, padding="SAME"), high)
    assert_close(pool(x, 2, strides=1, padding="SAME_LOWER"), low)
    assert pool(rng_array(1, 7, 5, 1), 3, strides=2, padding="SAME").shape == (1, 4, 3, 1)


def test_gradients_flow_past_integer_pools():
    def loss(w):
        return (w * max_pool((w * 3).astype(jnp.int32), 2).astype(jnp.float32).sum()).sum()

    assert np.isfinite(jax.grad(loss)(jnp.ones((1, 4, 1)))).all()


def test_forward_mode_is_linear_and_hessians_of_a_composition_are_right(x64):
    x, v = tied(1, 6, 5, 1), rng_array(1, 6, 5, 1, dtype=np.float64)

    def loss(x):
        return (max_pool(x, 3, strides=2, padding=1) ** 3).sum()

    @jax.jit
    def hessian_both_ways(x, v):
        one_way = jax.jvp(jax.grad(loss), (x,), (v,))[1]
        return one_way, jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x)

    @jax.jit
    def tangent(x, v):
        return jax.jvp(lambda x: max_pool(x, 2), (x,), (v,))[1]

    assert_close(*hessian_both_ways(x, v))
    assert_close(tangent(x, 2 * v), 2 * np.asarray(tangent(x, v)))


# Bad input

X = np.zeros((1, 5, 5, 1), np.float32)


@every_pool
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": 6}, r"the window must fit into the padded input, got a window that spans \(6, 6\)"),
        ({"window": 2, "strides": 0}, "strides must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": 2, "dilation": 0}, "dilation must be at least 1, got 0"),
        ({"window": (2, 2, 2)}, r"window must be one integer or 2 \(one per spatial axis\), got \(2, 2, 2\)"),
        ({"window": 3, "padding": 2}, r"at most half the window's span .* which is \(1, 1\), got 2"),
        ({"window": 3, "padding": (0, 2)}, r"at most half .* got \(0, 2\)"),
        ({"window": 2, "padding": ((0, 0), (2, 0))}, r"at most half .* got \(\(0, 0\), \(2, 0\)\)"),
        ({"window": 3, "padding": -1}, "padding must be at least 0 .* got -1"),
        ({"window": 3, "padding": "same"}, "unknown padding 'same'; the names are VALID, SAME, SAME_LOWER"),
        ({"window": 3, "padding": "REFLECT"}, "pools do not take padding 'REFLECT'; the names are"),
        ({"window": 3, "padding": "CAUSAL"}, "pools do not take padding 'CAUSAL'; the names are"),
        (
            {"window": (1, 2), "strides": 1, "dilation": (1, 9), "padding": (0, 5)},
            r"every window must hold a value of the input, but with window \(1, 2\)",
        ),
    ],
)
def test_bad_settings_raise_a_sentence(pool, settings, sentence):
    with pytest.raises(ValueError, match=f"^{pool.__name__}: .*{sentence}"):
        pool(X, **settings)


@every_pool
def test_bad_input_raises_a_sentence(pool):
    name = pool.__name__
    with pytest.raises(ValueError, match=f"^{name}: x must be .* got shape \\(4, 4\\)"):
        pool(np.zeros((4, 4), np.float32), 2)
    with pytest.raises(ValueError, match=f"^{name}: x must have no spatial axis of size 0"):
        pool(np.zeros((1, 0, 1), np.float32), 1)
    with pytest.raises(TypeError, match=f"^{name}: x must be floating-point.* got complex64"):
        pool(X.astype(np.complex64), 2)
    with pytest.raises(
        TypeError, match=f"^{name}: window must be an integer or one integer per axis, got 1.5"
    ):
        pool(X, 1.5)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
def test_average_of_integers_raises(dtype):
    with pytest.raises(TypeError, match=r"avg_pool: x must be floating-point, got .*; cast it first"):
        avg_pool(X.astype(dtype), 2)


@on_cpu
@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ("unfolded", {"window": 2, "padding": 1}),
        ("unfolded", {"window": (2, 3), "padding": ((0, 0), (1, 0))}),
        ("unfolded", {"window": 3, "ceil_mode": True}),
        ("slices", {"window": 2}),
        ("slices", {"window": 4, "padding": 1}),
        ("slices", {"window": 3, "strides": 2, "padding": 1}),
        ("slices", {"window": 2, "strides": 2, "padding": 1, "dilation": 2}),
    ],
)
def test_values_of_padded_windows_side_by_side_are_unfolded(form, settings):
    def pooled(x):
        return max_pool(x, **settings)

    x = rng_array(2, 8, 8, 16)
    assert [choice.form for choice in explain(pooled, x)] == [form]
    with_derivative = explain(jax.grad(lambda x: pooled(x).sum()), x)
    assert (with_derivative[0].operation, with_derivative[0].form) == ("jaxnn_pool_firsts", "slices")
