"""Slices at places that XLA doesn't know when it compiles."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.kernels.lowering.places import place, sliced, split, strided
from tests.support import rng_array

X = rng_array(2, 3, 12)


@pytest.mark.parametrize("x64", [False, True])
def test_parts_of_an_axis(x64):
    with jax.enable_x64(x64):
        for parts in (1, 3):
            for ours, theirs in zip(
                jax.jit(lambda x, parts=parts: split(x, parts, 2))(X), np.split(X, parts, 2), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_values_a_step_apart_from_a_place_on():
    some = jax.jit(lambda x: strided(x, {0: (place(1), 1, 1), 2: (place(2), 3, 2)}))
    np.testing.assert_array_equal(some(X), X[1:2, :, 2:7:2])


def test_under_vmap_and_step_by_step():
    expected = X[..., 4:6]
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda x: sliced(x, place(4), 2, 1)))(X), expected)
    with jax.disable_jit():
        np.testing.assert_array_equal(sliced(jnp.asarray(X), place(4), 2, 2), expected)


def test_xla_slices_at_a_place_it_does_not_know_on_cpus():
    compiled = jax.jit(lambda x: [jnp.sin(part) for part in split(x, 3, 2)]).lower(X).compile().as_text()
    assert len(re.findall(r" dynamic-slice\(", compiled)) == 3
    assert not re.findall(r" slice\(", compiled)


def test_other_platforms_know_the_place():
    traced = jax.jit(lambda x: split(x, 3, 2)).trace(X)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "call" not in program
    assert "optimization_barrier" not in program
