"""Every form of every operation, by name: values, derivatives, ``vmap``; and what the lists promise."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.kernels.choice import always
from jaxnn.kernels.lowering.primitive import KERNELS
from jaxnn.ops import recurrent
from jaxnn.ops.adaptive_pool import adaptive_max_pool
from jaxnn.ops.dense import dense
from jaxnn.ops.global_pool import global_max_pool
from jaxnn.ops.norm import layer_norm
from jaxnn.ops.pool import avg_pool, max_pool, min_pool
from jaxnn.ops.resize import resize, upsample
from jaxnn.ops.softmax import softmax
from jaxnn.ops.unpool import max_pool_with_indices
from tests.derivatives import check_derivatives
from tests.ops.case import Shape
from tests.support import assert_close, deep, on_cpu, plain_jit, rng_array

IMAGE = ((2, 5, 6, 2),)
OVERLAPPING = {"window": 3, "strides": 2, "padding": 1, "ceil_mode": True}


class Entry(NamedTuple):
    """An op with its settings, the shapes of its arrays, and the names of its forms."""

    name: str
    op: Any
    shapes: tuple[Shape, ...]
    forms: tuple[str, ...]


def maxima(x, **settings):
    return max_pool_with_indices(x, **settings)[0]


def lstm_reverse(*args, **settings):
    return recurrent.lstm(*args, reverse=True, **settings)


def rnn(*args, **settings):
    return recurrent.rnn(*args, **settings)


def gru_lengths(x, *args, **settings):
    return recurrent.gru(x, *args, lengths=np.asarray([4, 2]), **settings)


def weights(gates):
    return (2, 4, 2), (2, 3 * gates), (3, 3 * gates), (3 * gates,)


def shrunk(x, **settings):
    return resize(x, method="cubic", antialias=True, **settings)


ENTRIES = [
    Entry("max-pool", partial(max_pool, **OVERLAPPING), IMAGE, ("slices", "unfolded", "lax")),
    Entry("min-pool-tiles", partial(min_pool, window=2), IMAGE, ("slices", "unfolded", "lax")),
    Entry(
        "max-pool-long", partial(max_pool, window=(40, 2)), ((1, 45, 3, 1),), ("slices", "unfolded", "lax")
    ),
    Entry("max-pool-with-indices", partial(maxima, **OVERLAPPING), IMAGE, ("slices", "unfolded")),
    Entry("global-max-pool", global_max_pool, IMAGE, ("slices", "unfolded", "lax")),
    Entry("adaptive-max-pool", partial(adaptive_max_pool, output_size=(3, 2)), IMAGE, ("unfolded",)),
    Entry("avg-pool", partial(avg_pool, **OVERLAPPING), IMAGE, ("by_axis", "lax")),
    Entry("avg-pool-dilated", partial(avg_pool, window=2, dilation=2), IMAGE, ("by_axis", "lax")),
    Entry("avg-pool-tiles", partial(avg_pool, window=(5, 2)), IMAGE, ("blocks", "by_axis", "lax")),
    Entry("avg-pool-apart", partial(avg_pool, window=(3, 2), padding=1), IMAGE, ("blocks", "by_axis", "lax")),
    Entry("nearest-whole", partial(upsample, scale=(2, 3)), IMAGE, ("slices", "lax")),
    Entry("nearest", partial(resize, size=(7, 4)), IMAGE, ("gathers", "lax")),
    Entry("linear", partial(resize, size=(8, 3), method="linear"), IMAGE, ("gathers", "lax")),
    Entry(
        "cubic-many-taps",
        partial(resize, size=5, method="cubic", antialias=True),
        ((1, 40, 2),),
        ("gathers", "lax"),
    ),
    Entry("dense", dense, ((2, 3, 5), (5, 4), (4,)), ("dy_transposed", "x_transposed", "rows", "lax")),
    Entry("layer-norm", layer_norm, ((2, 5, 6), (6,), (6,)), ("lax", "checked", "chained", "shifted")),
    Entry("softmax", softmax, ((2, 3, 5),), ("rows",)),
    Entry("lstm", lstm_reverse, weights(4), ("in_loop", "hoisted", "blocks", "whole", "lax")),
    Entry("rnn", rnn, weights(1), ("hoisted", "whole", "lax")),
    Entry("gru-lengths", gru_lengths, weights(3), ("hoisted", "whole")),
]
COMPOSED = "max-pool", "avg-pool", "linear", "layer-norm", "lstm"
#: Of each family one entry, whose forms are differentiated and mapped by default. Not "lax", which JAX ships,
#: and not "in_loop", which is chosen for these shapes: the properties of ``tests/ops`` differentiate it.
FEW = "max-pool", "avg-pool-tiles", "nearest", "dense", "layer-norm", "lstm"
EVERY_FORM = [(entry, form) for entry in ENTRIES for form in entry.forms]


def by_form(few):
    marks = [
        () if not few or (e.name in FEW and form not in ("lax", "in_loop")) else pytest.mark.deep
        for e, form in EVERY_FORM
    ]
    cases = [
        pytest.param(e, form, id=f"{e.name}-{form}", marks=mark)
        for (e, form), mark in zip(EVERY_FORM, marks, strict=True)
    ]
    return pytest.mark.parametrize(("entry", "form"), cases)


each_form, few_forms = by_form(few=False), by_form(few=True)


def operands(entry, dtype=np.float32):
    return [rng_array(*shape, seed=i, dtype=dtype) for i, shape in enumerate(entry.shapes)]


def named(entry, form):
    return partial(entry.op, implementation=form)


@few_forms
def test_derivatives_in_both_modes_up_to_the_second(entry, form, x64):
    check_derivatives(named(entry, form), operands(entry, np.float64))


def value_and_gradients(op, *args):
    y, pull = jax.vjp(op, *args)
    return y, pull(jax.tree.map(lambda y: jnp.asarray(rng_array(*y.shape, seed=9, dtype=y.dtype)), y))


@few_forms
def test_a_form_computes_the_same_as_the_chosen_one_also_under_vmap(entry, form):
    x, *weights = operands(entry)
    stacked = [np.stack([a, 2 - a, a * a], -1) for a in (x, *weights)]
    first = [0 if i == 0 else None for i in range(len(stacked))]

    @plain_jit
    def run(x, weights, stacked):
        """Alone, with another x for each member, and with other weights too."""
        of_one = partial(value_and_gradients, named(entry, form))
        other_x = jax.vmap(of_one, first)(jnp.moveaxis(stacked[0], -1, 0), *weights)
        return of_one(x, *weights), other_x, jax.vmap(of_one, -1)(*stacked)

    def one_by_one(x, weights, stacked):
        of_one = plain_jit(partial(value_and_gradients, entry.op))
        mapped = [of_one(stacked[0][..., i], *weights) for i in range(3)]
        apart = [of_one(*(a[..., i] for a in stacked)) for i in range(3)]
        joined = (jax.tree.map(lambda *rows: np.stack(rows), *rows) for rows in (mapped, apart))
        return of_one(x, *weights), *joined

    assert_close(run(x, weights, stacked), one_by_one(x, weights, stacked))


def compositions(op, x, *rest):
    """Transformations of an op around each other, that derivatives up to the second don't have."""

    def value(x):
        return jnp.ravel(jax.tree.leaves(op(x, *rest))[0])

    def pulled(cotangent):
        return jax.vjp(value, x)[1](cotangent)[0]

    y = value(x)
    return {
        "ensemble": jax.grad(
            lambda xs: jnp.sum(jnp.sin(jax.vmap(jax.vmap(value, in_axes=-1), in_axes=0)(xs))), 0
        )(jnp.stack([jnp.stack([x, 2 * x], -1)] * 2)),
        "cotangents": jax.vmap(pulled)(jnp.stack([y, 2 * y])),
        "transpose of the gradient": jax.linear_transpose(pulled, y)(x)[0],
        "the same, mapped": jax.vmap(lambda x: jax.linear_transpose(pulled, y)(x)[0])(jnp.stack([x, 2 * x])),
        "curvature of members": jax.hessian(
            lambda s: jnp.sum(jax.vmap(lambda t: value(x * s * t))(jnp.arange(1.0, 3)))
        )(1.0),
        "remat": jax.grad(jax.checkpoint(lambda x: jnp.sum(jnp.sin(value(x)))))(x),
    }


@on_cpu
@pytest.mark.parametrize(
    "entry",
    [e if e.name == "max-pool" else deep(e) for e in ENTRIES if e.name in COMPOSED],
    ids=lambda entry: entry.name,
)
def test_transformations_of_transformations(entry, x64):
    args = list(map(jnp.asarray, operands(entry, np.float64)))
    chosen, plain = (plain_jit(partial(compositions, op))(*args) for op in (entry.op, named(entry, "lax")))
    assert_close(chosen, plain)


@pytest.mark.parametrize(
    "entry", [e if e.name in FEW else deep(e) for e in ENTRIES], ids=lambda entry: entry.name
)
def test_forms_agree_in_half_precision(entry):
    args = operands(entry, jnp.bfloat16)
    ops = entry.op, *(named(entry, form) for form in entry.forms)
    chosen, *others = jax.jit(lambda *args: [value_and_gradients(op, *args) for op in ops])(*args)
    for result in others:
        assert jax.tree.map(jnp.result_type, result) == jax.tree.map(jnp.result_type, chosen)
        assert_close(result, chosen)


@each_form
def test_explain_knows_the_form(entry, form):
    op = named(entry, form)
    for platform in ("cpu", "cuda"):
        programs = op, partial(value_and_gradients, op)
        choices = [nn.kernels.explain(f, *operands(entry), platform=platform) for f in programs]
        assert form in {choice.form for of_program in choices for choice in of_program}


def lists():
    return [(name, forms) for name, kernel in KERNELS.items() for forms in kernel.forms.values()]


@pytest.mark.parametrize(("name", "forms"), lists())
def test_a_list_names_its_forms_and_says_what_they_need(name, forms):
    names = [form.name for form in forms]
    assert len(set(names)) == len(names)
    assert any(form.fits is always and form.pays is always for form in forms) or "conv" in name
    if not name.endswith("_transpose"):
        assert all(form.needs for form in forms if form.fits is not always)


def test_a_platform_may_take_the_forms_for_cpus_of_every_operation():
    before = {name: kernel.on("tpu") for name, kernel in KERNELS.items()}
    try:
        nn.kernels.use("tpu", forms="cpu")
        for kernel in KERNELS.values():
            assert kernel.on("tpu") is kernel.forms.get("cpu", kernel.forms["default"])
        jax.clear_caches()
        pool = jax.jit(lambda x: max_pool(x, 2)).trace(np.ones(*IMAGE, np.float32))
        assert "reduce_window" not in pool.lower(lowering_platforms=("tpu",)).as_text()
    finally:
        nn.kernels.use("tpu", forms="default")
        jax.clear_caches()
    assert before == {name: kernel.on("tpu") for name, kernel in KERNELS.items()}
