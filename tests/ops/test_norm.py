from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnn.kernels.explain import operations
from jaxnn.ops import norm
from jaxnn.ops.standardize import feature_statistics, standardize
from tests.derivatives import check_derivatives
from tests.reference import norm as reference
from tests.support import assert_close, deep, known_answers, plain_jit, rng_array

SHAPES = [(4, 6), (3, 4, 6), (2, 3, 2, 6), (2, 2, 3, 2, 6)]
EPSILONS = [1e-5, 1e-3, 0.5]
pytestmark = pytest.mark.usefixtures("x64")


def affine(*sizes, wanted=(True, True)):
    """A scale and a bias, those that are wanted, and the same as the reference takes them."""
    drawn = rng_array(*sizes, seed=1, dtype=np.float64), rng_array(*sizes, seed=2, dtype=np.float64)
    plain = np.ones(sizes), np.zeros(sizes)
    given = [array if want else None for array, want in zip(drawn, wanted, strict=True)]
    meant = [array if want else none for array, none, want in zip(drawn, plain, wanted, strict=True)]
    return given, meant


def probe(array):
    return np.sin(np.arange(array.size) + 1.0).reshape(array.shape)


def gradients_by_differences(function, x, step=1e-5):
    """Of Σ function(x) · probe, by central differences."""
    gradient = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (function(m) for m in moved)
        gradient[place] = ((up - down) * probe(up)).sum() / (2 * step)
    return gradient


def with_gradients(op, *arguments):
    """The output, and the gradients of its sum weighed by ``probe``, as one program."""

    @jax.jit
    def both(cotangent, *arguments):
        y, pull = jax.vjp(op, *arguments)
        return y, pull(cotangent)

    spec = jax.eval_shape(op, *arguments)
    return both(probe(spec).astype(spec.dtype), *arguments)


def check(op, slow, x):
    """Value and gradient of ``op`` are those of the reference."""
    y, (gradient,) = with_gradients(op, x)
    assert_close(y, slow(x))
    np.testing.assert_allclose(gradient, gradients_by_differences(slow, x), atol=1e-6)


settings = {
    "x": st.sampled_from(SHAPES),
    "wanted": st.tuples(st.booleans(), st.booleans()),
    "epsilon": st.sampled_from(EPSILONS),
}


@given(**settings, offset=st.sampled_from([0.0, 1e3]))
def test_batch_norm_in_training(x, wanted, epsilon, offset):
    x = rng_array(*x, dtype=np.float64) + offset
    given, meant = affine(x.shape[-1], wanted=wanted)
    y, mean, var, count = jax.jit(partial(norm.batch_norm_train, epsilon=epsilon))(x, *given)
    assert_close((y, mean, var), reference.batch_norm_train(x, *meant, epsilon), scale=1 + offset)
    assert count == x.size // x.shape[-1]


@pytest.mark.parametrize("shape", [(4, 2), (2, 3, 2)])
def test_gradient_of_batch_norm_in_training(shape):
    given, meant = affine(2)
    check(
        lambda x: norm.batch_norm_train(x, *given, epsilon=1e-3)[0],
        lambda x: reference.batch_norm_train(x, *meant, 1e-3)[0],
        rng_array(*shape, dtype=np.float64),
    )


@given(**settings)
def test_batch_norm_by_given_statistics(x, wanted, epsilon):
    x = rng_array(*x, dtype=np.float64)
    given, meant = affine(x.shape[-1], wanted=wanted)
    mean, var = rng_array(6, seed=3, dtype=np.float64), rng_array(6, seed=4, dtype=np.float64) ** 2
    y = jax.jit(partial(norm.batch_norm, epsilon=epsilon))(x, mean, var, *given)
    assert_close(y, reference.batch_norm(x, mean, var, *meant, epsilon))


@given(**settings, data=st.data())
def test_layer_norm(x, wanted, epsilon, data):
    axes = data.draw(st.sampled_from([a for k in (1, 2) for a in combinations(range(len(x)), k)]))
    flip = data.draw(st.booleans())
    x = rng_array(*x, dtype=np.float64)
    given, meant = affine(*(x.shape[axis] for axis in axes), wanted=wanted)
    written = [axis - x.ndim for axis in reversed(axes)] if flip else axes
    y = jax.jit(partial(norm.layer_norm, axes=written, epsilon=epsilon))(x, *given)
    assert_close(y, reference.layer_norm(x, *meant, axes, epsilon))


@given(**settings, data=st.data())
def test_rms_norm(x, wanted, epsilon, data):
    axes = data.draw(st.sampled_from([a for k in (1, 2) for a in combinations(range(len(x)), k)]))
    x = rng_array(*x, dtype=np.float64)
    given, meant = affine(*(x.shape[axis] for axis in axes), wanted=wanted)
    y = jax.jit(partial(norm.rms_norm, axes=axes, epsilon=epsilon))(x, given[0])
    assert_close(y, reference.rms_norm(x, meant[0], axes, epsilon))


@given(**settings, groups=st.sampled_from([1, 2, 3]))
def test_group_norm(x, wanted, epsilon, groups):
    x = rng_array(*x, dtype=np.float64)
    given, meant = affine(6, wanted=wanted)
    y = jax.jit(lambda x, *given: norm.group_norm(x, groups, *given, epsilon=epsilon))(x, *given)
    assert_close(y, reference.group_norm(x, groups, *meant, epsilon))


@given(**settings | {"x": st.sampled_from(SHAPES[1:])})
def test_instance_norm(x, wanted, epsilon):
    x = rng_array(*x, dtype=np.float64)
    given, meant = affine(6, wanted=wanted)
    y = jax.jit(partial(norm.instance_norm, epsilon=epsilon))(x, *given)
    assert_close(y, reference.instance_norm(x, *meant, epsilon))


def test_gradients_within_an_example():
    given, meant = affine(4)
    x = rng_array(2, 3, 4, dtype=np.float64)
    check(lambda x: norm.layer_norm(x, *given), lambda x: reference.layer_norm(x, *meant, (2,), 1e-5), x)
    check(lambda x: norm.rms_norm(x, given[0]), lambda x: reference.rms_norm(x, meant[0], (2,), 1e-5), x)
    check(lambda x: norm.group_norm(x, 2, *given), lambda x: reference.group_norm(x, 2, *meant, 1e-5), x)
    check(lambda x: norm.instance_norm(x, *given), lambda x: reference.instance_norm(x, *meant, 1e-5), x)


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_of_many_channels(groups):
    """Their channels are summed together with the positions, in small arrays."""
    given, meant = affine(16)
    x = rng_array(2, 3, 16, dtype=np.float64)

    def op(x):
        return norm.group_norm(x, groups, *given)

    check(op, lambda x: reference.group_norm(x, groups, *meant, 1e-5), x)
    check_derivatives(op, [x])
    far = (1e4 + 0.01 * rng_array(8, 5, 5, 16, dtype=np.float64)).astype(np.float32)
    exact = reference.group_norm(far.astype(np.float64), groups, np.ones(16), np.zeros(16), 1e-12)
    np.testing.assert_allclose(norm.group_norm(far, groups, epsilon=1e-12), exact, atol=1e-3, rtol=0)
    stacked = np.stack([x, 2 - x])
    gradient = jax.grad(lambda x: jnp.sum(op(x) * probe(x)))
    assert_close(jax.vmap(gradient)(stacked), np.stack([gradient(stacked[0]), gradient(stacked[1])]))


def test_a_group_norm_of_one_group_is_a_layer_norm_and_of_all_an_instance_norm():
    x = rng_array(2, 3, 4, 6, dtype=np.float64)
    assert_close(norm.group_norm(x, 1), norm.layer_norm(x, axes=(1, 2, 3)))
    assert_close(norm.group_norm(x, 6), norm.instance_norm(x))


# Exactness.

FAR = {  # of x (64, 16, 2): the op, the axes it normalises over
    "batch_norm": (lambda x: norm.batch_norm_train(x, epsilon=1e-12)[0], (0, 1)),
    "layer_norm": (partial(norm.layer_norm, axes=(1, 2), epsilon=1e-12), (1, 2)),
    "group_norm": (partial(norm.group_norm, groups=2, epsilon=1e-12), (1,)),
    "instance_norm": (partial(norm.instance_norm, epsilon=1e-12), (1,)),
}


@pytest.mark.parametrize("jit", [pytest.param(False, marks=pytest.mark.deep), True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", FAR)
def test_mean_1e4_and_deviation_001_are_right_to_a_thousandth(name, jit):
    op, axes = FAR[name]
    x = (1e4 + 0.01 * rng_array(64, 16, 2, dtype=np.float64)).astype(np.float32)
    y = (jax.jit(op) if jit else op)(x)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + 1e-12)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("value", [deep(0.0), 1e4])
@pytest.mark.parametrize("rows", [(4096,), deep((16, 300)), (100,)])
def test_many_far_rows_are_right_to_a_thousandth(rows, value):
    x = (value + 0.01 * rng_array(*rows, 40, dtype=np.float64)).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-12)
    y = jax.jit(partial(norm.layer_norm, epsilon=1e-12))(x)
    assert_close(y, exact, terms=40)


@pytest.mark.parametrize("form", ["checked", "chained", "lax", "shifted"])
def test_a_row_far_from_0_leaves_the_others_as_they_are(form):
    near = rng_array(6, 300)
    op = jax.jit(partial(norm.layer_norm, epsilon=1e-12, implementation=form))
    for far in (1e4 + 0.01 * near[2], 30 + near[2], np.float32(np.nan), np.float32(np.inf)):
        x = near.copy()
        x[2] = far
        y = np.asarray(op(x))
        np.testing.assert_array_equal(np.delete(y, 2, 0), np.delete(op(near), 2, 0))
        expected = np.float64(np.nan)
        if np.isfinite(x).all():
            row = x[2:3].astype(np.float64)
            expected = reference.layer_norm(row, np.ones(300), np.zeros(300), (1,), 1e-12)
        np.testing.assert_allclose(y[2:3], expected, atol=1e-5, rtol=0)


def compiled_where_right(shape, value):
    """The compiled layer norm of rows around ``value``, after its result was compared, and these rows."""
    x = (value + rng_array(*shape, dtype=np.float64)).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-12)
    op = jax.jit(partial(norm.layer_norm, epsilon=1e-12))
    assert_close(op(x), exact, terms=shape[-1])
    return op.lower(x).compile(), x


@pytest.mark.parametrize("value", [0.0, 1e4, -1e6])
@pytest.mark.parametrize("shape", [(1, 256), (5, 250), (1, 1, 1024), (3, 37)])
def test_few_rows_are_right_however_far(shape, value):
    text = compiled_where_right(shape, value)[0].as_text()
    assert "conditional(" not in text
    assert "reduce-window(" not in text


@pytest.mark.parametrize("value", [0.0, 1e4, -1e6])
@pytest.mark.parametrize("shape", [(64, 200), (25, 197), deep((300, 131)), deep((128, 64))])
def test_rows_that_are_summed_by_slices_are_right_however_far(shape, value):
    compiled, x = compiled_where_right(shape, value)
    assert "conditional(" not in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 2


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4, -123.456])
def test_many_equal_rows_give_the_bias(value):
    x = jnp.full((4096, 37), value, jnp.float32)
    y = jax.jit(norm.layer_norm)(x, jnp.ones(37, jnp.float32), jnp.full(37, 2, jnp.float32))
    assert_close(y, np.full(x.shape, 2.0))


def test_a_norm_of_many_rows_writes_no_array_of_its_size_but_the_result():
    x, scale = jnp.ones((8192, 64), jnp.float32), jnp.ones(64, jnp.float32)
    compiled = jax.jit(norm.layer_norm).lower(x, scale, scale).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 2


def test_a_gradient_sums_x_twice_for_its_moments_and_twice_in_reverse():
    x, scale, bias = jnp.ones((8, 4, 4, 3)), jnp.ones(3), jnp.ones(3)

    def loss(*operands):
        y, mean, var, _ = norm.batch_norm_train(*operands)
        return jnp.sum(jnp.square(y)), (mean, var)

    program = jax.make_jaxpr(jax.grad(loss, (0, 1, 2), has_aux=True))(x, scale, bias)
    names = [eqn.primitive.name for eqn in operations(program.jaxpr) if eqn.invars[0].aval.shape == x.shape]
    assert names.count("jaxnn_sum") == 4


def test_a_group_norm_of_few_values_repeats_no_sums_in_memory():
    operands = jnp.ones((4, 4, 4, 24)), jnp.ones(24), jnp.ones(24)

    def both(*operands):
        y, pull = jax.vjp(lambda *operands: norm.group_norm(operands[0], 4, *operands[1:]), *operands)
        return pull(y)

    program = jax.jit(both).lower(*operands).compile().as_text()
    # x and the cotangent, forward and backward, are all that is materialized.
    assert program[program.index("ENTRY") :].count(" call(") <= 3


def test_the_statistics_of_a_far_batch_are_right_to_a_thousandth():
    x = (1e4 + 0.01 * rng_array(512, 3, dtype=np.float64)).astype(np.float32)
    _, mean, var, _ = norm.batch_norm_train(x)
    exact = x.astype(np.float64)
    assert_close(mean, exact.mean(0), terms=0, roundings=1)
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-3)


def test_the_gradient_of_a_far_batch_is_right():
    x = (1e4 + 0.01 * rng_array(64, 2, dtype=np.float64)).astype(np.float32)

    def loss(x):
        return jnp.sum(norm.batch_norm_train(x, epsilon=1e-6)[0] * jnp.asarray(probe(x), x.dtype))

    gradient = jax.jit(jax.grad(loss))
    exact = np.asarray(gradient(x.astype(np.float64)))
    np.testing.assert_allclose(gradient(x), exact, rtol=1e-3, atol=1e-3 * np.abs(exact).max())


def test_statistics_are_right_where_the_first_rows_are_nothing_like_the_rest():
    """x is shifted by the mean of some rows before its moments are taken."""
    x = rng_array(8, 40, 6, 3)
    x[:, :5] = 1e4
    _, mean, var, _ = norm.batch_norm_train(x)
    exact = x.astype(np.float64)
    assert_close((mean, var), (exact.mean((0, 1, 2)), exact.var((0, 1, 2))), terms=8 * 40 * 6)


def test_a_far_first_value_costs_the_others_no_digits():
    """x is shifted by it before the mean is taken."""
    x = rng_array(3, 50, 4)
    x[:, 0] = 1e6
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    y = np.asarray(norm.layer_norm(x, axes=1), np.float64)
    assert_close(y, exact, terms=50, dtype=np.float32)
    np.testing.assert_allclose(y[:, 1:] - y[:, 1:2], exact[:, 1:] - exact[:, 1:2], atol=4e-9 * exact.max())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4, -123.456])
def test_equal_values_give_the_bias_and_no_nan(value):
    x = jnp.full((33, 7, 3), value, jnp.float32)
    bias = jnp.array([1.0, 2.0, 3.0], jnp.float32)
    for op in (lambda *a: norm.batch_norm_train(*a)[0], norm.instance_norm):
        total = lambda x: (jnp.sum(y := op(x, None, bias)), y)  # noqa: B023, E731
        gradient, y = jax.jit(jax.grad(total, has_aux=True))(x)
        assert_close(y, np.broadcast_to(bias, x.shape))
        assert np.isfinite(gradient).all()


def test_float16_keeps_its_statistics_in_float32():
    """Squares beyond 65,504 and a sum of 30,000 values do not fit into float16."""
    x = (300 + 50 * rng_array(30_000, 2, dtype=np.float64)).astype(np.float16)
    y, mean, var, _ = norm.batch_norm_train(x)
    exact = x.astype(np.float64)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.float16, jnp.float32, jnp.float32)
    assert_close((mean, var), (exact.mean(0), exact.var(0)), terms=30_000)
    assert_close(y, (exact - exact.mean(0)) / exact.std(0), terms=30_000)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scale_and_bias_may_be_float32_while_x_is_narrow(dtype):
    x = jnp.asarray(rng_array(4, 6), dtype)
    scale, bias = (jnp.asarray(rng_array(6, seed=seed)) for seed in (1, 2))
    for y in (
        norm.layer_norm(x, scale, bias),
        norm.group_norm(x, 2, scale, bias),
        norm.batch_norm_train(x, scale, bias)[0],
    ):
        assert y.dtype == jnp.dtype(dtype)


def test_epsilon_stands_inside_the_root_and_is_1e_5():
    x = jnp.array([[0.001], [-0.001]], jnp.float32)
    expected = 0.001 / np.sqrt(1e-6 + 1e-5)
    assert_close(norm.batch_norm_train(x)[0][0, 0], expected)
    mean, var = jnp.zeros(1, jnp.float32), jnp.full(1, 1e-6, jnp.float32)
    assert_close(norm.batch_norm(x, mean, var)[0, 0], expected)
    row = x.T
    assert_close(norm.layer_norm(row)[0, 0], expected)
    assert_close(norm.rms_norm(row)[0, 0], expected)
    assert_close(norm.instance_norm(x[None])[0, 0, 0], expected)
    assert_close(norm.group_norm(row, 1)[0, 0], expected)


# Several devices.


def test_axis_name_under_vmap_gives_the_statistics_of_all():
    x = 100 + rng_array(4, 3, 5, 2)

    def op(x):
        return norm.batch_norm_train(x, axis_name="parts")

    y, mean, var, count = jax.vmap(op, axis_name="parts", out_axes=(0, None, None, None))(x)
    whole = norm.batch_norm_train(x.reshape(12, 5, 2))
    assert_close((y.reshape(12, 5, 2), mean, var), whole[:3])
    assert count == whole[3] == 60


def test_axis_name_under_shard_map_gives_the_statistics_and_gradients_of_all():
    x = jnp.asarray(100 + rng_array(16, 3, 2))
    scale, bias = jnp.asarray(rng_array(2, seed=1)), jnp.asarray(rng_array(2, seed=2))
    weights = jnp.asarray(probe(x), x.dtype)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(x, scale, bias, weights, axis_name=None):
        y, mean, var, count = norm.batch_norm_train(x, scale, bias, axis_name=axis_name)
        total = jnp.sum(y * weights)
        return (total if axis_name is None else jax.lax.psum(total, axis_name)), (y, mean, var, count)

    split, whole = jax.P("batch"), jax.P()

    def part(*args):
        value, (y, mean, var, _) = loss(*args, axis_name="batch")
        return [value, y, mean, var]

    sharded = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(split, whole, whole, split),
        out_specs=[whole, split, whole, whole],
    )
    value, (y, mean, var, _) = plain_jit(loss)(x, scale, bias, weights)
    assert_close(jax.jit(sharded)(x, scale, bias, weights), [value, y, mean, var], scale=100)
    grads = jax.jit(jax.grad(lambda *args: sharded(*args)[0], argnums=(0, 1, 2)))(x, scale, bias, weights)
    expected = plain_jit(jax.grad(lambda *args: loss(*args)[0], argnums=(0, 1, 2)))(x, scale, bias, weights)
    assert_close(grads, expected, scale=100)


def test_one_value_a_device_is_enough_with_axis_name():
    x = rng_array(4, 1, 2)
    y = jax.vmap(lambda x: norm.batch_norm_train(x, axis_name="parts")[0], axis_name="parts")(x)
    assert_close(y[:, 0], norm.batch_norm_train(x[:, 0])[0])


# What torch gives.


def against_torch(case, op, *arguments):
    answers = known_answers("norm")
    x, *rest = (jnp.asarray(answers[f"{case}/{name}"]) for name in ("x", *arguments))
    y, gradients = with_gradients(op, x, *rest)
    assert_close(y, answers[f"{case}/y"])
    names = [f"{case}/grad/{name}" for name in ("x", *arguments)]
    for name, gradient in zip(names, gradients, strict=True):
        if name in answers:
            assert_close(gradient, answers[name])


def test_batch_norm_is_that_of_torch():
    answers = known_answers("norm")
    for rank in range(4):
        case = f"batch_norm/train/{rank}"
        against_torch(
            case, lambda *a: norm.batch_norm_train(*a, epsilon=answers["epsilon"])[0], "scale", "bias"
        )
        case = f"batch_norm/eval/{rank}"
        against_torch(
            case,
            partial(norm.batch_norm, epsilon=answers["epsilon"]),
            "mean",
            "var",
            "scale",
            "bias",
        )


@pytest.mark.parametrize("rank", range(4))
def test_group_norm_is_that_of_torch(rank):
    op = partial(norm.group_norm, epsilon=known_answers("norm")["epsilon"])
    against_torch(f"group_norm/{rank}", lambda x, *a: op(x, 3, *a), "scale", "bias")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_instance_norm_is_that_of_torch(rank):
    op = partial(norm.instance_norm, epsilon=known_answers("norm")["epsilon"])
    against_torch(f"instance_norm/{rank}", op, "scale", "bias")


def test_layer_and_rms_norm_are_those_of_torch():
    epsilon = known_answers("norm")["epsilon"]
    against_torch("layer_norm", partial(norm.layer_norm, epsilon=epsilon), "scale", "bias")
    against_torch("rms_norm", partial(norm.rms_norm, epsilon=epsilon), "scale")


# Standardising.


def test_feature_statistics_of_each_feature_and_of_each_channel():
    x = 5 + 3 * rng_array(7, 4, 2, dtype=np.float64)
    assert_close(feature_statistics(x), (x.mean(0), x.std(0)))
    assert_close(
        feature_statistics(x, (0, 1)), (x.mean((0, 1), keepdims=True)[0], x.std((0, 1), keepdims=True)[0])
    )


def test_standardized_data_has_mean_0_and_deviation_1():
    x = 1e4 + 3 * rng_array(50, 4, 2)
    y = standardize(x, *feature_statistics(x, (0, 1)))
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1)), 1, rtol=1e-3)


@pytest.mark.parametrize("value", [0.1, 1e4, -7.3])
def test_a_constant_feature_standardizes_to_0(value):
    x = jnp.full((33, 2), value, jnp.float32)
    mean, deviation = feature_statistics(x)
    assert np.array_equal(deviation, [0, 0])
    assert np.array_equal(standardize(x, mean, deviation), np.zeros((33, 2)))


# Bad input.

x = jnp.ones((2, 4, 6), jnp.float32)
six, five = jnp.ones(6, jnp.float32), jnp.ones(5, jnp.float32)

BAD = {
    "one value": (
        lambda: norm.batch_norm_train(x[:1, :1]),
        ValueError,
        r"^batch_norm: training needs at least two values per channel, got 1 from x of shape \(1, 1, 6\)",
    ),
    "no value": (
        lambda: norm.batch_norm_train(x[:0]),
        ValueError,
        r"^batch_norm: training needs at least two values per channel, got 0",
    ),
    "one value in all": (
        lambda: jax.vmap(lambda x: norm.batch_norm_train(x, axis_name="parts"), axis_name="parts")(x[:1, :1]),
        ValueError,
        r"^batch_norm: training needs at least two values per channel, got 1",
    ),
    "rank": (
        lambda: norm.batch_norm(six, six, six),
        ValueError,
        r"^batch_norm: x must be \(N, \*space, C\), with at least 2 axes, got shape \(6,\)",
    ),
    "integers": (
        lambda: norm.layer_norm(x.astype(jnp.int32)),
        TypeError,
        r"^layer_norm: x must be floating-point, got int32; cast it first",
    ),
    "mean of another size": (
        lambda: norm.batch_norm(x, five, six),
        ValueError,
        r"^batch_norm: mean must have shape \(6,\) for x \(2, 4, 6\), got shape \(5,\)",
    ),
    "scale of another size": (
        lambda: norm.rms_norm(x, five),
        ValueError,
        r"^rms_norm: scale must have shape \(6,\) for x \(2, 4, 6\), got shape \(5,\)",
    ),
    "bias of another rank": (
        lambda: norm.layer_norm(x, None, six, axes=(1, 2)),
        ValueError,
        r"^layer_norm: bias must have shape \(4, 6\) for x \(2, 4, 6\), got shape \(6,\)",
    ),
    "narrow scale": (
        lambda: norm.layer_norm(x, six.astype(jnp.bfloat16)),
        TypeError,
        r"^layer_norm: scale must be float32, as x is, got bfloat16; cast one of them",
    ),
    "wide scale": (
        lambda: norm.layer_norm(x.astype(jnp.float16), six.astype(jnp.float64)),
        TypeError,
        r"^layer_norm: scale must be float16, as x is, or float32, which it is computed in, got float64",
    ),
    "groups": (
        lambda: norm.group_norm(x, 4),
        ValueError,
        r"^group_norm: groups must be at least 1 and divide the 6 channels, got 4",
    ),
    "no groups": (lambda: norm.group_norm(x, 0), ValueError, r"^group_norm: groups must be .*, got 0"),
    "one value in a group": (
        lambda: norm.group_norm(x[:, 0], 6),
        ValueError,
        r"^group_norm: x must hold at least two values to normalise over, got 1",
    ),
    "one position": (
        lambda: norm.instance_norm(x[:, :1]),
        ValueError,
        r"^instance_norm: x must hold at least two values to normalise over, got 1",
    ),
    "no space": (
        lambda: norm.instance_norm(x[:, 0]),
        ValueError,
        r"^instance_norm: x must be \(N, \*space, C\) with at least one spatial axis, got shape \(2, 6\)",
    ),
    "one feature": (
        lambda: norm.layer_norm(x[..., :1]),
        ValueError,
        r"^layer_norm: x must hold at least two values to normalise over, got 1",
    ),
    "axis": (
        lambda: norm.layer_norm(x, axes=3),
        ValueError,
        r"^layer_norm: axes must be among the axes of x \(2, 4, 6\), got 3",
    ),
    "axis twice": (
        lambda: norm.rms_norm(x, axes=(2, -1)),
        ValueError,
        r"^rms_norm: axes must be different from each other, got \(2, -1\)",
    ),
    "epsilon": (
        lambda: norm.instance_norm(x, epsilon=0),
        ValueError,
        r"^instance_norm: epsilon must be positive, got 0",
    ),
    "no data": (
        lambda: feature_statistics(x[:0]),
        ValueError,
        r"^feature_statistics: x must hold at least one value per feature, got shape \(0, 4, 6\)",
    ),
    "without the batch axis": (
        lambda: feature_statistics(x, 1),
        ValueError,
        r"^feature_statistics: axes must hold the batch axis, axis 0, got 1",
    ),
    "mean that does not fit": (
        lambda: standardize(x, five, six),
        ValueError,
        r"^standardize: mean must fit the last axes of x \(2, 4, 6\), got shape \(5,\)",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_gets_a_sentence(bad):
    call, error, sentence = BAD[bad]
    with pytest.raises(error, match=sentence):
        call()


def test_an_axis_name_that_nothing_maps():
    sentence = "batch_norm: axis_name must be the name, or a tuple of names, of axes of .*, got 'rows'"
    for call in (norm.batch_norm_train, jax.jit(norm.batch_norm_train, static_argnames="axis_name")):
        with pytest.raises(ValueError, match=sentence):
            call(jnp.ones((2, 3)), axis_name="rows")
