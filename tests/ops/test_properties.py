"""Every op is: differentiable twice, vmap-able, shardable, exportable, the same jitted as eager."""

from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.collectives import check_only_sums
from tests.derivatives import check_derivatives
from tests.ops.case import Case
from tests.support import assert_close, deep, plain_jit, rng_array

FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
CASES = [case for family in FAMILIES for case in import_module(f"tests.ops.{family}").CASES]

#: One or two of each family, in their commonest settings: what runs by default.
FEW = {
    "activation-gelu", "activation-step", "prelu-channels", "softmax", "attention", "conv-2d-same-strided",
    "conv-2d-grouped-dilated", "conv-transpose-2d-same", "dense", "layer-norm", "batch-norm-train-1d",
    "max-pool-overlapping", "avg-pool-overlapping", "rotary", "lstm", "resize-linear", "resize-nearest",
    "pixel-shuffle",
}  # fmt: skip


def few(cases):
    """A mark that runs a test for each of ``FEW``, and in ``make test-deep`` for the other cases.

    By scope, all tests of one case come after one another, and share what is compiled.
    """
    chosen = [case if case.name in FEW else deep(case) for case in cases]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name, scope="module")


few_cases, few_large = few(CASES), few([case for case in CASES if case.large])


def arrays(case: Case, shapes=None, dtype=np.float32, seed: int = 0):
    """An array for each shape, the ``positive`` ones around 1."""
    made = [
        rng_array(*shape, seed=seed + i, dtype=np.float64) for i, shape in enumerate(shapes or case.shapes)
    ]
    return [jnp.asarray(np.abs(a) + 0.5 if i in case.positive else a, dtype) for i, a in enumerate(made)]


def batched(case: Case, n: int):
    """The case's shapes with n rows in ``x``."""
    return [(n, *case.shapes[0][1:]), *case.shapes[1:]]


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 20
    assert set(names) >= FEW


@few_cases
def test_gradients(case, x64):
    args = arrays(case, dtype=np.float64)
    if not case.smooth:
        _, pull = jax.vjp(case.op, *args)
        grads = pull(jax.tree.map(jnp.ones_like, case.op(*args)))
        assert all((np.asarray(g) == 0).all() for g in grads)
        return
    check_derivatives(case.op, args, order=2 if case.second_order else 1, forward_mode=case.forward_mode)


@few_cases
def test_jit_equals_eager(case):
    """The eager call gets NumPy arrays."""
    args = arrays(case)
    assert_close(jax.jit(case.op)(*args), case.op(*map(np.asarray, args)))


@pytest.mark.deep
@few_large
def test_jit_equals_eager_at_large_sizes(case):
    args = arrays(case, case.large)
    assert_close(jax.jit(case.op)(*args), case.op(*map(np.asarray, args)))


@few_large
def test_large_agrees_with_float64(case):
    args = arrays(case, case.large)
    single = jax.jit(case.op)(*args)
    with jax.enable_x64(True):
        double = plain_jit(case.op)(*(jnp.asarray(np.asarray(a), jnp.float64) for a in args))
    assert_close(single, jax.tree.map(lambda a, b: np.asarray(a, b.dtype), double, single), terms=10_000)


@few_cases
def test_vmap_equals_loop(case):
    """Over x, over the weights, over both."""
    n = len(case.shapes)
    stacks = [np.stack(pair) for pair in zip(arrays(case), arrays(case, seed=100), strict=True)]
    patterns = {(0, *[None] * (n - 1)), (None, *[0] * (n - 1)), (0,) * n} - {(None,) * n}
    for axes in patterns:
        args = [stack if axis == 0 else stack[0] for stack, axis in zip(stacks, axes, strict=True)]
        mapped = jax.device_get(jax.jit(jax.vmap(case.op, in_axes=axes))(*args))
        for i in range(2):
            single = jax.jit(case.op)(*(a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)))
            assert_close(jax.tree.map(lambda leaf: leaf[i], mapped), single)  # noqa: B023


@few_cases
@pytest.mark.parametrize("dtype", ["bfloat16", deep("float16"), deep("float64")])
def test_dtypes(case, dtype):
    """The output has the input's dtype, and the values of the same computation in float64."""
    with jax.enable_x64(True):
        args = arrays(case, dtype=jnp.dtype(dtype))
        outputs, grads = jax.jit(both(case))(*args)
        exact = plain_jit(case.op)(*(np.asarray(a, np.float64) for a in args))
        assert jax.tree.leaves(outputs)[0].dtype == jnp.dtype(dtype)
        assert_close(outputs, exact, dtype=dtype, roundings=8)
        assert all(
            g.dtype == jnp.dtype(dtype) and np.isfinite(np.asarray(g, np.float64)).all() for g in grads
        )


@few([c for c in CASES if c.rows])
def test_rows_on_their_own(case):
    """Eval on a batch equals eval on its rows, and an empty batch gives an empty result."""
    x, *rest = arrays(case, batched(case, 3))
    single = jax.jit(case.op)
    x = np.asarray(x)
    whole = jax.device_get(single(x, *rest))
    for i in range(3):
        one = single(x[i : i + 1], *rest)
        assert_close(jax.tree.map(lambda leaf: leaf[i : i + 1], whole), one)  # noqa: B023
    empty = single(x[:0], *rest)
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(empty))


def mesh(explicit: bool):
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    return jax.make_mesh((8,), ("batch",), axis_types=(kind,))


@few_cases
@pytest.mark.parametrize(
    "explicit", [pytest.param(False, marks=pytest.mark.deep), True], ids=["auto", "explicit"]
)
def test_sharded_equals_unsharded(case, explicit):
    """The batch over 8 devices, forward and backward: no activation is sent between them."""
    x, *rest = arrays(case, batched(case, 8))
    expected = plain_jit(both(case))(x, *rest)
    devices = mesh(explicit)
    with jax.set_mesh(devices):
        sharded = jax.device_put(x, jax.NamedSharding(devices, jax.P("batch")))
        whole = [jax.device_put(a, jax.NamedSharding(devices, jax.P())) for a in rest]
        program = jax.jit(both(case)).lower(sharded, *whole).compile()
        check_only_sums(program, rest, x.shape[-1])
        assert_close(jax.device_get(program(sharded, *whole)), jax.device_get(expected))


@few_cases
def test_exports_with_a_symbolic_batch(case):
    n = jax.export.symbolic_shape("n", constraints=["n >= 2"])[0]
    x, *rest = arrays(case, batched(case, 3))
    specs = [
        jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype),
        *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in rest),
    ]
    exported = jax.export.export(jax.jit(case.op))(*specs)
    assert_close(exported.call(x, *rest), jax.jit(case.op)(x, *rest))


def both(case: Case):
    """The outputs, and the gradients where there are any."""

    def outputs_and_gradients(*args):
        argnums = tuple(range(len(args))) if case.smooth else ()
        return case.op(*args), jax.grad(total(case), argnums)(*args) if argnums else ()

    return outputs_and_gradients


def total(case: Case):
    """A scalar to differentiate: the sum of the squares of the first output."""
    return lambda *args: jnp.sum(jnp.square(jax.tree.leaves(case.op(*args))[0]))
