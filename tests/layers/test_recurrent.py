"""Recurrent layers and ``bidirectional``: inputs and outputs, lengths, carries, streams, initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.combinators import graph, mixed_precision, remat, serial, split
from jaxnn.combinators.bidirectional import bidirectional
from jaxnn.combinators.stacked import stacked
from jaxnn.layers.conv_lstm import conv_lstm
from jaxnn.layers.dense import dense
from jaxnn.layers.recurrent import gru, lstm, rnn
from jaxnn.ops import recurrent
from jaxnn.ops.sequences import reverse_sequences
from jaxnn.outputs import output_shape
from jaxnn.params import Params
from jaxnn.sequences import Sequences
from tests.support import assert_close, deep, random_params, rng_array

N, T, F, H = 3, 6, 3, 4
X = rng_array(N, T, F)
LENGTHS = np.array([4, 0, 6], np.int32)
LAYERS = {"rnn": rnn, "lstm": lstm, "gru": gru}
OPS = {"rnn": recurrent.rnn, "lstm": recurrent.lstm, "gru": recurrent.gru}
#: By default the one whose carry is a pair; the ops are tested for all three.
every_layer = pytest.mark.parametrize("name", ["lstm", deep("rnn"), deep("gru")])


def start(layer, inputs=X):
    """Params with biases that are not zero."""
    return random_params(layer, inputs)


def hidden(carry):
    """The state h of an LSTM's or another's carry."""
    return carry[0] if isinstance(carry, tuple) else carry


@every_layer
def test_equals_the_op(name):
    layer = LAYERS[name](H)
    params = start(layer)
    expected, _ = OPS[name](X, **params.weights)
    assert_close(layer.apply(params, X), expected)
    y, state = layer.train(params, X)
    assert_close(y, expected)
    assert state == {}


@every_layer
def test_lengths_go_in_and_out(name):
    layer = LAYERS[name](H)
    params = start(layer)
    y, lengths = layer.apply(params, (X, LENGTHS))
    assert lengths is LENGTHS
    assert_close(y, OPS[name](X, **params.weights, lengths=LENGTHS)[0])
    assert_close(layer.apply(params, Sequences(X, LENGTHS)), (y, LENGTHS))


@every_layer
@pytest.mark.parametrize("reverse", [False, True])
def test_the_last_output_is_that_of_the_last_real_step(name, reverse):
    layer = LAYERS[name](H, outputs="last", reverse=reverse)
    params = start(layer)
    y, _ = OPS[name](X, **params.weights, lengths=LENGTHS, reverse=reverse)
    last = y[:, 0] if reverse else y[np.arange(N), np.maximum(LENGTHS, 1) - 1]
    assert_close(layer.apply(params, (X, LENGTHS)), last)
    assert_close(layer.apply(params, X), OPS[name](X, **params.weights, reverse=reverse)[0][:, -1 + reverse])


@every_layer
@pytest.mark.parametrize("outputs", ["all", "last"])
def test_return_carry_adds_the_carry(name, outputs):
    plain = LAYERS[name](H, outputs=outputs)
    with_carry = LAYERS[name](H, outputs=outputs, return_carry=True)
    params = start(plain)
    for inputs in (X, (X, LENGTHS)):
        result, carry = with_carry.apply(params, inputs)
        assert_close(result, plain.apply(params, inputs))
        assert hidden(carry).shape == (N, H)


@every_layer
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_stream_in_pieces_equals_the_whole(name, lengths):
    layer = LAYERS[name](H, return_carry=True)
    params = start(layer)
    whole, final = layer.apply(params, Sequences(X, lengths))
    carry, pieces = None, []
    for i in range(0, T, 2):
        left = None if lengths is None else lengths - i
        y, carry = layer.apply(params, Sequences(X[:, i : i + 2], left, carry))
        pieces.append(y if lengths is None else y[0])
    assert_close(jnp.concatenate(pieces, axis=1), whole if lengths is None else whole[0])
    assert_close(carry, final)


def test_a_stack_streams_through_graph():
    def flow(f, inputs):
        x, (first, second) = inputs
        y, first = f.first(Sequences(x, carry=first))
        y, second = f.second(Sequences(y, carry=second))
        return f.head(y), (first, second)

    net = graph(flow, first=lstm(H, return_carry=True), second=gru(2, return_carry=True), head=dense(1))
    params = start(net, (X, (None, None)))
    whole, final = net.apply(params, (X, (None, None)))
    y, carries = net.apply(params, (X[:, :4], (None, None)))
    rest, carries = net.apply(params, (X[:, 4:], carries))
    assert_close(jnp.concatenate([y, rest], axis=1), whole)
    assert_close(carries, final)


@every_layer
def test_stacked_by_serial_with_lengths(name):
    net = serial(LAYERS[name](H), LAYERS[name](2, outputs="last"), dense(1))
    params = start(net, (X, LENGTHS))
    apply = jax.jit(net.apply)
    y = np.asarray(apply(params, (X, LENGTHS)))
    assert y.shape == (N, 1)
    for n, length in enumerate(LENGTHS):
        if length:
            assert_close(apply(params, X[n : n + 1, :length]), y[n : n + 1])


def test_a_dense_layer_between_two_with_lengths():
    net = serial(gru(H), dense(2), gru(2))
    y, lengths = net.apply(start(net, (X, LENGTHS)), (X, LENGTHS))
    assert y.shape == (N, T, 2)
    np.testing.assert_array_equal(lengths, LENGTHS)
    split_up = serial(gru(H), split(dense(2), lambda lengths: lengths), gru(2))
    params = start(split_up, (X, LENGTHS))
    assert_close(split_up.apply(params, (X, LENGTHS))[1], LENGTHS)


@every_layer
def test_gradients_of_lengths_are_not_asked_for(name):
    """Lengths are integers in a pytree beside x: only the weights are differentiated."""
    layer = LAYERS[name](H, outputs="last")
    params = start(layer)
    loss = lambda w: layer.apply(params._replace(weights=w), (X, LENGTHS)).sum()  # noqa: E731
    grads = jax.jit(jax.grad(loss))(params.weights)
    assert all(np.any(g) and np.isfinite(g).all() for g in jax.tree.leaves(grads))


# Both ways.


@every_layer
@pytest.mark.parametrize(
    ("merge", "lengths"),
    [deep("concat", None), ("sum", None), ("concat", LENGTHS), deep("sum", LENGTHS)],
)
def test_bidirectional_equals_a_forward_and_a_reverse_pass(name, merge, lengths):
    net = bidirectional(LAYERS[name](H), merge=merge)
    inputs = X if lengths is None else (X, lengths)
    params = start(net, inputs)
    assert set(params.weights) == {"forward", "backward"}
    there, _ = OPS[name](X, **params.weights["forward"], lengths=lengths)
    back, _ = OPS[name](X, **params.weights["backward"], lengths=lengths, reverse=True)
    expected = there + back if merge == "sum" else jnp.concatenate([there, back], axis=-1)
    assert_close(net.apply(params, inputs), expected if lengths is None else (expected, lengths))


@every_layer
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_bidirectional_last_is_the_last_of_each_direction(name, lengths):
    inputs = X if lengths is None else (X, lengths)
    last = bidirectional(LAYERS[name](H, outputs="last"))
    params = start(last, inputs)
    there, _ = OPS[name](X, **params.weights["forward"], lengths=lengths)
    back, _ = OPS[name](X, **params.weights["backward"], lengths=lengths, reverse=True)
    ends = np.full(N, T - 1) if lengths is None else np.maximum(lengths, 1) - 1
    expected = jnp.concatenate([there[np.arange(N), ends], back[:, 0]], axis=-1)
    assert_close(last.apply(params, inputs), expected)


@every_layer
@pytest.mark.parametrize(
    ("outputs", "lengths"),
    [deep("all", None), ("last", None), ("all", LENGTHS), deep("last", LENGTHS)],
)
def test_bidirectional_carries_go_in_and_out_as_a_pair(name, outputs, lengths):
    single = LAYERS[name](H, outputs=outputs, return_carry=True)
    net = bidirectional(single)
    params = start(net, Sequences(X, lengths))
    carry = jax.tree.map(lambda c: c + 1, net.apply(params, Sequences(X, lengths))[1])
    result, (there, back) = net.apply(params, Sequences(X, lengths, carry))
    forward, backward = (Params(params.weights[way], {}) for way in ("forward", "backward"))
    there_result, there_carry = single.apply(forward, Sequences(X, lengths, carry[0]))
    back_result, back_carry = single.apply(
        backward, Sequences(reverse_sequences(X, lengths), lengths, carry[1])
    )
    assert_close((there, back), (there_carry, back_carry))
    if outputs == "last":
        assert_close(result, jnp.concatenate([there_result, back_result], axis=-1))
    elif lengths is None:
        assert result.shape == (N, T, 2 * H)
    else:
        assert_close(result[0][..., :H], there_result[0])
        assert result[1] is lengths


def test_bidirectional_of_a_stack_and_under_other_combinators():
    stack = bidirectional(serial(lstm(H), remat(gru(2))))
    net = serial(stack, mixed_precision(bidirectional(rnn(3), merge="sum")), gru(2, outputs="last"))
    assert output_shape(net, (X, LENGTHS)) == (N, 2)
    params = start(net, (X, LENGTHS))
    y = jax.jit(net.apply)(params, (X, LENGTHS))
    noisy = np.where(np.arange(T)[None, :, None] < LENGTHS[:, None, None], X, np.float32(np.nan))
    assert_close(jax.jit(net.apply)(params, (noisy, LENGTHS)), y)


# What is dropped, projected and stacked.


def test_dropout_of_the_state_is_one_mask_for_all_steps_and_pieces():
    layer = lstm(H, state_dropout=0.5, return_carry=True)
    params, key = start(layer), jax.random.key(3)
    train = jax.jit(layer.train)
    (y, final), _ = train(params, X, key)
    masks = (np.array(m, np.float32).reshape(1, H) for m in np.ndindex(*[2] * H))
    found = [
        mask
        for mask in masks
        if np.allclose(recurrent.lstm(X[:1], **params.weights, state_mask=2 * mask)[0], y[:1], atol=1e-5)
    ]
    assert len(found) == 1
    (first, carry), _ = train(params, X[:, :2], key)
    (rest, last), _ = train(params, Sequences(X[:, 2:], carry=carry), key)
    assert_close((jnp.concatenate([first, rest], 1), last), (y, final))
    assert_close(layer.apply(params, X), lstm(H, return_carry=True).apply(params, X))
    other = train(params, X, jax.random.key(4))[0][0]
    assert np.abs(other - y).max() > 0.01
    with pytest.raises(ValueError, match="lstm: train needs a key"):
        layer.train(params, X)


@pytest.mark.parametrize("name", [deep("rnn"), "gru"])
def test_dropout_of_the_state_of_the_others(name):
    layer = LAYERS[name](H, state_dropout=0.5)
    params = start(layer)
    dropped = layer.train(params, (X, LENGTHS), jax.random.key(0))[0][0]
    none = OPS[name](X, **params.weights, lengths=LENGTHS, state_mask=np.zeros((N, H), np.float32))[0]
    assert_close(dropped[0, 0], none[0, 0])  # no state has been read yet
    assert np.any(dropped != none)


def test_a_projected_and_normalised_lstm():
    layer = lstm(H, projection=2, layer_norm=True, return_carry=True)
    params = start(layer)
    assert {key: w.shape for key, w in params.weights.items()} == {
        "input_kernel": (F, 4 * H), "recurrent_kernel": (2, 4 * H), "bias": (4 * H,),
        "projection_kernel": (H, 2), "input_scale": (4 * H,), "recurrent_scale": (4 * H,),
        "cell_scale": (H,), "cell_bias": (H,),
    }  # fmt: skip
    (y, _), (h, c) = layer.apply(params, (X, LENGTHS))
    assert (y.shape, h.shape, c.shape) == ((N, T, 2), (N, 2), (N, H))
    assert_close((y, (h, c)), recurrent.lstm(X, **params.weights, lengths=LENGTHS))
    assert set(lstm(H, layer_norm=True, bias=False).init(jax.random.key(0), X).weights) == {
        "input_kernel", "recurrent_kernel", "input_scale", "recurrent_scale", "cell_scale",
    }  # fmt: skip


@pytest.mark.parametrize("both_ways", [False, True])
def test_stacked_equals_a_serial_of_layers(both_ways):
    net = stacked(gru(H, outputs="last"), 2, bidirectional=both_ways)
    wrap = bidirectional if both_ways else (lambda layer: layer)
    row = serial(l0=wrap(gru(H)), l1=wrap(gru(H, outputs="last")))
    params = start(row, (X, LENGTHS))
    assert jax.tree.map(jnp.shape, net.init(jax.random.key(0), (X, LENGTHS))) == jax.tree.map(
        jnp.shape, params
    )
    assert_close(net.apply(params, (X, LENGTHS)), row.apply(params, (X, LENGTHS)))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("layer", [lstm(H, projection=2, return_carry=True), deep(rnn(H, return_carry=True))])
def test_a_stack_in_pieces_equals_the_whole(layer, lengths):
    net = stacked(layer, 2)
    params = start(net)
    whole, final = net.apply(params, Sequences(X, lengths))
    left = None if lengths is None else lengths - 2
    y, carry = net.apply(params, Sequences(X[:, :2], lengths))
    rest, last = net.apply(params, Sequences(X[:, 2:], left, carry))
    pieces = [y, rest] if lengths is None else [y[0], rest[0]]
    assert_close(jnp.concatenate(pieces, 1), whole if lengths is None else whole[0])
    assert_close(last, final)
    step = stacked(lstm(H), 2)
    params = start(step)
    stream, carry, outputs = step.stream(params, T), None, []
    for t in range(0, T, 3):
        y, carry = stream(X[:, t : t + 3], carry)
        outputs.append(y)
    assert_close(jnp.concatenate(outputs, 1), step.apply(params, X))


def test_dropout_between_the_layers_of_a_stack():
    net = stacked(rnn(H), 3, dropout=1.0)
    params = start(net, (X, LENGTHS))
    (y, _), _ = net.train(params, (X, LENGTHS), jax.random.key(0))
    top = Params(params.weights["l2"], {})
    assert_close(y, rnn(H).apply(top, (np.zeros((N, T, H), np.float32), LENGTHS))[0])
    assert_close(net.apply(params, X), stacked(rnn(H), 3).apply(params, X))


@pytest.mark.parametrize("outputs", ["all", "last"])
def test_a_conv_lstm_as_a_layer_both_ways(outputs):
    x = rng_array(N, T, 5, F)
    single = conv_lstm(2, 3, strides=2, padding="SAME", outputs=outputs, return_carry=True)
    net = bidirectional(single)
    params = start(net, (x, LENGTHS))
    shapes = {"input_kernel": (3, F, 8), "recurrent_kernel": (3, 2, 8), "bias": (8,)}
    assert jax.tree.map(jnp.shape, params.weights["forward"]) == shapes
    result, (there, _) = net.apply(params, (x, LENGTHS))
    own, carry = single.apply(Params(params.weights["forward"], {}), (x, LENGTHS))
    assert_close(there, carry)
    if outputs == "all":
        assert result[0].shape == (N, T, 3, 4)
        assert_close(result[0][..., :2], own[0])
    else:
        assert_close(result[..., :2], own)


def test_bad_settings_of_stacks_and_variants_get_a_sentence():
    with pytest.raises(ValueError, match="stacked: dropout must be 0 for one layer, since it stands between"):
        stacked(lstm(2), 1, dropout=0.1)
    net = stacked(lstm(H), 2)
    with pytest.raises(ValueError, match="stacked: carry must be a tuple of 2, that of each layer, got"):
        net.apply(start(net), Sequences(X, carry=(X, X, X)))
    with pytest.raises(ValueError, match=r"rnn: state_dropout must be in \[0, 1\), the probability to drop"):
        rnn(2, state_dropout=1.0)
    with pytest.raises(ValueError, match="lstm: projection must be at least 1, got 0"):
        lstm(2, projection=0)
    with pytest.raises(ValueError, match=r"conv_lstm: x must be \(N, T, \*space, C\), got shape \(3, 6, 3\)"):
        conv_lstm(2, 3).init(jax.random.key(0), X)


# Initial weights.


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_initial_weights(name, gates):
    weights = LAYERS[name](64).init(jax.random.key(0), (1, 5, 32)).weights
    shapes = {
        "input_kernel": (32, gates * 64),
        "recurrent_kernel": (64, gates * 64),
        "bias": (gates * 64,),
        **({"recurrent_bias": (64,)} if name == "gru" else {}),
    }
    assert jax.tree.map(jnp.shape, weights) == shapes
    assert abs(float(weights["input_kernel"].std()) - np.sqrt(2 / 32)) < 0.02  # He normal: fan-in F
    blocks = jnp.split(weights["recurrent_kernel"], gates, axis=1)
    for block in blocks:
        assert_close(block @ block.T, np.eye(64, dtype=np.float32))
    assert gates == 1 or not np.allclose(blocks[0], blocks[1])


def test_the_forget_gate_of_an_lstm_starts_at_one_and_all_other_biases_at_zero():
    bias = lstm(H).init(jax.random.key(0), X).weights["bias"]
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], H))
    for layer in (rnn(H), gru(H)):
        weights = layer.init(jax.random.key(0), X).weights
        assert not any(np.any(w) for key, w in weights.items() if "bias" in key)


@every_layer
def test_initialisers_are_arguments(name):
    ones = jax.nn.initializers.ones
    layer = LAYERS[name](H, kernel_init=ones, recurrent_kernel_init=ones, bias_init=ones)
    assert all((w == 1).all() for w in layer.init(jax.random.key(0), X).weights.values())


@every_layer
def test_without_bias(name):
    layer = LAYERS[name](H, bias=False)
    params = layer.init(jax.random.key(0), X)
    assert set(params.weights) == {"input_kernel", "recurrent_kernel"}
    assert layer.apply(params, X).shape == (N, T, H)


@every_layer
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_weights_have_the_dtype_of_the_input(name, dtype):
    layer = LAYERS[name](H)
    params = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((N, T, F), dtype))
    assert {w.dtype for w in params.weights.values()} == {jnp.dtype(dtype)}
    assert layer.apply(params, jnp.asarray(X, dtype)).dtype == dtype


@every_layer
def test_init_under_jit_vmap_and_eval_shape(name):
    layer = LAYERS[name](H)

    def init(key):
        return layer.init(key, (N, T, F))

    expected = init(jax.random.key(0))
    assert_close(jax.jit(init)(jax.random.key(0)), expected)
    assert jax.tree.map(jnp.shape, jax.eval_shape(init, jax.random.key(0))) == jax.tree.map(
        jnp.shape, expected
    )
    assert jax.tree.leaves(jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), 2)))[0].shape[0] == 2


# Bad input.


def test_bad_settings_get_a_sentence():
    with pytest.raises(ValueError, match="lstm: features must be at least 1, got 0"):
        lstm(0)
    with pytest.raises(TypeError, match=r"gru: features must be an integer, got 2\.5"):
        gru(2.5)
    with pytest.raises(ValueError, match="rnn: outputs must be 'all' or 'last', got 'first'"):
        rnn(2, outputs="first")
    with pytest.raises(ValueError, match="bidirectional: merge must be 'concat' or 'sum', got 'mean'"):
        bidirectional(rnn(2), merge="mean")


def test_bad_input_gets_a_sentence():
    layer = lstm(H)
    params = start(layer)
    with pytest.raises(ValueError, match=r"lstm: x must be \(N, T, F\), got shape \(3, 6\)"):
        layer.init(jax.random.key(0), (3, 6))
    with pytest.raises(TypeError, match="lstm: x must be floating-point, got int32"):
        layer.init(jax.random.key(0), jax.ShapeDtypeStruct((3, 6, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"lstm: input_kernel must be \(F, 4·H\) = \(2, 16\)"):
        layer.apply(params, X[..., :2])
    with pytest.raises(ValueError, match=r"lstm: the input must be x, \(x, lengths\) or Sequences"):
        layer.apply(params, (X, LENGTHS, None, None))
    with pytest.raises(TypeError, match="lstm: lengths must be integers, got float32"):
        layer.apply(params, (X, X[:, 0]))
    with pytest.raises(ValueError, match="params of another net"):
        layer.apply(start(dense(2)), X)
    both = bidirectional(layer)
    with pytest.raises(ValueError, match="bidirectional: carry must be a pair"):
        both.apply(start(both), Sequences(X, carry=X[:, 0]))
