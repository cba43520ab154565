"""Attention: against the reference and torch, form by form; what is not read; blocks; memory; errors."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn as nn
from jaxnn.kernels.attention import blocked
from jaxnn.ops import attention
from tests.reference import attention as reference
from tests.support import assert_close, deep, known_answers, plain_jit, rng_array

FORMS = ("plain", "blocked")
each_form = pytest.mark.parametrize("form", FORMS)


def draw(n=2, t=5, s=7, heads=4, kv_heads=2, d=3, seed=0):
    q = rng_array(n, t, heads, d, seed=seed)
    k, v = (rng_array(n, s, kv_heads, d, seed=seed + i) for i in (1, 2))
    return q, k, v


def probe(y):
    return jnp.sin(jnp.arange(y.size, dtype=y.dtype) + 1).reshape(y.shape)


@st.composite
def problems(draw_from):
    """Operands and settings of any kind; values and gradients must be those of the reference."""
    integer = lambda low, high: draw_from(st.integers(low, high))  # noqa: E731
    n, t, s, kv_heads, group = integer(0, 2), integer(0, 6), integer(0, 6), integer(1, 2), integer(1, 2)
    heads, side = kv_heads * group, st.none() | st.integers(0, 3)
    rng = np.random.default_rng(integer(0, 99))
    sizes = (n, heads, t, s)
    shape = tuple(draw_from(st.sampled_from((1, size))) for size in sizes)
    kind = draw_from(st.sampled_from(("bias", "mask", "neither")))
    settings = {
        "causal": draw_from(st.booleans()),
        "window": draw_from(st.none() | st.tuples(side, side)),
        "scale": draw_from(st.sampled_from((None, 0.3))),
        "lengths": draw_from(st.none() | st.just(rng.integers(-1, t + 1, n))),
        "key_lengths": draw_from(st.none() | st.just(rng.integers(0, s + 1, n))),
        "offset": draw_from(st.none() | st.just(2) | st.just(rng.integers(-2, 4, n))),
    }
    if kind == "bias":
        settings["bias"] = rng.standard_normal(shape).astype(np.float32)
    if kind == "mask":
        settings["mask"] = rng.random(shape) < 0.6
    return draw(n, t, s, heads, kv_heads, seed=integer(0, 99)), settings


@given(problems())
def test_against_the_reference(problem):
    arrays, settings = problem
    expected = reference.attention(*(a.astype(np.float64) for a in arrays), **settings)
    for form in FORMS:
        assert_close(attention(*arrays, **settings, implementation=form), expected, scale=1)


@each_form
@pytest.mark.parametrize("case", [deep("plain"), deep("causal"), "scale", deep("mask"), "bias", "grouped"])
def test_known_answers(case, form):
    """Values and gradients of torch's, in every form."""
    answers = {
        name.removeprefix(f"{case}/"): a
        for name, a in known_answers("attention").items()
        if name.startswith(f"{case}/")
    }
    moving = {name: answers[name] for name in ("q", "k", "v", "bias") if name in answers}
    settings = {
        "causal": case in ("causal", "grouped"),
        "scale": 0.3 if case == "scale" else None,
        "mask": answers.get("mask"),
    }

    @plain_jit
    def run(moving):
        y, pull = jax.vjp(lambda moving: attention(**moving, **settings, implementation=form), moving)
        return y, pull(probe(y))[0]

    y, gradients = run(moving)
    assert_close(y, answers["y"])
    assert_close(gradients, {name: answers[f"grad/{name}"] for name in moving})


#: More than one block of queries and of keys, none of them full.
BLOCKS = {"n": 2, "t": 301, "s": 1103, "heads": 2, "kv_heads": 1, "d": 4}


@pytest.mark.parametrize(
    "settings",
    [
        {"causal": True, "offset": np.array([800, 20])},
        deep({}),
        deep({"window": (300, 3), "offset": 700}),
        deep({"key_lengths": np.array([1103, 17]), "lengths": np.array([0, 290])}),
        deep({"mask": rng_array(1, 2, 301, 1103) > 0, "bias": rng_array(2, 1, 301, 1103, seed=1)}),
    ],
    ids=["causal", "full", "window", "lengths", "mask-bias"],
)
def test_several_blocks(settings):
    """Value, tangent and gradients: those of the plain form."""
    arrays = draw(**BLOCKS)
    tangents = draw(**BLOCKS, seed=5)

    def run(form, *arrays):
        function = partial(attention, **settings, implementation=form)
        y, tangent = jax.jvp(function, arrays, tangents)
        return y, tangent, jax.vjp(function, *arrays)[1](probe(y))

    results = jax.jit(partial(run, "blocked"))(*arrays)
    assert_close(results, plain_jit(partial(run, "plain"))(*arrays), terms=8000)
    assert_close(
        results[0],
        reference.attention(*(a.astype(np.float64) for a in arrays), **settings),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"causal": True},
        {"window": (7, 2), "offset": np.array([6, 3])},
        {"key_lengths": np.array([29, 18]), "lengths": np.array([23, 11])},
        deep({}),
        deep({"causal": True, "lengths": np.array([23, 17]), "offset": 4}),
        deep({"window": (9, None), "key_lengths": np.array([25, 24])}),
    ],
    ids=["causal", "window", "lengths", "full", "causal-lengths", "left"],
)
def test_many_blocks_some_of_which_are_read_as_a_whole(settings, monkeypatch):
    for name in ("QUERIES", "KEYS", "KEYS_IF_SKIPPED", "IF_BOUNDED"):
        monkeypatch.setattr(blocked, name, 4)
    arrays = draw(n=2, t=23, s=29, heads=2, kv_heads=2, d=4)
    y = attention(*arrays, **settings, implementation="blocked")
    assert_close(y, reference.attention(*(a.astype(np.float64) for a in arrays), **settings), scale=1)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 4, 1, 1103),
        deep((2, 1, 1, 1103)),
        deep((1, 1, 301, 1)),
        deep((2, 4, 301, 1103)),
        deep((1, 1, 1, 1)),
    ],
)
def test_the_gradient_of_a_bias_over_several_blocks(shape):
    """It is a sum over the axes of size 1, over heads of one head of keys and over examples too."""
    arrays = draw(t=301, s=1103)
    settings = {"lengths": np.array([301, 290]), "key_lengths": np.array([1103, 17])}

    @plain_jit
    def gradients(bias):
        def total(bias, form):
            y = attention(*arrays, bias=bias, causal=shape[0] == 2, implementation=form, **settings)
            return (probe(y) * y).sum()

        return [jax.grad(total)(bias, form) for form in FORMS]

    plain, in_blocks = gradients(rng_array(*shape, seed=7))
    assert_close(in_blocks, plain, terms=2 * 4 * 301 * 1103 // np.prod(shape), scale=1)


@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("form", FORMS)
def test_without_queries_or_keys(form, queries, keys):
    q, k, v = jnp.ones((2, queries, 1, 4)), jnp.ones((2, keys, 1, 4)), jnp.ones((2, keys, 1, 4))
    function = partial(attention, bias=np.zeros((1, 1, queries, keys), np.float32), implementation=form)
    y, pull = jax.vjp(partial(function, causal=True), q, k, v)
    assert (y == jnp.zeros((2, queries, 1, 4))).all()
    assert all(
        (grad == 0).all() and grad.shape == a.shape for grad, a in zip(pull(y), (q, k, v), strict=True)
    )


@each_form
@pytest.mark.parametrize("keys", [7, 1])
def test_a_query_that_reads_nothing_gives_zeros_and_zero_gradients(form, keys):
    """XLA makes another program of a maximum over one key."""
    q, k, v = draw(s=keys)
    mask = np.ones((2, 1, 5, keys), bool)
    mask[0, 0, 2] = False
    nothing = [
        {"mask": mask},
        {"key_lengths": np.array([0, keys])},
        {"lengths": np.array([0, 5])},
        {"causal": True, "offset": np.array([-9, 0])},
        {"bias": np.where(mask, 0, -np.inf).astype(np.float32)},
    ]

    def value_and_gradients(settings):
        y, pull = jax.vjp(partial(attention, **settings, implementation=form), q, k, v)
        return y, pull(jnp.ones_like(y))

    results = plain_jit(lambda: list(map(value_and_gradients, nothing)))()
    for settings, (y, gradients) in zip(nothing, results, strict=True):
        queries = [2] if "mask" in settings or "bias" in settings else range(5)
        for a in (y, gradients[0]):
            assert not np.asarray(a)[0, queries].any()
        assert np.isfinite(np.concatenate([np.ravel(a) for a in (y, *gradients)])).all()


@each_form
@pytest.mark.parametrize("value", [np.nan, deep(np.inf)])
@pytest.mark.parametrize("which", [0, deep(1), deep(2)])
def test_values_that_are_not_finite_reach_what_reads_them(form, value, which):
    """Neither earlier queries nor other heads nor other examples, in value, tangent and gradients."""
    arrays, tangents = draw(t=6, s=6), draw(t=6, s=6, seed=5)
    spoiled = [a.copy() for a in arrays]
    spoiled[which][0, 3, 0, 1] = value

    @jax.jit
    def run(arrays):
        function = partial(attention, causal=True, implementation=form)
        y, tangent = jax.jvp(function, tuple(arrays), tangents)
        return y, tangent, jax.vjp(function, *arrays)[1](probe(y))

    (y, tangent, gradients), expected = run(spoiled), run(list(arrays))
    for a, e in ((y, expected[0]), (tangent, expected[1]), (gradients[0], expected[2][0])):
        a, e = np.asarray(a), np.asarray(e)
        np.testing.assert_array_equal(a[1], e[1])
        np.testing.assert_array_equal(a[0, :, 2:], e[0, :, 2:])
        assert_close(a[0, :3], e[0, :3], scale=1)
        if which == 0:  # other queries, and the other head of its group
            assert_close(a[0, 4:], e[0, 4:], scale=1)
            assert_close(a[0, :, 1], e[0, :, 1], scale=1)
    for a, e in zip(gradients[1:], expected[2][1:], strict=True):
        np.testing.assert_array_equal(np.asarray(a)[1], np.asarray(e)[1])
        np.testing.assert_array_equal(np.asarray(a)[0, :, 1], np.asarray(e)[0, :, 1])
        if which == 0:  # keys after it are read by later queries alone
            assert_close(np.asarray(a)[0, 4:], np.asarray(e)[0, 4:], scale=1)
    if np.isnan(value):
        assert np.isnan(np.asarray(y)[0, 3]).any()


@each_form
def test_what_stands_past_the_ends_is_not_read(form):
    """Not even NaN, also without any other limit to what is read."""
    arrays, tangents = draw(), draw(seed=5)
    lengths = {"lengths": np.array([3, 5]), "key_lengths": np.array([2, 7])}
    spoiled = [a.copy() for a in arrays]
    for a, length in zip(spoiled, (3, 2, 2), strict=True):
        a[0, length:] = np.nan

    @jax.jit
    def run(arrays):
        function = partial(attention, **lengths, implementation=form)
        y, tangent = jax.jvp(function, tuple(arrays), tangents)
        return y, tangent, jax.vjp(function, *arrays)[1](probe(y))

    clean, dirty = run(list(arrays)), run(spoiled)
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)


def test_lengths_that_a_program_holds():
    """Under ``jit`` what is computed of an array of its own is traced."""
    q, k, v = draw()
    lengths = jnp.array([7, 4], jnp.int32)
    held = jax.jit(lambda q: attention(q, k, v, key_lengths=lengths))(q)
    assert_close(held, attention(q, k, v, key_lengths=lengths))


def test_pieces_with_an_offset_equal_the_whole():
    q, k, v = draw(t=7)
    whole = attention(q, k, v, causal=True)
    pieces = [attention(q[:, t : t + 1], k, v, causal=True, offset=np.int32(t)) for t in range(7)]
    assert_close(jnp.concatenate(pieces, axis=1), whole)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_softmax_of_half_precision_is_taken_in_float32(dtype):
    """Scores near 300 are 1 or 2 apart in half precision."""
    arrays = [jnp.asarray(a * 20, dtype) for a in draw(d=16)]
    exact = reference.attention(*(np.asarray(a, np.float64) for a in arrays))
    for form in FORMS:
        y = attention(*arrays, implementation=form)
        assert y.dtype == dtype
        assert_close(y, exact)


def memory(function, t):
    arrays = [jax.ShapeDtypeStruct((1, t, 2, 16), jnp.float32)] * 3
    compiled = plain_jit(function).lower(*arrays).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("mode", [deep("value"), deep("tangent"), "gradient"])
def test_memory_is_linear_in_the_length(mode):
    function = partial(attention, causal=True)
    modes = {
        "value": function,
        "tangent": lambda *a: jax.jvp(function, a, a)[1],
        "gradient": lambda q, k, v: jax.vjp(function, q, k, v)[1](q),
    }
    sizes = [memory(modes[mode], t) for t in (2048, 4096, 8192)]
    assert sizes[2] < 2.5 * sizes[1] < 2.5**2 * sizes[0]
    assert sizes[2] < 0.1 * 4 * 8192**2


@pytest.mark.parametrize("shape", [(1, 1, 1, 2048), deep((1, 2, 2048, 1)), deep((3, 1, 1, 2048))])
def test_the_gradient_of_a_bias_holds_no_more_scores_than_the_bias_has(shape):
    def gradient(bias, q):
        return jax.grad(lambda bias: attention(q, q, q, bias=bias).sum())(bias)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((3, 2048, 2, 16), jnp.float32)]
    held = jax.jit(gradient).lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert held < 4 * 2048**2


def test_short_sequences_elsewhere_take_no_loop():
    shapes = [jax.ShapeDtypeStruct((2, 512, 4, 16), jnp.float32)] * 3
    for platform in ("cuda", "tpu"):
        choices = nn.kernels.explain(attention, *shapes, platform=platform)
        assert [choice.form for choice in choices] == ["plain"]
        text = jax.jit(attention).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.while" not in text
    assert [c.form for c in nn.kernels.explain(attention, *shapes, platform="cpu")] == ["blocked"]


Q, KV = np.ones((2, 5, 4, 3), np.float32), np.ones((2, 7, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "settings", "sentence"),
    [
        ((Q[0], KV, KV), {}, "q must be (N, T, H, D), got shape (5, 4, 3)"),
        ((Q, KV, KV[:, 1:]), {}, "v must have the shape of k, (2, 7, 2, 3), got shape (2, 6, 2, 3)"),
        ((Q, KV[:1], KV[:1]), {}, "k must have the batch and the features of q, (2, 5, 4, 3), got shape (1"),
        ((Q[:, :, :3], KV, KV), {}, "the heads of k must divide those of q, 3, got 2"),
        ((Q, KV.astype(np.float16), KV), {}, "k must have the dtype of q, float32, got float16"),
        (
            (Q, KV, KV),
            {"mask": np.ones((2, 1, 5, 7))},
            "mask must be boolean, True where a query reads a key",
        ),
        ((Q, KV, KV), {"mask": np.ones((5, 7), bool)}, "mask must be (N, H, T, S) = (2, 4, 5, 7), each axis"),
        (
            (Q, KV, KV),
            {"bias": np.ones((2, 3, 5, 7), np.float32)},
            "bias must be (N, H, T, S) = (2, 4, 5, 7)",
        ),
        ((Q, KV, KV), {"bias": np.ones((1, 1, 1, 1), bool)}, "bias must be floating-point, got bool"),
        ((Q, KV, KV), {"window": -1}, "window must be an integer at least 0, or a pair"),
        ((Q, KV, KV), {"window": (1, 2, 3)}, "window must be an integer at least 0, or a pair"),
        ((Q, KV, KV), {"lengths": [5, 6]}, "lengths must be at most 5, the steps there are, got 6"),
        ((Q, KV, KV), {"key_lengths": [8, 6]}, "key_lengths must be at most 7, the steps there are, got 8"),
        ((Q, KV, KV), {"lengths": [5.0, 4.0]}, "lengths must be integers, got float32"),
        ((Q, KV, KV), {"offset": [1]}, "offset must be"),
        (
            (Q, KV, KV),
            {"implementation": "flash"},
            "implementation must be None or one of 'blocked', 'plain'",
        ),
    ],
)
def test_errors(arrays, settings, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(f"attention: {sentence}")):
        attention(*arrays, **settings)
