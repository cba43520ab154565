import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from jax import lax

from jaxnn.ops.conv import conv
from tests.ops.conv_settings import Drawn, drawn
from tests.reference import conv as reference
from tests.support import assert_close, assert_known_answers, known_answers, on_cpu, rng_array


def arrays(case: Drawn, dtype=np.float64):
    x, kernel = rng_array(*case.x, dtype=dtype), rng_array(*case.kernel, seed=1, dtype=dtype)
    return x, kernel, rng_array(case.kernel[-1], seed=2, dtype=dtype)


def is_empty(case: Drawn) -> bool:
    spans = reference.span(case.kernel[:-2], case.dilation)
    pairs = reference.pads(case.padding, case.x[1:-1], spans, case.strides)
    return any(n + sum(p) < k for n, k, p in zip(case.x[1:-1], spans, pairs, strict=True))


def check_against_reference(case: Drawn) -> None:
    x, kernel, bias = arrays(case)
    expected = reference.conv(x, kernel, bias, **case.settings)
    cotangent = rng_array(*expected.shape, seed=3, dtype=np.float64)

    @jax.jit
    def both(*args):
        y, vjp = jax.vjp(lambda *a: conv(*a, **case.settings), *args)
        return y, vjp(cotangent)

    gradients = reference.conv_gradients(x, kernel, cotangent, **case.settings)
    assert_close(both(x, kernel, bias), (expected, gradients))


@pytest.mark.usefixtures("x64")
@given(case=drawn())
def test_values_and_gradients_are_those_of_the_reference(case):
    assume(not is_empty(case))
    check_against_reference(case)


@given(case=drawn())
def test_an_empty_output_raises(case):
    assume(is_empty(case))
    x, kernel, bias = arrays(case, np.float32)
    with pytest.raises(ValueError, match="conv: the window must fit into the padded input"):
        jax.eval_shape(lambda *a: conv(*a, **case.settings), x, kernel, bias)


PINNED = {
    "crop-past-the-start": Drawn((1, 3, 1), (2, 1, 1), (1,), ((-4, 4),), (1,), 1),
    "reflect-wider-than-the-input": Drawn((1, 2, 1), (3, 1, 1), (1,), "REFLECT", (3,), 1),
    "reflect-a-single-value": Drawn((1, 1, 1), (3, 1, 1), (1,), "REFLECT", (1,), 1),
    "circular-wider-than-the-input": Drawn((1, 2, 1), (3, 1, 1), (1,), "CIRCULAR", (3,), 1),
    "stride-over-the-window": Drawn((2, 7, 5, 2), (1, 2, 2, 1), (3, 3), "SAME", (1, 1), 1),
    "depthwise-multiplier-2": Drawn((2, 5, 3), (3, 1, 6), (1,), "SAME", (1,), 3),
    # XLA on the CPU used to abort on the plain form of this one's input gradient.
    "window-2-stride-2-pad-1-beside-a-small-axis": Drawn(
        (1, 3, 4, 2), (3, 2, 2, 1), (2, 2), ((2, 1), (1, 1)), (1, 1), 1
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PINNED.values(), ids=PINNED)
def test_pinned_settings(case):
    check_against_reference(case)


# --- what each setting means


def line(n=5):
    return jnp.arange(1.0, n + 1).reshape(1, n, 1)


def ones(window):
    return jnp.ones((window, 1, 1))


def values(y):
    return y.ravel().tolist()


def test_nothing_is_padded_by_default():
    assert values(conv(line(), ones(3))) == [6, 9, 12]


def test_same_pads_the_odd_one_high():
    assert values(conv(line(), ones(2), padding="SAME")) == [3, 5, 7, 9, 5]


def test_same_lower_pads_the_odd_one_low():
    assert values(conv(line(), ones(2), padding="SAME_LOWER")) == [1, 3, 5, 7, 9]


def test_same_with_a_stride_is_that_of_lax():
    x, kernel = rng_array(1, 7, 6, 2), rng_array(3, 4, 2, 3, seed=1)
    expected = lax.conv_general_dilated(x, kernel, (2, 3), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert_close(conv(x, kernel, strides=(2, 3), padding="SAME"), expected)


def test_causal_output_sees_no_later_input():
    assert values(conv(line(), ones(2), padding="CAUSAL", dilation=2)) == [1, 2, 4, 6, 8]


def test_a_negative_pad_crops():
    assert values(conv(line(), ones(1), padding=((-1, -2),))) == [2, 3]


def test_circular_wraps_around():
    assert values(conv(line(), ones(3), padding="CIRCULAR")) == [8, 6, 9, 12, 10]


def test_reflect_mirrors_without_the_edge():
    assert values(conv(line(), ones(3), padding="REFLECT")) == [5, 6, 9, 12, 13]


def test_replicate_repeats_the_edge():
    assert values(conv(line(), ones(3), padding="REPLICATE")) == [4, 6, 9, 12, 14]


def test_groups_are_contiguous_blocks_of_channels():
    x = jnp.asarray([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 4)
    assert values(conv(x, jnp.ones((1, 2, 2)), groups=2)) == [11, 1100]


def test_the_kernel_is_not_flipped():
    kernel = jnp.asarray([1.0, 10.0]).reshape(2, 1, 1)
    assert values(conv(line(3), kernel)) == [21, 32]


def test_settings_an_axis():
    x, kernel = rng_array(1, 5, 7, 2), rng_array(2, 3, 2, 1, seed=1)
    y = conv(x, kernel, strides=(1, 2), padding=(1, (0, 2)), dilation=(2, 1))
    assert y.shape == (1, 5, 4, 1)


# --- dtypes


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32(dtype):
    # One at a time, bfloat16 sums of ones stop at 256 and float16 sums at 2048.
    x, kernel, bias = jnp.ones((1, 4096, 1), dtype), jnp.ones((4096, 1, 1), dtype), jnp.zeros(1, dtype)
    y = conv(x, kernel, bias)
    assert y.dtype == dtype
    assert values(y.astype(jnp.float32)) == [4096]
    gradients = jax.grad(lambda *a: conv(x, *a).astype(jnp.float32).sum(), (0, 1))(
        jnp.ones((1, 1, 1), dtype), bias
    )
    assert [(g.dtype, float(g.ravel()[0])) for g in gradients] == [(dtype, 4096)] * 2


@on_cpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(dtype):
    x, kernel, bias = (jnp.asarray(a, dtype) for a in arrays(PINNED["stride-over-the-window"], np.float32))
    exact = conv(*(a.astype(jnp.float32) for a in (x, kernel, bias)), strides=3, padding="SAME")
    y = conv(x, kernel, bias, strides=3, padding="SAME")
    np.testing.assert_array_equal(y.astype(jnp.float32), exact.astype(dtype).astype(jnp.float32))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_gradients_keep_their_dtypes(dtype):
    args = [jnp.asarray(a, dtype) for a in arrays(PINNED["depthwise-multiplier-2"], np.float32)]
    exact_args = [a.astype(jnp.float32) for a in args]

    def loss(*a):
        return (conv(*a, padding="SAME", groups=3).astype(jnp.float32) ** 2).sum()

    gradients, exact = (jax.grad(loss, (0, 1, 2))(*a) for a in (args, exact_args))
    assert [g.dtype for g in gradients] == [dtype] * 3
    for g, e in zip(gradients, exact, strict=True):
        error = np.abs(g.astype(jnp.float32) - e).max() / np.abs(e).max()
        assert error < 4 * jnp.finfo(dtype).eps


# --- PyTorch


@pytest.mark.parametrize("number", range(7))
def test_known_answers(number):
    archive = known_answers("conv")
    settings = json.loads(str(archive["conv_settings"]))[number]
    assert_known_answers(lambda *a: conv(*a, **settings), archive, f"conv_{number}")


# --- bad input

X, KERNEL = np.ones((1, 5, 5, 4), np.float32), np.ones((3, 3, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "sentence"),
    [
        (
            X[0, 0],
            KERNEL,
            {},
            r"conv: x must be \(N, \*space, C\) with at least one spatial axis, got .*\(5, 4\)",
        ),
        (
            X,
            KERNEL[0],
            {},
            r"conv: x must be \(N, \*space, C\) and kernel \(\*window, C_in // groups, C_out\), of as many "
            r"axes, got shapes \(1, 5, 5, 4\) and \(3, 4, 6\)",
        ),
        (
            X[..., :3],
            KERNEL,
            {},
            r"conv: x must have 4 channels for a kernel of shape \(3, 3, 4, 6\) with groups=1, got 3 in "
            r"shape \(1, 5, 5, 3\)$",
        ),
        (
            np.moveaxis(X, -1, 1),
            KERNEL,
            {},
            r"conv: x must have 4 channels .* got 5 in shape \(1, 4, 5, 5\); channels come last$",
        ),
        (X, KERNEL, {"groups": 2}, r"conv: x must have 8 channels .* with groups=2, got 4"),
        (
            X,
            KERNEL[..., :2, :5],
            {"groups": 2},
            "conv: groups must divide the output channels, got groups=2 and 5",
        ),
        (X, KERNEL, {"groups": 0}, "conv: groups must be at least 1, got 0"),
        (X[:, :2], KERNEL, {}, r"conv: the window must fit .* spans \(3, 3\) and an input of \(2, 5\)"),
        (X, KERNEL, {"padding": -2}, r"conv: the window must fit .* makes \(1, 1\)"),
        (X, KERNEL, {"dilation": 3}, r"conv: the window must fit .* spans \(7, 7\)"),
        (
            X[:, :0],
            KERNEL,
            {"padding": 3},
            r"conv: x must have no spatial axis of size 0, got shape \(1, 0, 5, 4\)",
        ),
        (X, KERNEL[..., :0], {}, r"conv: kernel must have no axis of size 0, got shape \(3, 3, 4, 0\)"),
        (X, KERNEL, {"strides": 0}, "conv: strides must be at least 1, got 0"),
        (X, KERNEL, {"strides": (1, 1, 1)}, "conv: strides must be one integer or 2"),
        (X, KERNEL, {"dilation": -1}, "conv: dilation must be at least 1, got -1"),
        (X, KERNEL, {"padding": "same"}, "conv: unknown padding 'same'; the names are VALID, SAME"),
        (X, KERNEL, {"padding": "CAUSAL"}, "conv: padding 'CAUSAL' needs exactly one spatial axis"),
        (X, KERNEL, {"bias": X[0, 0]}, r"conv: bias must have shape \(6,\), .* got shape \(5, 4\)"),
        (X, KERNEL, {"bias": X[0, 0, 0]}, r"conv: bias must have shape \(6,\), .* got shape \(4,\)"),
    ],
)
def test_a_bad_shape_or_setting_raises_a_sentence(x, kernel, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        conv(x, kernel, **settings)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "sentence"),
    [
        (X.astype(np.int32), KERNEL, {}, "conv: x must be floating-point, got int32; cast it first"),
        (X.astype(np.complex64), KERNEL, {}, "conv: x must be floating-point, got complex64"),
        (X, KERNEL.astype(np.int8), {}, "conv: kernel must be floating-point, got int8"),
        (X, KERNEL.astype(np.float16), {}, "conv: kernel is float16 but x is float32; cast one of them"),
        (X, KERNEL, {"bias": np.ones(6, np.float16)}, "conv: bias is float16 but x is float32"),
        (X, KERNEL, {"strides": 1.5}, "conv: strides must be an integer or one integer per axis, got 1.5"),
        (X, KERNEL, {"groups": 1.0}, "conv: groups must be an integer, got 1.0"),
        (X, KERNEL, {"padding": None}, "conv: padding must be a name"),
    ],
)
def test_a_bad_type_raises_a_sentence(x, kernel, settings, sentence):
    with pytest.raises(TypeError, match=sentence):
        conv(x, kernel, **settings)
