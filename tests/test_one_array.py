"""Where one array is wanted, several raise a sentence that says what was passed: they are never stacked."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import ENTRIES

IMAGE = jnp.ones((2, 4, 4, 4))
ROW = jnp.ones((2, 4))
SEQUENCE = jnp.ones((2, 3, 4))
HEADS = jnp.ones((2, 5, 2, 4))
KERNEL = jnp.ones((3, 3, 4, 2))

#: These take the carry first, or are exactly a function of JAX.
OTHERS = {"rnn_step", "lstm_step", "gru_step", "conv_lstm_step", "conv_general_dilated"}

#: What each op is called with, the array first; one that has no line here takes nothing else.
CALLS: dict[str, tuple[Any, ...]] = {
    **{name: (ROW,) for name in nn.ops.__all__ if name not in OTHERS},
    "prelu": (ROW, jnp.ones(4)),
    "maxout": (ROW, 2),
    "threshold": (ROW, 0.0, 1.0),
    "dense": (ROW, jnp.ones((4, 2))),
    "conv": (IMAGE, KERNEL),
    "conv_transpose": (IMAGE, KERNEL),
    **dict.fromkeys(("max_pool", "min_pool", "avg_pool", "lp_pool", "max_pool_with_indices"), (IMAGE, 2)),
    **dict.fromkeys(("global_max_pool", "global_avg_pool"), (IMAGE,)),
    **dict.fromkeys(("adaptive_max_pool", "adaptive_avg_pool"), (IMAGE, 2)),
    "max_unpool": (IMAGE, jnp.zeros(IMAGE.shape, jnp.int32), 8),
    **dict.fromkeys(("resize", "upsample", "pixel_shuffle", "pixel_unshuffle"), (IMAGE, 2)),
    "batch_norm": (ROW, jnp.ones(4), jnp.ones(4)),
    "group_norm": (ROW, 2),
    "instance_norm": (IMAGE,),
    "standardize": (ROW, jnp.ones(4), jnp.ones(4)),
    "rnn": (SEQUENCE, jnp.ones((4, 2)), jnp.ones((2, 2))),
    "lstm": (SEQUENCE, jnp.ones((4, 8)), jnp.ones((2, 8))),
    "gru": (SEQUENCE, jnp.ones((4, 6)), jnp.ones((2, 6))),
    "conv_lstm": (jnp.ones((2, 3, 4, 4)), jnp.ones((3, 4, 8)), jnp.ones((1, 2, 8))),
    "reverse_sequences": (SEQUENCE,),
    "attention": (HEADS, HEADS, HEADS),
    "rotary": (HEADS,),
    "rotary_layout": (ROW, 2, "pairs"),
    "alibi_bias": (2, 5),
    "attention_pool": (IMAGE, jnp.ones((4, 2))),
    "sinusoidal_positions": (jnp.arange(5), 4),
}


class Pair(NamedTuple):
    """The result of a layer with a carry."""

    y: Any
    carry: Any


def several(x):
    """Two arrays in every form that they may come in."""
    return [(x, x), [x, x], Pair(x, x), {"y": x}, (), None]


@pytest.mark.parametrize("name", [n for n in CALLS if getattr(nn.ops, n).__module__.startswith("jaxnn")])
def test_an_op_of_one_array(name):
    """In the place of every array that it takes; jax.nn's own functions raise JAX's own errors."""
    op, arguments = getattr(nn.ops, name), CALLS[name]
    jax.eval_shape(lambda: op(*arguments))
    for place, argument in enumerate(arguments):
        if isinstance(argument, jax.Array):
            for wrong in several(argument):
                with pytest.raises(TypeError, match=r"^\w+: \w+ must be (one|an) array, got"):
                    op(*arguments[:place], wrong, *arguments[place + 1 :])


@pytest.mark.parametrize("name", [n for n, (x, *more) in CALLS.items() if x is ROW and not more])
def test_a_plain_function_in_a_net(name):
    net = nn.serial(nn.parallel(nn.dense(3), nn.dense(3)), getattr(nn.ops, name))
    with pytest.raises(TypeError, match=r"got a tuple of 2|requires ndarray or scalar") as caught:
        net.init(jax.random.key(0), (2, 4))
    assert f"in layer serial/{name}" in caught.value.__notes__[0]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_layer_of_one_array(entry):
    layer = as_layer(entry.make())
    x = jnp.zeros(entry.shape, jnp.int32 if entry.integers else jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    wrongs = [(x, x), Pair(x, x), ((x, x), x)]
    for wrong in wrongs[1:] if entry.name.startswith("multi_head_attention") else wrongs:  # (query, memory)
        for function in (layer.apply, lambda *args: layer.train(*args, jax.random.key(0))):
            with pytest.raises((TypeError, ValueError), match=r"must be|requires ndarray"):
                jax.eval_shape(function, params, wrong)


def test_a_sentence_says_what_came():
    gru, dense = nn.gru(3, return_carry=True), nn.dense(2)
    result = gru.apply(gru.init(jax.random.key(0), (2, 5, 4)), jnp.ones((2, 5, 4)))
    sentence = r"^dense: x must be one array, got a tuple of 2 \(float32\[2,5,3\], float32\[2,3\]\)"
    with pytest.raises(TypeError, match=sentence):
        dense.apply(dense.init(jax.random.key(0), (2, 3)), result)


def test_several_arrays_are_welcome_where_they_make_sense():
    """A user's own function, and those of JAX that join arrays."""
    both = nn.parallel(nn.dense(3), nn.dense(3))
    joined = nn.serial(both, jnp.stack)
    assert nn.output_shape(joined, (2, 4)) == (2, 2, 3)
    assert nn.output_shape(nn.serial(both, lambda ys: ys[0] * ys[1]), (2, 4)) == (2, 3)


def test_numbers_and_numpy_arrays_are_arrays():
    assert nn.ops.gelu(1.0).shape == nn.ops.step(0.5).shape == ()
    assert nn.linear(3) == 3
