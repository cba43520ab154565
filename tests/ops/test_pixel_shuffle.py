import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from tests.reference import resize as reference
from tests.support import assert_close, known_answers, rng_array


@st.composite
def shapes_and_factors(draw):
    rank = draw(st.integers(1, 3))
    factors = draw(st.tuples(*[st.integers(1, 3)] * rank))
    space = draw(st.tuples(*[st.integers(1, 3)] * rank))
    return (2, *space, draw(st.integers(1, 2)) * int(np.prod(factors))), factors


@given(shapes_and_factors())
def test_values_are_the_reference_and_unshuffle_inverts(drawn):
    shape, factors = drawn
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.int32)
    y = jax.jit(pixel_shuffle, static_argnums=1)(x, factors)
    assert_close(y, reference.pixel_shuffle(x, factors))
    assert_close(jax.jit(pixel_unshuffle, static_argnums=1)(y, factors), x)


@given(shapes_and_factors())
def test_the_gradient_is_the_inverse(drawn):
    shape, factors = drawn
    x = rng_array(*shape)

    def there_and_back(x):
        y, vjp = jax.vjp(lambda x: pixel_shuffle(x, factors), x)
        return vjp(y)[0]

    assert np.array_equal(jax.jit(there_and_back)(x), x)


def test_channel_order_is_output_channel_slowest():
    """The (c·r + i)·r + j of PyTorch."""
    x = np.arange(8).reshape(1, 1, 1, 8)
    y = pixel_shuffle(x, 2)
    assert y[0, :, :, 0].tolist() == [[0, 1], [2, 3]]
    assert y[0, :, :, 1].tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize(("name", "op"), [("shuffle", pixel_shuffle), ("unshuffle", pixel_unshuffle)])
def test_known_answers(name, op):
    answers = known_answers("resize")
    shape = (1, 4, 2, 8)
    x = np.sin(np.arange(1, np.prod(shape) + 1) ** 2.0).astype(np.float32).reshape(shape)
    y, vjp = jax.vjp(lambda x: op(x, 2), x)
    assert_close(y, answers[f"{name}/y"])
    cotangent = np.sin(np.arange(1, y.size + 1) ** 2.0).astype(np.float32).reshape(y.shape)
    assert_close(vjp(jnp.asarray(cotangent))[0], answers[f"{name}/grad"])


@pytest.mark.parametrize("dtype", ["uint8", "bool", "bfloat16"])
def test_every_dtype_is_kept(dtype):
    assert pixel_shuffle(jnp.ones((1, 2, 4), dtype), 2).dtype == dtype


def test_bad_input_raises():
    x = rng_array(1, 4, 6, 6)
    with pytest.raises(ValueError, match=r"pixel_shuffle: the channels must be a multiple of 4 .*, got 6"):
        pixel_shuffle(x, 2)
    with pytest.raises(
        ValueError, match=r"pixel_unshuffle: scale must divide the spatial sizes \(4, 6\), got 4"
    ):
        pixel_unshuffle(x, 4)
    with pytest.raises(ValueError, match="pixel_shuffle: scale must be at least 1, got 0"):
        pixel_shuffle(x, 0)
    with pytest.raises(TypeError, match="pixel_shuffle: scale must be an integer"):
        pixel_shuffle(x, 1.5)
    with pytest.raises(ValueError, match="pixel_unshuffle: scale must be one integer or 2"):
        pixel_unshuffle(x, (2, 2, 2))
    with pytest.raises(ValueError, match="pixel_shuffle: x must be"):
        pixel_shuffle(rng_array(4, 4), 2)
