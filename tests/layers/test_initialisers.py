"""The default initialisers give the values of ``jax.nn.initializers``, whatever is compiled for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

from jaxnn.layers import initialisers
from tests.support import assert_close

THEIRS = {
    "HE_NORMAL": initializers.he_normal(),
    "GLOROT_UNIFORM": initializers.glorot_uniform(),
    "UNIT_ROWS": initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0),
}
SHAPES = {"HE_NORMAL": (3, 2, 4, 5), "GLOROT_UNIFORM": (2, 7, 9), "UNIT_ROWS": (13, 30)}
each = pytest.mark.parametrize("name", THEIRS)


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_are_those_of_jax(name, dtype):
    """In and outside of ``jit``, mapped over keys, and of keys of another kind."""
    ours, shape = getattr(initialisers, name), SHAPES[name]
    draw, expected = (lambda key, init=init: init(key, shape, dtype) for init in (ours, THEIRS[name]))
    keys = jax.random.split(jax.random.key(3), 2)
    found = [draw(keys[0]), jax.jit(draw)(keys[0]), jax.vmap(draw)(keys)[0]]
    for values in found:
        assert_close(values, jax.jit(expected)(keys[0]), terms=0, roundings=1)
        assert values.dtype == dtype
    other = jax.random.key(3, impl="rbg")
    assert_close(draw(other), jax.jit(draw)(other), terms=0, roundings=1)


@each
@pytest.mark.parametrize("shape", [(1, 1), (initialisers.ROWS[0], 1), (2, initialisers.ROWS[-1])], ids=str)
def test_one_value_a_whole_row_and_what_is_larger(name, shape):
    values = np.asarray(getattr(initialisers, name)(jax.random.key(0), shape))
    assert (values.shape, values.dtype) == (shape, np.float32)
    assert values.size == 1 or 0.8 < values.std() / np.sqrt(variance(name, shape)) < 1.2
    assert np.unique(values).size > 0.8 * values.size


def variance(name, shape):
    rows, columns = shape
    return {"HE_NORMAL": 2 / rows, "GLOROT_UNIFORM": 2 / (rows + columns), "UNIT_ROWS": 1 / columns}[name]


@pytest.mark.parametrize("name", ["HE_NORMAL", "GLOROT_UNIFORM"])
def test_shapes_of_no_fan_get_the_sentence_of_jax(name):
    with pytest.raises(ValueError, match="at least"):
        getattr(initialisers, name)(jax.random.key(0), (3,))


def test_few_programs_serve_all_shapes():
    """Shapes of as many values, or nearly, are cut from one row."""
    jax.clear_caches()
    for shape in ((3, 3, 4, 5), (7, 9), (2, 3, 5)):
        initialisers.HE_NORMAL(jax.random.key(0), shape)
    assert initialisers._row._cache_size() == 1
