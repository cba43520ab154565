"""Beam search: exhaustive where there are beams enough, greedy with one; ends, sources, errors."""

import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close, deep, plain_jit

VOCABULARY, F, STEPS = 3, 6, 3
PROMPT = np.array([[0, 1], [2, 2]], np.int32)
ALL = np.array(list(itertools.product(range(VOCABULARY), repeat=STEPS)), np.int32)
NETS = {
    "attention": lambda: nn.serial(
        nn.sinusoidal_positions(), nn.repeat(nn.residual(nn.multi_head_attention(F, 2, causal=True)), 2)
    ),
    "lstm": lambda: nn.lstm(F),
    "ensemble": lambda: nn.serial(nn.ensemble(nn.gru(F), 2), lambda x: x[0] + x[1]),
}


def made(body):
    net = nn.serial(
        nn.embedding(VOCABULARY, F), body, nn.dense(VOCABULARY, kernel_init=jax.nn.initializers.normal(2.0))
    )
    return net, net.init(jax.random.key(0), PROMPT)


def exhaustive(logits, prompt, end=None):
    """All continuations of one prompt and their scores, the likeliest first; ``logits`` of ids."""
    ids = np.concatenate([np.broadcast_to(prompt, (len(ALL), len(prompt))), ALL], axis=1)
    costs = np.asarray(jax.nn.log_softmax(logits(ids)))[:, len(prompt) - 1 : -1]
    costs = np.take_along_axis(costs, ALL[:, :, None], 2)[:, :, 0]
    kept = np.ones(len(ALL), bool)
    if end is not None:
        ends = np.equal(ALL, end)
        after = np.cumsum(ends, axis=1) - ends > 0
        kept = (ends | ~after).all(axis=1)
        costs[after] = 0
    scores = np.where(kept, costs.sum(axis=1), -np.inf)
    order = np.argsort(-scores)
    return ALL[order], scores[order]


@pytest.mark.parametrize("name", ["attention", deep("lstm"), deep("ensemble")])
@pytest.mark.parametrize("end", [None, 1])
def test_with_enough_beams_it_is_exhaustive(name, end):
    net, params = made(NETS[name]())
    ids, scores = nn.beam_search(net, params, PROMPT, steps=STEPS, beams=9, end=end)
    logits = plain_jit(partial(net.apply, params))
    for n, prompt in enumerate(PROMPT):
        expected, best = exhaustive(logits, prompt, end)
        np.testing.assert_array_equal(ids[n], expected[:9])
        assert_close(scores[n], best[:9])


def test_with_one_beam_it_is_greedy():
    net, params = made(NETS["lstm"]())
    ids = nn.beam_search(net, params, PROMPT, steps=6, beams=1).ids
    np.testing.assert_array_equal(ids[:, 0], nn.generate(net, params, PROMPT, steps=6, temperature=0))


def test_fewer_sequences_than_beams():
    net, params = made(NETS["lstm"]())
    ids, scores = nn.beam_search(net, params, PROMPT, steps=1, beams=5)
    np.testing.assert_array_equal(np.sort(ids[:, :VOCABULARY, 0]), [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(np.isinf(scores), [[False] * 3 + [True] * 2] * 2)


def test_each_beam_reads_its_own_source():
    net = nn.models.transformer(VOCABULARY, features=F, heads=2, hidden=8, depth=1)
    source, lengths = np.array([[0, 1, 2], [2, 1, 1]]), np.array([3, 1])
    params = net.init(jax.random.key(1), (source, PROMPT))
    params.weights["embedding"]["embedding"] *= 3
    ids, scores = nn.beam_search(net, params, PROMPT, steps=STEPS, beams=9, source=(source, lengths))

    @plain_jit
    def alone(n, target):
        given = jnp.broadcast_to(source[n], (len(target), 3)), jnp.broadcast_to(lengths[n], len(target))
        return net.apply(params, (given, target))

    source, lengths = jnp.asarray(source), jnp.asarray(lengths)
    for n, prompt in enumerate(PROMPT):
        expected, best = exhaustive(partial(alone, n), prompt)
        np.testing.assert_array_equal(ids[n], expected[:9])
        assert_close(scores[n], best[:9])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompt": PROMPT[0]}, "prompt must be (N, P) with at least one id, got shape (2,)"),
        ({"prompt": PROMPT * 1.0}, "prompt must be integers, got float32"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"beams": 0}, "beams must be at least 1, got 0"),
        ({"net": nn.embedding(3, 4)}, "params of another net"),
    ],
)
def test_errors(settings, sentence):
    net, params = made(NETS["lstm"]())
    given = {"net": net, "params": params, "prompt": PROMPT, "steps": 2, "beams": 2} | settings
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)):
        nn.beam_search(**given)
