"""Forms that are written at once become the program that JAX makes of them by tracing."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

import jaxnn.kernels.lowering.primitive as primitive
from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.lowering.emission import emit
from jaxnn.kernels.lowering.places import split
from tests.kernels.test_convolution import CHOSEN, operands
from tests.kernels.test_forms import EVERY_FORM, named, value_and_gradients
from tests.kernels.test_forms import operands as arrays_of
from tests.support import deep, on_cpu, plain_jit, rng_array

#: Lines that say nothing of an operation; values that a loop reads from outside need not be carried.
STRUCTURE = re.compile(r"^\s*(module|func|return|\}|stablehlo\.return|cond|do|%\S* = stablehlo\.while|$)")


def operations(program: str) -> set[str]:
    """The operations of a program, without the names of values; a function may be called more than once."""
    lines = (re.sub(r"%[\w:#]+|@\w+", "", line).strip() for line in program.splitlines())
    kept = (line for line in lines if not STRUCTURE.match(line) and "stablehlo.while" not in line)
    return {line for line in kept if "call " not in line and not line.startswith(") :")}


def lowered(function, args):
    return plain_jit(lambda *args: function(*args)).lower(*args)


def check(written, traced, args, *, alike=True):
    """The same values to the bit, and the same operations if they are ``alike``."""
    if alike:
        assert operations(written.as_text()) == operations(traced.as_text())
    for ours, theirs in zip(*(jax.tree.leaves(of.compile()(*args)) for of in (written, traced)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def check_forms(function, args, monkeypatch):
    written = lowered(function, args)
    monkeypatch.setattr(primitive, "can_emit", lambda context: False)
    check(written, lowered(function, args), args)


@on_cpu
@pytest.mark.parametrize(("which", "form"), [(which, form) for which in CHOSEN for form in CHOSEN[which]])
def test_convolutions(which, form, monkeypatch):
    s, c_in, c_out, n = CHOSEN[which][form]
    args = operands(s, c_in, c_out, n)[which]
    check_forms(partial(getattr(convolution, which), settings=s, dtype=jnp.float32), args, monkeypatch)


@pytest.mark.parametrize(
    ("entry", "form"),
    [deep(e, form) for e, form in EVERY_FORM],
    ids=lambda given: getattr(given, "name", given),
)
def test_others(entry, form, monkeypatch):
    check_forms(partial(value_and_gradients, named(entry, form)), arrays_of(entry), monkeypatch)


def test_half_precision_and_a_precision(monkeypatch):
    s, c_in, c_out, n = CHOSEN["forward"]["blocked"]
    args = [a.astype(jnp.bfloat16) for a in operands(s, c_in, c_out, n)["forward"]]
    precise = s._replace(precision="highest")
    check_forms(partial(convolution.forward, settings=precise, dtype=jnp.bfloat16), args, monkeypatch)


OPERATIONS = {
    "binary": lambda x, y: (x + y, x - y, x * y, x / y, lax.max(x, y), lax.min(x, y)),
    "of one": lambda x, y: [f(abs(x)) for f in (lax.neg, lax.exp, lax.log, lax.tanh, lax.sqrt, lax.rsqrt)],
    "compared": lambda x, y: [f(x, y) for f in (lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge)],
    "truths": lambda x, y: ((x > y) & (x > 0)) | ~(y > x),
    "whole numbers": lambda x, y: (x.astype(jnp.int8) < y.astype(jnp.int8), x.astype(jnp.uint8) * 3),
    "select": lambda x, y: lax.select(x > y, x, y),
    "scalars": lambda x, y: 2.0 * x + 1,
    "convert": lambda x, y: (x.astype(jnp.bfloat16), (x > y).astype(jnp.float32), x.astype(bool)),
    "many side by side": lambda x, y: lax.concatenate([x, y] * 11, 1),
    "padding": lambda x, y: lax.pad(x, np.float32(1), [(1, -1, 2), (0, 0, 0)]),
    "parts": lambda x, y: (*lax.split(x, (1, 2), 0), lax.slice(y, (0, 1), (3, 4), (2, 1)), lax.rev(x, (1,))),
    "places": lambda x, y: (
        lax.dynamic_slice(x, (np.int32(0), np.int32(1)), (3, 2)),
        *split(y, 2, 1),
    ),
    "products": lambda x, y: (x @ y.T, jnp.einsum("ab,ab->b", x, y), jnp.sum(x, 0), lax.is_finite(x)),
    "shapes": lambda x, y: (x.T, x.reshape(2, 6), x[None, 0], jnp.broadcast_to(x, (2, 3, 4))),
    "loops": lambda x, y: (
        lax.fori_loop(0, 3, lambda i, a: a * y, x),
        lax.cond(x[0, 0] > 0, lax.neg, lax.abs, y),
    ),
    "functions": lambda x, y: (
        jax.nn.relu(x),
        jax.vmap(lambda a: a + y[0])(x),
        *jax.jvp(lambda a: a * jnp.tanh(y), (x,), (y,)),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    """In a primitive that is lowered by writing the function, and as a function that JAX traces."""

    def function(*args):
        return jax.tree.leaves(OPERATIONS[name](*args))

    args = rng_array(3, 4), rng_array(3, 4, seed=1)
    results = [jax.core.ShapedArray(t.shape, t.dtype) for t in jax.eval_shape(function, *args)]
    made = Primitive("written")
    made.multiple_results = True
    made.def_abstract_eval(lambda *types: results)
    mlir.register_lowering(made, lambda context, *values: emit(function, context, values))
    # JAX 0.10.0 concatenates any number of arrays at once.
    check(lowered(made.bind, args), lowered(function, args), args, alike=name != "many side by side")
