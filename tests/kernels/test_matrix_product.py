"""The product of rows and a matrix at sizes where its derivative transposes x, dy or neither."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.inspection.flops import count_flops
from jaxnn.kernels.matrix_product import _GRADIENT, _bound, matrix_product
from tests.support import assert_close, deep, equations, rng_array

X_TRANSPOSED = [((8, 600), 300), ((9, 10, 256), 65), ((64, 64, 64), 65), ((5, 600, 12), 64)]
DY_TRANSPOSED = [((3, 30, 100), 50), ((100, 784), 10), ((20, 512), 16), ((16384,), 16)]
NEITHER = [
    ((2, 3), 4),
    ((200, 300), 65),
    ((4000, 70), 65),
    ((20, 80), 50),
    ((0, 512), 512),
    ((300, 10), 64),
    ((2, 1024), 32),
]


def drawn(shape, outputs, dtype=np.float32):
    x, matrix = rng_array(*shape, dtype=dtype), rng_array(shape[-1], outputs, seed=1, dtype=dtype)
    return x, matrix, rng_array(*shape[:-1], outputs, seed=2, dtype=dtype)


def transposed(shape, outputs):
    """Which operand of the matrix's gradient is transposed on a CPU."""
    x, _, dy = drawn(shape, outputs)
    (choice,) = nn.kernels.explain(
        lambda x, dy: _bound(_GRADIENT, x, dy, precision=None, implementation=None), x, dy, platform="cpu"
    )
    return {"x_transposed": "x", "dy_transposed": "dy"}.get(choice.form)


@pytest.mark.parametrize(
    ("sizes", "which"),
    [*((s, "x") for s in X_TRANSPOSED), *((s, "dy") for s in DY_TRANSPOSED), *((s, None) for s in NEITHER)],
)
def test_what_is_transposed(sizes, which):
    assert transposed(*sizes) == which


@pytest.mark.parametrize(("shape", "outputs"), X_TRANSPOSED + DY_TRANSPOSED + NEITHER)
@pytest.mark.parametrize("jit", [deep(lambda f: f), jax.jit])
def test_product_and_gradients(shape, outputs, jit):
    x, matrix, dy = drawn(shape, outputs)
    wide = [a.astype(np.float64) for a in (x, matrix, dy)]
    y, pull = jax.vjp(jit(matrix_product), x, matrix)
    rows, d_rows = (a.reshape(-1, a.shape[-1]) for a in (wide[0], wide[2]))
    exact = (wide[0] @ wide[1], wide[2] @ wide[1].T, rows.T @ d_rows)
    assert_close((y, *pull(dy)), exact, terms=max(rows.shape[0], *matrix.shape))


@pytest.mark.parametrize(
    ("shape", "outputs", "dtype", "form"),
    [
        ((1, 256), 512, jnp.float32, "halves"),
        ((256,), 512, jnp.float32, "halves"),
        ((1, 1, 1024), 128, jnp.float32, "halves"),
        ((1, 256), 511, jnp.float32, "whole"),
        ((1, 257), 512, jnp.float32, "whole"),
        ((2, 256), 512, jnp.float32, "whole"),
        ((1, 256), 512, jnp.bfloat16, "whole"),
    ],
)
def test_a_row_times_a_large_matrix_is_multiplied_in_halves(shape, outputs, dtype, form):
    x, matrix, _ = (jnp.asarray(a, dtype) for a in drawn(shape, outputs))
    (choice,) = nn.kernels.explain(matrix_product, x, matrix, platform="cpu")
    assert choice.form == form
    wide = [np.asarray(a, np.float64) for a in (x, matrix)]
    assert_close(jax.jit(matrix_product)(x, matrix), wide[0] @ wide[1], terms=shape[-1])


def test_halves_copy_nothing_of_the_matrix():
    x, matrix, _ = drawn((1, 512), 512)

    def steps(x, matrix):
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.tanh(matrix_product(x, matrix)), x)

    halves = jax.jit(steps).lower(x, matrix).compile()
    assert halves.memory_analysis().temp_size_in_bytes < matrix.nbytes / 8


def test_a_transposed_matrix_is_left_whole():
    """As the scores of an embedding are; a reshape in between would keep XLA from reading it as it lies."""
    layer = nn.embedding(1024, 256)
    params = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 1), jnp.int32))
    scores = jax.jit(nn.attend)
    x = rng_array(1, 256)
    table = params.weights["embedding"]
    assert scores.lower(params, x).compile().memory_analysis().temp_size_in_bytes < table.nbytes / 8
    assert_close(scores(params, x), x.astype(np.float64) @ np.asarray(table, np.float64).T, terms=256)


@pytest.mark.parametrize("sizes", [X_TRANSPOSED[0], DY_TRANSPOSED[0]])
def test_every_derivative_is_that_of_the_plain_product(sizes):
    """Second derivatives too, in all four orders of the modes."""
    x, matrix, dy = map(jnp.asarray, drawn(*sizes))
    tangents = jnp.asarray(rng_array(*x.shape, seed=3)), jnp.asarray(rng_array(*matrix.shape, seed=4))

    def derivatives(product):
        def loss(x, matrix):
            return (jnp.sin(0.1 * product(x, matrix)) * dy).sum() / 100

        grad = jax.grad(loss, (0, 1))
        along = lambda x, matrix: jax.jvp(loss, (x, matrix), tangents)[1]  # noqa: E731
        return jax.jit(
            lambda *at: (
                jax.jvp(grad, at, tangents),
                jax.vjp(grad, *at)[1](tangents),
                jax.jvp(along, at, tangents),
                jax.grad(along, (0, 1))(*at),
            )
        )(x, matrix)

    plain = derivatives(lambda x, matrix: jnp.tensordot(x, matrix, 1))
    assert_close(derivatives(matrix_product), plain, terms=x.size // x.shape[-1])


@pytest.mark.parametrize("axes", [(0, None), (1, None), (None, 2), (0, 0)])
@pytest.mark.parametrize(("shape", "outputs"), [X_TRANSPOSED[0], DY_TRANSPOSED[0]])
def test_mapped(shape, outputs, axes):
    x, matrix, dy = drawn(shape, outputs)
    stacks = [
        a if axis is None else np.stack([a, 2 * a], axis) for a, axis in zip((x, matrix), axes, strict=True)
    ]

    def gradients(x, matrix):
        return jax.vjp(matrix_product, x, matrix)[1](dy)

    found = jax.jit(jax.vmap(gradients, axes))(*stacks)
    for i, scale in enumerate((1, 2)):
        alone = gradients(
            *(a if axis is None else scale * a for a, axis in zip((x, matrix), axes, strict=True))
        )
        assert_close(jax.tree.map(lambda leaf: leaf[i], found), alone, terms=x.size // x.shape[-1])  # noqa: B023


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("sizes", [X_TRANSPOSED[0], DY_TRANSPOSED[0]])
def test_halves_are_summed_in_float32(sizes, dtype):
    x, matrix, dy = (jnp.asarray(a, dtype) for a in drawn(*sizes))
    y, pull = jax.vjp(nn.ops.dense, x, matrix)
    _, gradient = pull(dy)
    assert y.dtype == gradient.dtype == dtype
    exact = np.tensordot(*(np.asarray(a, np.float64) for a in (x, dy)), (range(x.ndim - 1),) * 2)
    assert_close(gradient, exact, roundings=1)


@pytest.mark.parametrize(("shape", "outputs"), [((512, 256), 64), ((512, 256), 128)])
def test_a_batch_spread_over_devices_stays_there(shape, outputs):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, matrix, dy = drawn(shape, outputs)
    spread = [jax.device_put(a, jax.NamedSharding(mesh, jax.P("batch"))) for a in (x, dy)]

    def gradient(x, matrix, dy):
        return jax.vjp(matrix_product, x, matrix)[1](dy)[1]

    compiled = jax.jit(gradient).lower(spread[0], matrix, spread[1]).compile()
    assert "all-gather" not in compiled.as_text()
    assert_close(compiled(spread[0], matrix, spread[1]), x.T @ dy, terms=512)


@pytest.mark.parametrize(("shape", "outputs"), [((512, 256), 64), ((512, 256), 128)])
def test_explicit_sharding_and_shard_map(shape, outputs):
    x, matrix, dy = drawn(shape, outputs)

    def gradient(x, matrix, dy):
        return jax.vjp(matrix_product, x, matrix)[1](dy)[1]

    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        spread = [jax.device_put(a, jax.P("batch")) for a in (x, dy)]
        y = jax.jit(matrix_product)(spread[0], matrix)
        assert jax.typeof(y).sharding.spec == jax.P("batch", None)
        explicit = jax.jit(gradient)(spread[0], matrix, spread[1])
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(
        gradient, mesh=mesh, in_specs=(jax.P("batch"), jax.P(), jax.P("batch")), out_specs=jax.P()
    )
    for found in (explicit, jax.jit(mapped)(x, matrix, dy)):
        assert_close(found, x.T @ dy, terms=512)


def test_a_symbolic_batch_is_a_plain_product():
    (n,) = jax.export.symbolic_shape("n")
    x, matrix = jax.ShapeDtypeStruct((n, 512), jnp.float32), jax.ShapeDtypeStruct((512, 512), jnp.float32)
    exported = jax.export.export(jax.jit(jax.grad(lambda m, x: matrix_product(x, m).sum())))(matrix, x)
    ones = jnp.ones((3, 512)), jnp.ones((512, 512))
    assert_close(exported.call(ones[1], ones[0]), 3 * ones[1])


def test_a_policy_of_checkpoint_finds_the_products():
    """What is saved is the product, not the input of the activation's derivative computed anew."""

    def loss(weights, x):
        for matrix in weights:
            x = jnp.sin(matrix_product(x, matrix))
        return x.sum()

    saved = jax.checkpoint(loss, policy=jax.checkpoint_policies.dots_saveable)
    args = [jnp.ones((4, 4)), jnp.ones((4, 5))], jnp.ones((3, 4))

    def count(f, name):
        program = jax.make_jaxpr(jax.grad(f))(*args)
        return sum(eqn.primitive.name == name for eqn in equations(program.jaxpr))

    assert count(saved, "dot_general") == count(loss, "dot_general") == 2 + 1
    assert count(jax.checkpoint(loss), "dot_general") > count(loss, "dot_general")
    assert count(saved, "jaxnn_matrix_gradient") == 2


def test_inspection_knows_it():
    table = nn.summary(nn.serial(nn.conv(4, 3), nn.flatten, nn.dense(64)), (64, 8, 8, 4))
    assert table.rows[-1].flops == 2 * 64 * 144 * 64 + 64 * 64
    assert table.rows[-1].field == (8, 8)
    gradient = jax.grad(lambda matrix, x: jnp.vdot(x, matrix_product(x, matrix)))
    program = jax.make_jaxpr(gradient)(jnp.ones((4, 4)), jnp.ones((3, 4)))
    assert count_flops(program) == 2 * (2 * 3 * 4 * 4) + 2 * (2 * 12)
