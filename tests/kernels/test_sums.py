"""Sums and copies, each the other's transpose, at sizes that are cut into slices or columns and at others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn.kernels.explain import explain
from jaxnn.kernels.reduction.cuts import FEWEST_FOR_LIBRARY
from jaxnn.kernels.reduction.sums import broadcast, sum_over
from tests.support import assert_close, on_cpu, rng_array

SLICED = [
    ((5, 64, 30, 9), (0, 1, 2)),
    ((5, 64, 30, 9), (1, 2)),
    ((4, 31, 56, 11), (1, 2)),
    ((3, 100, 256), (2,)),
    ((3, 12, 16, 24), (1, 2)),
    ((4, 31, 29, 37), (1, 2)),
    ((3, 50, 251), (2,)),
]
COLUMNS = [((1, 256), (1,)), ((3, 4, 217), (2,)), ((2, 33), (1,)), ((4, 1000), (1,)), ((65,), (0,))]
WHOLE = [((8000, 9), (0,)), ((3000, 31), (1,)), ((3, 4, 8), (1, 2)), ((0, 64, 8), (1,))]


@pytest.mark.parametrize(("shape", "axes"), SLICED + COLUMNS + WHOLE)
def test_sums_and_copies(shape, axes):
    x = rng_array(*shape)
    exact = x.astype(np.float64).sum(axes, keepdims=True)
    terms = x.size // max(exact.size, 1)
    for function in (sum_over, jax.jit(sum_over, static_argnums=1)):
        assert_close(function(x, axes), exact, terms=terms)
    copies = broadcast(jnp.asarray(exact, jnp.float32), axes, x)
    np.testing.assert_array_equal(copies, np.broadcast_to(exact.astype(np.float32), shape))


@on_cpu
@pytest.mark.parametrize(("shape", "axes"), SLICED)
def test_a_sum_by_slices_writes_no_array_of_its_size(shape, axes):
    """The summands are computed where they are added up."""
    x = jnp.asarray(rng_array(*shape))
    assert x.size >= FEWEST_FOR_LIBRARY
    compiled = jax.jit(lambda x: sum_over(jnp.exp(x) * x, axes)).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 2


@pytest.mark.parametrize(
    ("shape", "axes", "form"),
    [
        ((4, 8, 8, 15), (1, 2), "lax"),
        ((4, 8, 8, 16), (1, 2), "slices"),
        ((4, 8, 8, 16), (0, 1, 2), "slices"),
        ((4, 17, 19, 16), (1, 2), "slices"),
        ((64, 512), (1,), "lax"),
        ((65, 512), (1,), "slices"),
        ((67, 509), (1,), "slices"),
    ],
)
def test_sums_along_rows_are_cut_from_more_values_on(shape, axes, form):
    (choice,) = explain(lambda x: sum_over(x, axes), jnp.ones(shape), platform="cpu")
    assert choice.form == form


@on_cpu
def test_few_sums_are_fused_with_what_reads_them():
    """One loop for the slices, one for the rest: no third."""
    x = jnp.ones((4, 8, 8, 16))
    text = jax.jit(lambda x: lax.rsqrt(sum_over(x, (1, 2)) + 1)).lower(x).compile().as_text()
    assert text[text.index("ENTRY") :].count(" fusion(") == 2


def assert_one_kernel(function, x):
    """That XLA compiles it so for a CPU."""
    text = jax.jit(function).lower(x).compile().as_text()
    entry = text[text.index("ENTRY") :]
    assert "reduce-window(" not in text
    assert entry.count(" fusion(") + entry.count(" call(") <= 1, entry


@on_cpu
@pytest.mark.parametrize(("shape", "axes"), COLUMNS)
def test_few_values_are_reduced_in_one_kernel(shape, axes):
    """Together with what is done with the result."""
    assert_one_kernel(lambda x: 2 * sum_over(x, axes), jnp.ones(shape))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16, jnp.float16])
def test_few_values_of_any_dtype(dtype):
    x = jnp.asarray(10 * rng_array(3, 250)).astype(dtype)
    exact = np.asarray(x, np.float64).sum(1, keepdims=True)
    np.testing.assert_array_equal(sum_over(x, (1,)), jnp.asarray(exact, jnp.float32).astype(dtype))
    mapped = jax.vmap(lambda x: sum_over(x, (0,)))(x)
    np.testing.assert_array_equal(mapped, sum_over(x, (1,)))


@pytest.mark.parametrize(("shape", "axes"), SLICED[:2] + COLUMNS + WHOLE[:3])
def test_each_is_the_transpose_of_the_other(shape, axes):
    x = jnp.asarray(rng_array(*shape))
    sums, pull = jax.vjp(lambda x: sum_over(x, axes), x)
    (copies,) = pull(sums)
    assert_close(copies, broadcast(sums, axes, x))
    _, pull = jax.vjp(lambda sums: broadcast(sums, axes, x), sums)
    assert_close(pull(x)[0], sums)
    assert_close(jax.jvp(lambda x: sum_over(x, axes), (x,), (x,))[1], sums)


@pytest.mark.parametrize("mapped", [0, 2, 3])
def test_a_mapped_axis_is_left_alone(mapped):
    x = rng_array(4, 40, 6, 80)
    y = jax.jit(jax.vmap(lambda x: sum_over(x, (1, 2)), mapped))(x)
    exact = np.moveaxis(x, mapped, 0).astype(np.float64).sum((2, 3), keepdims=True)
    assert_close(y, exact)


@pytest.mark.parametrize("spec", [("d",), (None, "d"), (None, None, "d")])
def test_explicit_sharding(spec):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    x = rng_array(8, 128, 96)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.P(*spec))
        y, pull = jax.vjp(jax.jit(lambda x: sum_over(x, (1, 2))), sharded)
        assert jax.typeof(y).sharding.spec == jax.P(spec[0], None, None)
        (back,) = pull(y)
        assert jax.typeof(back).sharding == jax.typeof(sharded).sharding
    assert_close(y, x.sum((1, 2), keepdims=True), terms=128 * 96)
