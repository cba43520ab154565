import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from jaxnn.ops.conv import conv
from jaxnn.ops.conv_transpose import FIXED_SIZE, conv_transpose
from tests.ops.conv_settings import Drawn, drawn
from tests.reference.conv import conv as reference_conv
from tests.reference.conv import conv_gradients, span
from tests.reference.conv_transpose import conv_transpose as reference
from tests.support import assert_close, assert_known_answers, known_answers, rng_array


def arrays(case: Drawn, dtype=np.float64):
    x, kernel = rng_array(*case.x, dtype=dtype), rng_array(*case.kernel, seed=1, dtype=dtype)
    return x, kernel, rng_array(case.kernel[-1] * case.groups, seed=2, dtype=dtype)


@st.composite
def drawn_transposes(draw):
    case = draw(drawn(transposed=True))
    if case.padding in FIXED_SIZE:
        return case, (0,) * len(case.strides)
    return case, tuple(draw(st.integers(0, s - 1)) for s in case.strides)


def is_empty(case: Drawn, output_padding) -> bool:
    if isinstance(case.padding, str):
        return False
    spans = span(case.kernel[:-2], case.dilation)
    pads = case.padding if isinstance(case.padding, tuple) else (case.padding,) * len(spans)
    cuts = (sum(p) if isinstance(p, tuple) else 2 * p for p in pads)
    settings = zip(case.x[1:-1], case.strides, spans, cuts, output_padding, strict=True)
    return any((n - 1) * s + k - cut + e < 1 for n, s, k, cut, e in settings)


def check(case: Drawn, output_padding) -> None:
    x, kernel, bias = arrays(case)
    settings = {**case.settings, "output_padding": output_padding}
    expected = reference(x, kernel, bias, **settings)
    forward = np.swapaxes(kernel, -1, -2)
    z = rng_array(*expected.shape, seed=3, dtype=np.float64)

    @jax.jit
    def results(x, kernel, bias):
        y, vjp = jax.vjp(lambda *a: conv_transpose(*a, **settings), x, kernel, bias)
        convolved, conv_vjp = jax.vjp(lambda z: conv(z, forward, **case.settings), z)
        return y, vjp(z), conv_transpose(x, kernel, **settings), convolved, conv_vjp(x)[0]

    y, gradients, stamped, convolved, transposed = map(jax.device_get, results(x, kernel, bias))
    assert_close(y, expected)

    # The transpose of conv: ⟨conv(z), x⟩ = ⟨z, conv_transpose(x)⟩ for every z, hence equal to conv's own vjp.
    assert_close((convolved * x).sum(), (z * stamped).sum())
    assert_close(stamped, transposed)

    # And so its gradients are conv, and conv's kernel gradient with x and z in each other's place.
    _, kernel_gradient, _ = conv_gradients(z, forward, x, **case.settings)
    expected = (
        reference_conv(z, forward, **case.settings),
        np.swapaxes(kernel_gradient, -1, -2),
        z.sum(tuple(range(z.ndim - 1))),
    )
    assert_close(gradients, expected)


@pytest.mark.usefixtures("x64")
@given(drawn_case=drawn_transposes())
def test_it_is_the_transpose_of_conv(drawn_case):
    assume(not is_empty(*drawn_case))
    check(*drawn_case)


@given(drawn_case=drawn_transposes())
def test_an_empty_output_raises(drawn_case):
    case, output_padding = drawn_case
    assume(is_empty(case, output_padding))
    x, kernel, _ = arrays(case, np.float32)
    with pytest.raises(
        ValueError, match="conv_transpose: padding must leave at least one value on every axis"
    ):
        conv_transpose(x, kernel, **case.settings, output_padding=output_padding)


PINNED = {
    "same-odd-crop": Drawn((1, 3, 1), (4, 1, 1), (1,), "SAME", (1,), 1),
    "same-lower-odd-crop": Drawn((1, 3, 1), (4, 1, 1), (1,), "SAME_LOWER", (1,), 1),
    "same-stride-over-the-window": Drawn((2, 3, 2, 2), (1, 2, 2, 1), (3, 3), "SAME", (1, 1), 1),
    "pads-wider-than-the-window": Drawn((1, 5, 1), (2, 1, 1), (2,), ((3, -2),), (1,), 1),
    "circular-wider-than-the-output": Drawn((1, 2, 1), (3, 1, 1), (1,), "CIRCULAR", (3,), 1),
    "reflect-strided-grouped": Drawn((2, 3, 2, 4), (3, 3, 4, 1), (2, 1), "REFLECT", (1, 2), 2),
    # XLA on the CPU used to abort on the plain form of this one.
    "window-2-stride-2-pad-1-beside-a-small-axis": Drawn(
        (1, 2, 3, 1), (3, 2, 1, 2), (2, 2), ((2, 1), (1, 1)), (1, 1), 1
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PINNED.values(), ids=PINNED)
def test_pinned_settings(case):
    check(case, (0,) * len(case.strides))


# --- what each setting means


def ramp(window):
    return jnp.asarray([10.0**i for i in range(window)]).reshape(window, 1, 1)


def values(y):
    return y.ravel().tolist()


ONE, TWO = jnp.ones((1, 1, 1)), jnp.asarray([1.0, 2.0]).reshape(1, 2, 1)


def test_each_input_stamps_the_kernel_unflipped():
    assert values(conv_transpose(ONE, ramp(3))) == [1, 10, 100]
    assert values(conv_transpose(TWO, ramp(2), strides=3)) == [1, 10, 0, 2, 20]
    assert values(conv_transpose(TWO, ramp(2), dilation=3)) == [1, 2, 0, 10, 20]


@given(size=st.integers(1, 6), window=st.integers(1, 5), stride=st.integers(1, 5), extra=st.integers(0, 4))
def test_valid_size(size, window, stride, extra):
    assume(extra < stride)
    y = jax.eval_shape(
        lambda x, k: conv_transpose(x, k, strides=stride, output_padding=extra),
        *(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, size, 1), (window, 1, 1))),
    )
    assert y.shape == (1, (size - 1) * stride + window + extra, 1)


@given(size=st.integers(1, 6), window=st.integers(1, 5), stride=st.integers(1, 5))
def test_same_size_is_the_inputs_times_the_stride(size, window, stride):
    for padding in FIXED_SIZE:
        y = jax.eval_shape(
            lambda x, k, padding=padding: conv_transpose(x, k, strides=stride, padding=padding),
            *(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, size, 1), (window, 1, 1))),
        )
        assert y.shape == (1, size * stride, 1)


@pytest.mark.parametrize(
    ("window", "stride"), [(3, 1), (3, 2), (4, 2), (4, 1), (5, 2), (2, 2), (1, 2), (2, 3)]
)
def test_same_crops_as_lax_does(window, stride):
    x, kernel = rng_array(1, 4, 2), rng_array(window, 2, 3, seed=1)
    # Asked for the transpose, lax flips the kernel and takes its channels as those of the forward conv.
    expected = lax.conv_transpose(
        x,
        np.swapaxes(kernel, -1, -2),
        (stride,),
        "SAME",
        dimension_numbers=("NHC", "HIO", "NHC"),
        transpose_kernel=True,
    )
    assert_close(conv_transpose(x, kernel, strides=stride, padding="SAME"), expected)


def test_same_crops_half_of_what_is_too_much_low():
    # Window 5, stride 2: of the 3 places too many, 1 is cut low and 2 high.
    assert values(conv_transpose(ONE, ramp(5), strides=2, padding="SAME")) == [10, 100]
    assert values(conv_transpose(ONE, ramp(5), strides=2, padding="SAME_LOWER")) == [100, 1000]


def test_pytorchs_size_doubling_is_padding_1_and_output_padding_1():
    y = conv_transpose(TWO, ramp(3), strides=2, padding=1, output_padding=1)
    same = conv_transpose(TWO, ramp(3), strides=2, padding="SAME")
    assert values(y) == [10, 102, 20, 200]
    assert values(same) == [1, 10, 102, 20]  # one place over


def test_explicit_pads_are_cut():
    assert values(conv_transpose(TWO, ramp(3), strides=2, padding=((1, 2),))) == [10, 102]


def test_negative_pads_add_zeros():
    assert values(conv_transpose(ONE, ramp(2), padding=((-1, -2),))) == [0, 1, 10, 0, 0]


def test_causal_cuts_the_low_side():
    assert values(conv_transpose(TWO, ramp(3), padding="CAUSAL")) == [120, 200]


def test_circular_stamps_around_the_end():
    assert values(conv_transpose(TWO, ramp(3), padding="CIRCULAR")) == [10 + 2 + 200, 100 + 1 + 20]


def test_replicate_adds_the_cut_to_the_edge():
    assert values(conv_transpose(TWO, ramp(3), padding="REPLICATE")) == [1 + 10 + 2, 100 + 20 + 200]


def test_reflect_adds_the_cut_to_its_mirror_image():
    x = jnp.asarray([1.0, 0.0, 0.0]).reshape(1, 3, 1)
    assert values(conv_transpose(x, ramp(3), padding="REFLECT")) == [10, 101, 0]


def test_groups_are_contiguous_blocks_of_channels():
    x = jnp.asarray([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 4)
    kernel = jnp.asarray([[1.0, 2.0]] * 4)[None]
    assert values(conv_transpose(x, kernel, groups=2)) == [11, 22, 1100, 2200]


# --- dtypes


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("padding", ["VALID", "CIRCULAR"])
def test_half_precision_is_summed_in_float32(dtype, padding):
    x, kernel, bias = jnp.ones((1, 1, 4096), dtype), jnp.ones((1, 4096, 1), dtype), jnp.zeros(1, dtype)
    y = conv_transpose(x, kernel, bias, padding=padding)
    assert y.dtype == dtype
    assert values(y.astype(jnp.float32)) == [4096]
    gradients = jax.grad(lambda *a: conv_transpose(*a).astype(jnp.float32).sum(), (0, 1, 2))(x, kernel, bias)
    assert [g.dtype for g in gradients] == [dtype] * 3


# --- PyTorch


@pytest.mark.parametrize("number", range(6))
def test_known_answers(number):
    archive = known_answers("conv")
    settings = json.loads(str(archive["conv_transpose_settings"]))[number]
    assert_known_answers(lambda *a: conv_transpose(*a, **settings), archive, f"conv_transpose_{number}")


# --- bad input

X, KERNEL = np.ones((1, 3, 3, 4), np.float32), np.ones((3, 3, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "sentence"),
    [
        (X[0, 0], KERNEL, {}, r"conv_transpose: x must be \(N, \*space, C\) with at least one spatial axis"),
        (
            X,
            KERNEL[0],
            {},
            r"conv_transpose: x must be \(N, \*space, C\) and kernel \(\*window, C_in, C_out // groups\), of",
        ),
        (X[..., :3], KERNEL, {}, r"conv_transpose: x must have 4 channels .* \(3, 3, 4, 6\), got 3 in shape"),
        (
            X,
            KERNEL,
            {"groups": 3},
            "conv_transpose: groups must divide the channels of x, got groups=3 and 4",
        ),
        (X, KERNEL, {"groups": 0}, "conv_transpose: groups must be at least 1, got 0"),
        (X[:, :0], KERNEL, {}, "conv_transpose: x must have no spatial axis of size 0"),
        (X, KERNEL[..., :0], {}, "conv_transpose: kernel must have no axis of size 0"),
        (X, KERNEL, {"strides": 0}, "conv_transpose: strides must be at least 1, got 0"),
        (X, KERNEL, {"dilation": -1}, "conv_transpose: dilation must be at least 1, got -1"),
        (X, KERNEL, {"output_padding": -1}, "conv_transpose: output_padding must be at least 0, got -1"),
        (
            X,
            KERNEL,
            {"output_padding": 1},
            r"output_padding must be below the stride, got 1 with strides \(1, 1\)",
        ),
        (X, KERNEL, {"output_padding": (1, 2), "strides": 2}, r"below the stride, got \(1, 2\) with strides"),
        (
            X,
            KERNEL,
            {"output_padding": 1, "strides": 2, "padding": "SAME"},
            "output_padding must be 0 with padding 'SAME', whose output is always the input's size times",
        ),
        (
            X,
            KERNEL,
            {"padding": 3},
            r"padding must leave at least one value .* got 3, which leaves \(-1, -1\) of",
        ),
        (X, KERNEL, {"padding": "same"}, "conv_transpose: unknown padding 'same'; the names are VALID"),
        (X, KERNEL, {"padding": "CAUSAL"}, "conv_transpose: padding 'CAUSAL' needs exactly one spatial axis"),
        (
            X,
            KERNEL,
            {"bias": X[0, 0, 0]},
            r"conv_transpose: bias must have shape \(6,\), .* got shape \(4,\)",
        ),
    ],
)
def test_a_bad_shape_or_setting_raises_a_sentence(x, kernel, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        conv_transpose(x, kernel, **settings)


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "sentence"),
    [
        (X.astype(np.int32), KERNEL, {}, "conv_transpose: x must be floating-point, got int32"),
        (X, KERNEL.astype(np.float16), {}, "conv_transpose: kernel is float16 but x is float32"),
        (X, KERNEL, {"output_padding": 0.5}, "conv_transpose: output_padding must be an integer or one"),
    ],
)
def test_a_bad_type_raises_a_sentence(x, kernel, settings, sentence):
    with pytest.raises(TypeError, match=sentence):
        conv_transpose(x, kernel, **settings)
