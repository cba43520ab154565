"""Every primitive of jaxnn has a plain program, a number of operations and a receptive field."""

import gc
from functools import partial
from importlib import import_module
from pkgutil import walk_packages

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive, jaxpr_as_fun

import jaxnn
from jaxnn.inspection.flops import count_flops
from jaxnn.inspection.receptive_field import input_field, run
from jaxnn.inspection.receptive_field.field import NOTHING
from jaxnn.kernels import softmax
from jaxnn.kernels.attention.primitives import attention
from jaxnn.kernels.attention.problem import Settings as AttentionSettings
from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.convolution.problem import Settings
from jaxnn.kernels.lowering.fusion import materialized, materialized_in_reverse
from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.lowering.meaning import MEANINGS, given_flops, plain_program
from jaxnn.kernels.lowering.operation import apply
from jaxnn.kernels.lowering.places import place, sliced
from jaxnn.kernels.matrix_product import matrix_product
from jaxnn.kernels.normalisation.moments import Scope
from jaxnn.kernels.normalisation.rows import moments
from jaxnn.kernels.pooling import primitives as pool
from jaxnn.kernels.pooling.forms import Settings as Pool
from jaxnn.kernels.pooling.windows import Windows
from jaxnn.kernels.recurrence.cells import rnn_cell
from jaxnn.kernels.recurrence.primitives import over_time
from jaxnn.kernels.reduction.extremes import extreme
from jaxnn.kernels.reduction.sums import broadcast, sum_over
from jaxnn.kernels.resampling import primitives as resampling
from tests.support import assert_close, equations, plain_jit, rng_array

SHAPE = (2, 6, 4)
STRIDED = Settings((6,), (3,), (2,), ((1, 1),), (1,), groups=2)
WIDER = STRIDED._replace(space=(11,))
KERNEL, MATRIX, ROWS, Y = (
    rng_array(*shape, seed=i) for i, shape in enumerate([(3, 2, 4), (4, 3), (2, 6, 3), (2, 3, 4)])
)


def gradient_of_matrix(x):
    (gradient,) = jax.linear_transpose(partial(matrix_product, x), jax.ShapeDtypeStruct((4, 3), x.dtype))(
        ROWS
    )
    return gradient


def pairs(x):
    return with_transpose(
        x, {1: 5}, lambda v: v[:, 1:] + v[:, :-1], lambda v: jnp.pad(v, ((0, 0), (0, 1), (0, 0)))
    )


HEADS = (2, 6, 1, 4)
BIAS = np.zeros((2, 1, 6, 6), np.float32)
#: The number of operations of one product of all queries and keys.
SCORES = 2 * (2 * 6) * 6 * 4


def read(q, bias=BIAS):
    """What 2 × 6 queries, one head of 4 features each, read of 6 keys."""
    operands = q, rng_array(*HEADS, seed=5), rng_array(*HEADS, seed=6), bias
    return attention(operands, AttentionSettings(0.5, extras=("bias",)))


def on_one_head(function):
    return lambda x: function(jnp.expand_dims(x, 2))[:, :, 0]


TWICE, LINEAR = resampling.Copies(((1, 2),)), resampling.Resampling(((1, 9),), "linear", False, False, 0.0)
POOL = Pool(((1, Windows(6, 3, 2, 1, 1, 0, 3)),))
WIDER_POOL = Pool(((1, Windows(12, 3, 2, 1, 1, 0, 6)),))
NUMBERS = [np.random.default_rng(0).integers(0, 3, (2, places, 4), np.int8) for places in (3, 6)]


def halved(x):
    """A recurrence with H 4 and without saturation."""
    kernels = [(rng_array(4, 4, seed=seed), None) for seed in (7, 8)]
    return over_time(rnn_cell(lambda sums: 0.5 * sums), *kernels, jnp.zeros((2, 4)), x, None, reverse=False)[
        0
    ]


def softmax_values(x):
    return apply(softmax._VALUES, x, settings=softmax.Settings())


def transpose(function, places=12):
    """The transpose of a linear function of (2, places, 4), which is another primitive."""
    return lambda y: jax.linear_transpose(function, jax.ShapeDtypeStruct((2, places, 4), y.dtype))(y)[0]


#: By primitive: a function of x that uses it, and its number of operations for an x of ``SHAPE``.
EXAMPLES = {
    "jaxnn_attention": (on_one_head(read), 2 * SCORES),
    "jaxnn_attention_bias_gradient": (
        lambda x: jax.vjp(partial(read, rng_array(*HEADS)), BIAS)[1](jnp.expand_dims(x, 2))[0][:, 0],
        (2 + 5 + 2) * SCORES,
    ),
    "jaxnn_attention_gradient": (
        on_one_head(lambda x: jax.vjp(read, rng_array(*HEADS))[1](x)[0]),
        (2 + 5) * SCORES,
    ),
    "jaxnn_attention_tangent": (
        on_one_head(lambda x: jax.jvp(read, (rng_array(*HEADS),), (x,))[1]),
        (2 + 5) * SCORES,
    ),
    "jaxnn_conv_forward": (
        lambda x: convolution.forward(x, KERNEL, STRIDED, x.dtype),
        2 * (2 * 3 * 4) * 3 * 2,
    ),
    "jaxnn_conv_input_gradient": (
        lambda x: convolution.input_gradient(KERNEL, x, WIDER, x.dtype),
        2 * (2 * 6 * 4) * 3 * 2,
    ),
    "jaxnn_conv_kernel_gradient": (
        lambda x: convolution.kernel_gradient(x, Y, STRIDED, x.dtype),
        2 * (2 * 3 * 4) * 3 * 2,
    ),
    "jaxnn_copies": (lambda x: resampling.copies(x, TWICE), 0),
    "jaxnn_copies_transpose": (transpose(lambda x: resampling.copies(x, TWICE), 3), 2 * (3 + 6) * 4),
    "jaxnn_extreme": (lambda x: extreme(x, (1,)), 2 * 6 * 4),
    "jaxnn_linear_map": (pairs, 2 * 5 * 4),
    "jaxnn_matrix_gradient": (gradient_of_matrix, 2 * (2 * 6) * 4 * 3),
    "jaxnn_matrix_product": (lambda x: matrix_product(x, MATRIX), 2 * (2 * 6) * 4 * 3),
    "jaxnn_moments": (lambda x: moments(x, Scope((2,))).mean, 408),
    "jaxnn_pool_extremes": (lambda x: pool.extremes(x, POOL), 2 * (2 * 3 * 4)),
    # Comparisons with the extreme, and whether a value is NaN; the last value of a window needs neither.
    "jaxnn_pool_firsts": (lambda x: pool.firsts(x, POOL)[0], 2 * (2 * 3 * 4) + 2 * (2 * (3 + 2) * 4)),
    "jaxnn_pool_sums": (lambda x: pool.sums(x, POOL), 2 * (2 * 3 * 4)),
    "jaxnn_pool_sums_transpose": (transpose(lambda x: pool.sums(x, WIDER_POOL)), 2 * (2 * 12 * 4)),
    "jaxnn_pool_taken": (lambda x: pool.taken(x, NUMBERS[:1], POOL), 184),
    "jaxnn_pool_taken_transpose": (transpose(lambda x: pool.taken(x, NUMBERS[1:], WIDER_POOL)), 272),
    # Two products, a sum and the activation per step; and once more for the types of the carry.
    "jaxnn_recurrence": (halved, 7 * (2 * 2 * (2 * 4) * 4 + 2 * (2 * 4)) + 2 * 4),
    "jaxnn_recurrence_gradients": (lambda x: jax.vjp(halved, rng_array(*SHAPE))[1](x)[0], 2704),
    "jaxnn_recurrence_tangents": (lambda x: jax.jvp(halved, (rng_array(*SHAPE),), (x,))[1], 3736),
    # A product for each of the two taps and a sum; the transpose has three taps.
    "jaxnn_resampled": (lambda x: resampling.resampled(x, LINEAR), 3 * (2 * 9 * 4)),
    "jaxnn_resampled_transpose": (
        transpose(lambda x: resampling.resampled(x, LINEAR._replace(sizes=((1, 6),))), 4),
        5 * (2 * 4 * 4),
    ),
    "jaxnn_softmax_values": (softmax_values, 0),
    "jaxnn_softmax_values_transpose": (transpose(softmax_values, 6), 0),
    "jaxnn_broadcast": (lambda x: broadcast(x[:, 2:3], (1,), x), 0),
    "jaxnn_materialized": (materialized, 0),
    "jaxnn_materialized_in_reverse": (materialized_in_reverse, 0),
    "jaxnn_place": (lambda x: sliced(x, place(1), 2, 2), 0),
    "jaxnn_sum": (lambda x: sum_over(x, (1,)), 2 * 6 * 4),
}


def equation(name, function):
    """The equation of this primitive in the program of ``function``."""
    program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    (eqn,) = (eqn for eqn in equations(program) if eqn.primitive.name == name)
    return eqn


def test_every_primitive_has_an_example_here():
    for module in walk_packages(jaxnn.__path__, "jaxnn."):
        import_module(module.name)
    gc.unfreeze()  # get_objects omits what was frozen after the collection
    made = [a for a in gc.get_objects() if type(a) is Primitive and a.name.startswith("jaxnn_")]
    assert {primitive.name for primitive in made} == set(EXAMPLES)
    assert set(made) == set(MEANINGS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_operations_and_field(name):
    function, flops = EXAMPLES[name]
    assert equation(name, function).primitive in MEANINGS
    program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    assert count_flops(program) == flops

    x = rng_array(*SHAPE)
    places = SHAPE[1]
    bumps = 30 * np.eye(places, dtype=np.float32)[:, None, :, None]
    y, *moved = np.asarray(plain_jit(jax.vmap(function))(np.concatenate([x[None], x + bumps])))
    depends = np.abs(np.stack(moved) - y) > 1e-3
    assert depends.any()
    ends = depends.argmax(axis=0), depends[::-1].argmax(axis=0) - (places - 1)
    (field,) = run(program, [input_field(SHAPE)])
    assert isinstance(field, tuple)
    for end, measured in zip(field, ends, strict=True):
        expected = np.where(depends.any(axis=0), measured, NOTHING)
        np.testing.assert_array_equal(np.broadcast_to(end, y.shape), expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_plain_program_computes_the_same(name):
    eqn = equation(name, EXAMPLES[name][0])
    operands = [rng_array(*v.aval.shape, seed=i).astype(v.aval.dtype) for i, v in enumerate(eqn.invars)]
    if name in ("jaxnn_attention_gradient", "jaxnn_attention_tangent"):
        # They get the output and the logarithms too, from which nothing else may come than q, k, v give.
        count = 3 + len(eqn.params["settings"].extras)
        forward = equation("jaxnn_attention", EXAMPLES["jaxnn_attention"][0]).primitive
        operands[count : count + 2] = forward.bind(*map(jnp.asarray, operands[:count]), **eqn.params)
    plain = plain_jit(jaxpr_as_fun(plain_program(eqn)))(*operands)
    made = eqn.primitive.bind(*map(jnp.asarray, operands), **eqn.params)
    assert_close(made if eqn.primitive.multiple_results else [made], plain)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["jaxnn_conv_forward", "jaxnn_conv_kernel_gradient"])
def test_a_convolution_has_as_many_terms_as_its_plain_program(name, groups):
    """The input gradient has fewer: its plain program pads y, and products with padding count."""
    s = STRIDED._replace(groups=groups)
    kernel = rng_array(3, 4 // groups, 4)
    passes = {
        "jaxnn_conv_forward": lambda x: convolution.forward(x, kernel, s, x.dtype),
        "jaxnn_conv_kernel_gradient": lambda x: convolution.kernel_gradient(x, Y, s, x.dtype),
    }
    eqn = equation(name, passes[name])
    assert given_flops(eqn) == count_flops(plain_program(eqn))


def test_a_named_implementation_means_the_same():
    s = STRIDED._replace(groups=1, implementation="canonical")
    kernel = rng_array(3, 4, 4)
    (call,) = plain_program(
        equation("jaxnn_conv_forward", lambda x: convolution.forward(x, kernel, s, x.dtype))
    ).eqns
    assert call.primitive.name == "conv_general_dilated"


def test_explicitly_sharded_operands_can_be_followed():
    mesh = jax.make_mesh(
        (2,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,), devices=jax.devices()[:2]
    )

    def function(x):
        x = convolution.forward(x, KERNEL, STRIDED, x.dtype)
        return materialized(broadcast(sum_over(x, (2,)), (2,), x))

    plain = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    sharding = jax.NamedSharding(mesh, jax.P("d"))
    with jax.set_mesh(mesh):
        sharded = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(SHAPE, jnp.float32, sharding=sharding))
        inside = [count_flops(sharded), run(sharded, [input_field(SHAPE)])]
    for flops, (field,) in (inside, [count_flops(sharded), run(sharded, [input_field(SHAPE)])]):
        assert flops == count_flops(plain)
        (expected,) = run(plain, [input_field(SHAPE)])
        jax.tree.map(np.testing.assert_array_equal, field, expected)
