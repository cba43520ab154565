import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.ops.adaptive_pool import adaptive_avg_pool, adaptive_max_pool
from tests.ops.pool_settings import SPACES, tied, value_and_gradient
from tests.reference import pool as reference
from tests.support import assert_close, rng_array


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(1, -1, 1)


def flat(y):
    return np.asarray(y).ravel().tolist()


@st.composite
def drawn(draw):
    """(input space, output size)."""
    rank = draw(st.integers(1, 3))
    return SPACES[rank], draw(st.tuples(*[st.integers(1, 8 if rank < 3 else 3)] * rank))


@pytest.mark.usefixtures("x64")
@given(drawn())
def test_average_equals_the_reference(setting):
    space, out = setting
    x = rng_array(2, *space, 2, dtype=np.float64)
    y, cotangent, dx = value_and_gradient(lambda x: adaptive_avg_pool(x, out), x)
    assert_close((y, dx), reference.avg_pool(x, reference.Windows.adaptive(space, out), cotangent))


@pytest.mark.usefixtures("x64")
@given(drawn())
def test_maximum_equals_the_reference(setting):
    space, out = setting
    x = tied(2, *space, 2)
    y, cotangent, dx = value_and_gradient(lambda x: adaptive_max_pool(x, out), x)
    expected, _, gradient = reference.max_pool(x, reference.Windows.adaptive(space, out), cotangent)
    assert_close((y, dx), (expected, gradient))


def test_windows_overlap_where_the_sizes_do_not_divide():
    """Output i covers [⌊iL/o⌋, ⌈(i + 1)L/o⌉): 0–2 and 2–4 here; disjoint windows would not share value 2."""
    assert flat(adaptive_avg_pool(line(1, 2, 6, 8, 10), 2)) == [3, 8]
    assert flat(adaptive_max_pool(line(1, 2, 6, 1, 1), 2)) == [6, 6]


def test_more_outputs_than_values_repeat_them():
    assert flat(adaptive_avg_pool(line(1, 3), 4)) == [1, 1, 3, 3]
    assert flat(adaptive_max_pool(line(1, 3), 3)) == [1, 3, 3]


def test_integers_keep_their_dtype_in_the_maximum_only():
    y = adaptive_max_pool(line(1, 200, 7, dtype=np.uint8), 2)
    assert y.dtype == np.uint8
    assert flat(y) == [200, 200]
    with pytest.raises(TypeError, match="adaptive_avg_pool: x must be floating-point, got uint8"):
        adaptive_avg_pool(line(1, 2, dtype=np.uint8), 1)


def test_nan_propagates_to_its_own_windows_only():
    x = line(np.nan, 1, 2, 3, 4)
    for pool in (adaptive_avg_pool, adaptive_max_pool):
        assert np.isnan(flat(pool(x, 2))).tolist() == [True, False]
    assert flat(jax.grad(lambda x: adaptive_max_pool(x, 2).sum())(x)) == [1, 0, 0, 0, 1]


def test_half_precision_average_of_many_values():
    x = np.full((1, 301, 300, 1), 7.5, np.float16)
    assert flat(adaptive_avg_pool(x, 1)) == [7.5]


@pytest.mark.parametrize("pool", [adaptive_avg_pool, adaptive_max_pool])
def test_bad_input_raises_a_sentence(pool):
    name, x = pool.__name__, rng_array(1, 5, 5, 1)
    with pytest.raises(ValueError, match=f"^{name}: output_size must be at least 1, got 0"):
        pool(x, 0)
    with pytest.raises(ValueError, match=f"^{name}: output_size must be one integer or 2"):
        pool(x, (1, 2, 3))
    with pytest.raises(TypeError, match=f"^{name}: output_size must be an integer"):
        pool(x, None)
    with pytest.raises(ValueError, match=f"^{name}: x must be .* got shape \\(5, 5\\)"):
        pool(x[0, :, :, 0], 1)
