"""Transformers: lengths, pieces, generation, what a decoder reads, programs that don't grow with depth."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from tests.support import assert_close, deep, equations, plain_jit, random_params, rng_array

models = nn.models
IDS = np.random.default_rng(0).integers(0, 11, (2, 6)).astype(np.int32)


def gpt(**settings):
    return models.gpt(11, **{"features": 8, "heads": 2, "depth": 2, "room": 12} | settings)


@pytest.mark.parametrize("settings", [{}, deep({"rotary": True, "kv_heads": 1})], ids=["learnt", "rotary"])
def test_gpt_continues_a_prompt_as_it_reads_the_whole(settings):
    net = gpt(**settings)
    params = random_params(net, IDS)
    assert ("embedding" in params.weights.get("positions", {})) == (not settings)
    made = nn.generate(net, params, IDS[:, :2], steps=5, temperature=0)
    whole = jnp.concatenate([IDS[:, :2], made], axis=1)
    np.testing.assert_array_equal(jnp.argmax(jax.jit(net.apply)(params, whole), axis=-1)[:, 1:-1], made)


def test_gpt_reads_nothing_ahead():
    net = gpt()
    params = random_params(net, IDS)
    apply = jax.jit(net.apply)
    other = np.asarray(IDS).copy()
    other[:, 4:] = 10 - other[:, 4:]
    assert_close(apply(params, other)[:, :4], apply(params, IDS)[:, :4])


def test_a_deeper_gpt_is_no_longer_program():
    counts = [
        len(equations(jax.make_jaxpr(net.apply)(random_params(net, IDS), IDS).jaxpr))
        for net in (gpt(depth=2), gpt(depth=9))
    ]
    assert counts[0] == counts[1]


@pytest.mark.deep
def test_rematerialised_gpt_has_the_same_gradients():
    nets = gpt(), gpt(rematerialise=True)
    params = random_params(nets[0], IDS)

    def gradient(net):
        return plain_jit(jax.grad(lambda params: jnp.sum(jnp.sin(10 * net.apply(params, IDS)))))(params)

    assert_close(*map(gradient, nets[::-1]), terms=10_000)


@pytest.mark.parametrize("norm_first", [True, deep(False)])
def test_an_encoder_block_reads_no_padding(norm_first):
    block = models.encoder_block(8, 2, 12, norm_first=norm_first, mlp=nn.swiglu(8, 12))
    x, lengths = rng_array(2, 5, 8), np.array([5, 3])
    params = random_params(block, x)

    def loss(weights, x):
        y, _ = block.apply(nn.Params(weights, {}), (x, lengths))
        return jnp.sum(jnp.sin(y[0])) + jnp.sum(jnp.sin(y[1, :3]))

    spoiled = x.copy()
    spoiled[1, 3:] = np.nan
    gradient = jax.jit(jax.grad(loss))
    assert_close(gradient(params.weights, spoiled), gradient(params.weights, x))
    y, _ = plain_jit(block.apply)(params, (x, lengths))
    assert_close(y[1:, :3], plain_jit(block.apply)(params, x[1:, :3]))


def test_the_encoder_decoder():
    """The source without its padding gives the same; the target is not read ahead; training needs a key."""
    net = models.transformer(11, features=8, heads=2, hidden=12, depth=2)
    source, target = IDS, IDS[:, ::-1][:, :4]
    params = random_params(net, (source, target))
    apply = jax.jit(net.apply)
    y = apply(params, ((source, jnp.array([6, 4])), target))
    assert y.shape == (2, 4, 11)
    alone = plain_jit(net.apply)
    assert_close(y[:1], alone(params, (source[:1], target[:1])))
    assert_close(y[1:], alone(params, (source[1:, :4], target[1:])))
    other = np.asarray(target).copy()
    other[:, 3] = 10 - other[:, 3]
    assert_close(alone(params, (source, other))[:, :3], alone(params, (source, target))[:, :3])
    with pytest.raises(ValueError, match="dropout: train needs a key"):
        net.train(params, (source, target))


@pytest.mark.parametrize("norm_first", [False, deep(True)])
def test_decoder_blocks_take_memories_with_lengths(norm_first):
    block = models.decoder_block(8, 2, 12, norm_first=norm_first)
    x, memory, lengths = rng_array(2, 5, 8), rng_array(2, 4, 8, seed=1), np.array([4, 2])
    params = random_params(block, (x, memory))
    apply = plain_jit(block.apply)
    y, (passed, _) = apply(params, (x, (memory, lengths)))
    np.testing.assert_array_equal(passed, memory)
    assert_close(y[1:], apply(params, (x[1:], memory[1:, :2]))[0])


def test_vit_is_for_the_images_that_it_was_made_for():
    net = models.vit(3, features=8, heads=2, depth=2, window=4)
    x = rng_array(2, 8, 8, 3)
    params = random_params(net, x)
    assert params.weights["positions"]["embedding"].shape == (5, 8)
    assert nn.output_shape(net, x) == jax.eval_shape(net.apply, params, x).shape == (2, 3)
    with pytest.raises(ValueError, match="position_embedding: room must be enough for all steps, 5, got 10"):
        net.apply(params, rng_array(2, 12, 12, 3))


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (
            nn.models.transformer(9, features=8, heads=2, hidden=8, depth=1),
            "the input must be (source, target)",
        ),
        (nn.models.decoder_block(8, 2, 8), "the input must be (x, memory)"),
    ],
)
def test_one_input_where_two_are_read(net, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        net.init(jax.random.key(0), (2, 3, 8))
