"""Generation: any net with a carry, prompts of any length, what is drawn, how often it is compiled."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import deep, random_params

VOCABULARY, F = 11, 8
PROMPT = np.random.default_rng(0).integers(0, VOCABULARY, (3, 4)).astype(np.int32)


def gpt(**settings):
    block = nn.serial(
        nn.residual(nn.layer_norm(), nn.multi_head_attention(F, 2, causal=True, **settings)),
        nn.residual(nn.layer_norm(), nn.dense(F), nn.gelu),
    )
    return nn.repeat(block, 2)


NETS = {
    "lstm": lambda: nn.lstm(F),
    "gru-rnn": lambda: nn.serial(nn.gru(F), nn.rnn(F)),
    "attention": lambda: nn.serial(nn.position_embedding(20), gpt()),
    "attention-rotary-grouped": lambda: gpt(kv_heads=1, rotary=True),
    "attention-window": lambda: nn.serial(nn.sinusoidal_positions(), gpt(window=3)),
    "causal-conv": lambda: nn.serial(nn.conv(F, 3, padding="CAUSAL", dilation=2), nn.relu, nn.conv(F, 1)),
}


def made(body):
    """Logits far apart, so that rounding does not choose."""
    net = nn.serial(
        nn.embedding(VOCABULARY, F), body, nn.dense(VOCABULARY, kernel_init=jax.nn.initializers.normal(3.0))
    )
    return net, net.init(jax.random.key(0), PROMPT)


def by_hand(net, params, prompt, steps):
    """The whole sequence anew for each id."""
    ids = jnp.asarray(prompt)
    apply = jax.jit(net.apply)
    for _ in range(steps):
        padded = jnp.pad(ids, ((0, 0), (0, len(prompt[0]) + steps - ids.shape[1])))
        following = jnp.argmax(apply(params, padded)[:, ids.shape[1] - 1], axis=-1).astype(ids.dtype)
        ids = jnp.concatenate([ids, jnp.expand_dims(following, 1)], axis=1)
    return ids[:, len(prompt[0]) :]


@pytest.mark.parametrize(
    "name",
    [
        "lstm",
        "attention",
        deep("gru-rnn"),
        deep("attention-rotary-grouped"),
        deep("attention-window"),
        deep("causal-conv"),
    ],
)
def test_the_largest_logit_of_the_whole_sequence(name):
    """With a carry, step by step, as of the whole; and prompts of different lengths as each alone."""
    net, params = made(NETS[name]())
    expected = by_hand(net, params, PROMPT, 6)
    np.testing.assert_array_equal(nn.generate(net, params, PROMPT, steps=6, temperature=0), expected)

    lengths = [4, 1, 3]
    ids = nn.generate(net, params, PROMPT, steps=6, temperature=0, lengths=lengths)
    for n, length in enumerate(lengths):
        alone = PROMPT[n : n + 1, :length]
        np.testing.assert_array_equal(ids[n : n + 1], nn.generate(net, params, alone, steps=6, temperature=0))


def test_a_source_is_encoded_once():
    """A transformer continues what it made of the whole target so far; of each source up to its end."""
    net = nn.models.transformer(VOCABULARY, features=F, heads=2, hidden=16, depth=2, norm_first=True)
    source, lengths = np.flip(PROMPT, axis=1).copy(), np.array([4, 1, 3])
    params = net.init(jax.random.key(1), (source, PROMPT))
    params.weights["embedding"]["embedding"] *= 3  # far apart, so that rounding does not choose
    whole = nn.Layer(
        "whole", net.init, lambda params, ids: net.apply(params, ((source, lengths), ids)), net.train
    )
    ids = nn.generate(net, params, PROMPT, steps=4, temperature=0, source=(source, lengths))
    np.testing.assert_array_equal(ids, by_hand(whole, params, PROMPT, 4))

    read = []
    encoder = nn.once(nn.stateless("read", lambda key, x: {}, lambda weights, x: read.append(x.shape) or x))
    made = nn.graph(lambda f, x: f.ids(x[1]) + f.encoder(x[0]), encoder=encoder, ids=nn.embedding(5, 5))
    params = made.init(jax.random.key(0), (jnp.ones((3, 1, 5)), PROMPT[:, :1]))
    read.clear()
    nn.generate(made, params, PROMPT[:, :1] % 5, steps=6, temperature=0, source=jnp.ones((3, 1, 5)))
    assert read == [(3, 1, 5)]


def test_one_program_for_all_values():
    net, params = made(NETS["lstm"]())
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    nn.generate(net, params, PROMPT, steps=5, key=jax.random.key(0), temperature=0.7, top_p=0.9)
    jax.random.key(1), jax.random.key(2), jnp.float32(0.1)
    compiled.clear()
    keys = jax.random.key(1), jax.random.key(2)
    ids = [nn.generate(net, params, PROMPT, steps=5, key=key, temperature=1.5, top_p=0.5) for key in keys]
    assert not compiled
    assert (ids[0] != ids[1]).any()


def constant(logits):
    """A net that gives the same logits at every step."""
    rows = jnp.log(jnp.asarray(logits, jnp.float32))

    def apply(weights, ids):
        return jnp.broadcast_to(jnp.expand_dims(rows, (0, 1)), (*ids.shape, len(logits)))

    return nn.stateless("constant", lambda key, ids: {}, apply)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.1}, [1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.7}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 0}, [1, 0, 0, 0]),
    ],
)
def test_how_often_each_id_is_drawn(settings, expected):
    draws = 4000
    ids = nn.generate(
        constant([0.4, 0.3, 0.2, 0.1]), nn.Params({}, {}), np.zeros((draws // 10, 1), np.int32), steps=10,
        key=jax.random.key(0), **settings,
    )  # fmt: skip
    shares = np.bincount(np.asarray(ids).ravel(), minlength=4) / draws
    deviation = np.sqrt(np.multiply(expected, np.subtract(1, expected)) / draws)
    assert (np.abs(shares - expected) <= 5 * deviation).all(), shares


def test_a_sequence_that_has_ended_repeats_its_end():
    ids = np.asarray(
        nn.generate(constant([0.5, 0.5]), nn.Params({}, {}), np.ones((50, 2), np.int32), steps=20,
                    key=jax.random.key(0), end=1, lengths=np.arange(50) % 2 + 1)
    )  # fmt: skip
    ended = np.maximum.accumulate(ids == 1, axis=1)
    np.testing.assert_array_equal(ids, ended)
    assert 0 < (ids[:, 0] == 1).sum() < 50


def test_the_ids_keep_their_dtype():
    net, params = made(NETS["lstm"]())
    assert nn.generate(net, params, PROMPT.astype(np.uint8), steps=2, temperature=0).dtype == jnp.uint8


FLAT = nn.serial(nn.embedding(VOCABULARY, 4), nn.flatten)
OF_FLAT = random_params(FLAT, PROMPT)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompt": PROMPT[0]}, "prompt must be (N, P) with at least one id, got shape (4,)"),
        ({"prompt": PROMPT * 1.0}, "prompt must be integers, got float32"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"key": None}, "key must be one JAX key for a temperature above 0, got None"),
        ({"temperature": -1}, "temperature must be at least 0, got -1"),
        ({"top_p": 0}, "top_p must be positive and at most 1, got 0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"lengths": [1, 2]}, "lengths must be (N,) = (3,)"),
        ({"source": PROMPT[:2]}, "source must be an array or a tuple of arrays, with one row for each of 3"),
        ({"net": FLAT, "params": OF_FLAT}, "the net must give logits (N, T, vocabulary), for ids of shape"),
    ],
)  # fmt: skip
def test_errors(settings, sentence):
    net, params = made(NETS["lstm"]())
    given = {"net": net, "params": params, "prompt": PROMPT, "steps": 3, "key": jax.random.key(0)} | settings
    with pytest.raises((ValueError, TypeError), match=re.escape(f"generate: {sentence}")):
        nn.generate(**given)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            lambda: nn.multi_head_attention(F, 2),
            "multi_head_attention: causal must be True where a sequence comes in",
        ),
        (lambda: nn.conv(F, 3, padding="SAME"), "conv: padding must be 'CAUSAL' and strides 1"),
        (lambda: nn.bidirectional(nn.gru(4)), "bidirectional: x must be a whole sequence"),
        (
            lambda: nn.gru(F, reverse=True),
            "gru: reverse must be False and outputs 'all' where a sequence comes",
        ),
        (lambda: nn.position_embedding(8), "position_embedding: room must be enough for all steps, 8, got 9"),
    ],
)
def test_layers_that_cannot_go_on(body, sentence):
    net, params = made(body())
    prompt = np.zeros((1, 9 if "position" in sentence else 3), np.int32)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        nn.generate(net, params, prompt, steps=3, temperature=0)
