"""The default initialisers give the values of ``jax.nn.initializers``, whatever is compiled for them."""

import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from jaxnn.layers import initialisers
from tests.support import assert_close, deep

THEIRS = {
    "HE_NORMAL": initializers.he_normal(),
    "GLOROT_UNIFORM": initializers.glorot_uniform(),
    "UNIT_ROWS": initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0),
}
SHAPES = {"HE_NORMAL": (3, 2, 4, 5), "GLOROT_UNIFORM": (7, 9), "UNIT_ROWS": (13, 30)}
each = pytest.mark.parametrize("name", THEIRS)


@each
@pytest.mark.parametrize("dtype", [jnp.float32, deep(jnp.bfloat16)])
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


@pytest.mark.parametrize("name", ["HE_NORMAL", "GLOROT_UNIFORM"])
def test_shapes_of_no_fan_get_the_sentence_of_jax(name):
    with pytest.raises(ValueError, match="at least"):
        getattr(initialisers, name)(jax.random.key(0), (3,))


def test_a_large_kernel_is_drawn_in_its_own_shape(monkeypatch):
    """So are those whose sharding is named; the values are the same."""
    small = initialisers.HE_NORMAL(jax.random.key(0), (2, 3, 4))
    monkeypatch.setattr(initialisers, "LARGEST_MATRIX", 23)
    assert_close(initialisers.HE_NORMAL(jax.random.key(0), (2, 3, 4)), small, terms=0, roundings=1)
