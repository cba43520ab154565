import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.layers.reshaping import flatten, pad, reshape
from jaxnn.outputs import output_shape
from tests.derivatives import check_derivatives
from tests.support import assert_close, rng_array


def apply(layer, x):
    return layer.apply(layer.init(jax.random.key(0), x), x)


# flatten


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (2,), (0, 3, 2)])
def test_flatten_keeps_the_batch_axis(shape):
    x = rng_array(*shape)
    assert_close(flatten(x), x.reshape(shape[0], int(np.prod(shape[1:]))))


def test_flatten_lets_channels_vary_fastest():
    x = np.arange(12).reshape(1, 2, 3, 2)
    assert flatten(x).tolist() == [list(range(12))]


def test_flatten_of_a_scalar_raises():
    with pytest.raises(ValueError, match=r"flatten: x must have a batch axis, got shape \(\)"):
        flatten(1.0)


# reshape


@pytest.mark.parametrize(
    ("sizes", "shape", "expected"),
    [
        ((3, 4), (2, 12), (2, 3, 4)),
        ((12,), (2, 3, 4), (2, 12)),
        ((2, -1), (5, 3, 4), (5, 2, 6)),
        ((-1, 1), (2, 3), (2, 3, 1)),
        ((1, 6, 1), (2, 2, 3, 1), (2, 1, 6, 1)),
        ((), (2, 1, 1), (2,)),
        ((2, 3), (0, 6), (0, 2, 3)),
    ],
)
def test_reshape_is_row_major(sizes, shape, expected):
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.int32)
    assert_close(apply(reshape(*sizes), x), x.reshape(expected))


def test_reshape_of_another_number_of_values_raises():
    with pytest.raises(
        ValueError, match=r"reshape: sizes \(3, 5\) must hold the 12 values of each example, got"
    ):
        apply(reshape(3, 5), rng_array(2, 12))
    with pytest.raises(ValueError, match=r"reshape: sizes \(5, -1\) must hold the 12 values"):
        apply(reshape(5, -1), rng_array(2, 3, 4))


def test_bad_sizes_raise_at_construction():
    with pytest.raises(ValueError, match=r"reshape: the sizes must be at least 1, .* got \(0, 3\)"):
        reshape(0, 3)
    with pytest.raises(ValueError, match=r"one of them may be -1, got \(-1, -1\)"):
        reshape(-1, -1)
    with pytest.raises(TypeError, match=r"reshape: the sizes must be integers given one by one.*\(7, 7\)"):
        reshape((7, 7))


# pad

MODES = {"CONSTANT": "constant", "REPLICATE": "edge", "REFLECT": "reflect", "CIRCULAR": "wrap"}


@given(
    st.sampled_from(list(MODES)),
    st.lists(st.tuples(st.integers(2, 4), st.integers(-1, 5), st.integers(0, 3)), min_size=1, max_size=3),
)
def test_pad_is_numpys_with_negative_numbers_cropping(mode, axes):
    x = rng_array(2, *(size for size, _, _ in axes), 2)
    pairs = [(low, high) for _, low, high in axes]
    grown = np.pad(x, [(0, 0), *((max(low, 0), high) for low, high in pairs), (0, 0)], mode=MODES[mode])
    expected = grown[(slice(None), *(slice(max(-low, 0), None) for low, _ in pairs))]
    assert_close(apply(pad(pairs, mode=mode), x), expected)


def test_pad_takes_every_form_of_padding():
    shape = (1, 4, 5, 2)
    assert output_shape(pad(1), shape) == (1, 6, 7, 2)
    assert output_shape(pad((1, 2)), shape) == (1, 6, 9, 2)
    assert output_shape(pad(((1, 0), (0, -2))), shape) == (1, 5, 3, 2)


@pytest.mark.parametrize("mode", MODES)
def test_pad_differentiates_in_both_modes(mode, x64):
    layer = pad(((2, 1), (-1, 3)), mode=mode)
    x = jnp.asarray(rng_array(1, 3, 4, 1, dtype=np.float64))
    check_derivatives(lambda x: apply(layer, x), (x,))


@pytest.mark.parametrize("mode", MODES)
def test_pad_keeps_integers_and_empty_and_symbolic_batches(mode):
    layer = pad(2, mode=mode)
    x = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    assert apply(layer, x).dtype == jnp.uint8
    assert output_shape(layer, (0, 3, 4, 1)) == (0, 7, 8, 1)
    (n,) = jax.export.symbolic_shape("n")
    exported = jax.export.export(jax.jit(lambda x: apply(layer, x)))(
        jax.ShapeDtypeStruct((n, 3, 4, 1), x.dtype)
    )
    assert_close(exported.call(x), apply(layer, x))


def test_pad_with_a_value():
    assert apply(pad(1, value=-np.inf), rng_array(1, 1, 1))[0, 0, 0] == -np.inf
    assert apply(pad(1, value=255), np.zeros((1, 1, 1), np.uint8)).ravel().tolist() == [255, 0, 255]
    for value in (-1, 256, 0.5, np.nan):
        with pytest.raises(TypeError, match="pad: value must be a value of the input's dtype uint8, got"):
            apply(pad(1, value=value), np.zeros((1, 1, 1), np.uint8))


def test_a_single_pixel_reflects_as_itself():
    assert_close(
        apply(pad(2, mode="REFLECT"), np.full((1, 1, 1), 3.0, np.float32)), np.full((1, 5, 1), 3.0, "f")
    )


def test_bad_padding_raises():
    with pytest.raises(ValueError, match=r"pad: mode must be 'CONSTANT', 'CIRCULAR', .* got 'SYMMETRIC'"):
        pad(1, mode="SYMMETRIC")
    with pytest.raises(ValueError, match="pad: value must be left out for mode 'REFLECT', got 1"):
        pad(1, mode="REFLECT", value=1)
    with pytest.raises(
        TypeError, match=r"pad: padding must be an integer, one integer per axis or .* got 'SAME'"
    ):
        pad("SAME")
    with pytest.raises(TypeError, match="pad: padding must be"):
        pad(1.5)
    with pytest.raises(ValueError, match="pad: padding must be one entry per spatial axis, 2 in all"):
        apply(pad((1, 2, 3)), rng_array(1, 4, 4, 1))
    with pytest.raises(ValueError, match="pad: padding must leave at least one value on every axis, got -2"):
        apply(pad(-2), rng_array(1, 4, 4, 1))
    with pytest.raises(ValueError, match="pad: x must be"):
        apply(pad(1), rng_array(4, 4))
