"""Multi-head attention and positions: torch's answers, pieces against the whole, lengths, memory, errors."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.layer import in_pieces
from tests.support import assert_close, deep, known_answers, rng_array

N, T, F = 2, 7, 8
X = rng_array(N, T, F)
LENGTHS = np.array([7, 4])

#: Settings under which pieces must equal the whole.
SETTINGS = {
    "plain": {},
    "grouped-rotary-norm": {"kv_heads": 2, "rotary": True, "qk_norm": True},
    "alibi": {"alibi": True, "kv_heads": 1},
    "window": {
        "window": (2, None),
        "rotary": partial(nn.ops.rotary, layout="pairs", fraction=0.5),
        "head_features": 4,
    },
}


def layers(**settings):
    """One layer that returns its carry and one that doesn't, and params of both."""
    make = partial(nn.multi_head_attention, F, 4, causal=True, **settings)
    whole, pieces = make(), make(return_carry=True, room=T + 2)
    return whole, pieces, whole.init(jax.random.key(0), X)


@pytest.mark.parametrize("name", ["plain", deep("grouped-rotary-norm"), deep("alibi"), deep("window")])
def test_pieces_equal_the_whole(name):
    """In pieces, and one step at a time with one compilation."""
    whole, pieces, params = layers(**SETTINGS[name])
    expected = whole.apply(params, X)
    first, carry = pieces.apply(params, X[:, :4])
    rest, carry = pieces.apply(params, nn.Sequences(X[:, 4:], carry=carry))
    assert_close(jnp.concatenate([first, rest], axis=1), expected)
    assert int(carry.steps) == T

    step = jax.jit(lambda params, x, carry: pieces.apply(params, nn.Sequences(x, carry=carry)))
    _, carry = pieces.apply(params, X[:, :1])
    for t in range(1, T):
        y, carry = step(params, X[:, t : t + 1], carry)
        assert_close(y, expected[:, t : t + 1])
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", ["plain", deep("grouped-rotary-norm"), deep("alibi"), deep("window")])
def test_pieces_of_different_lengths_equal_the_whole(name):
    """The second sequence is two steps behind: padding is neither read nor does it take room."""
    whole, pieces, params = layers(**SETTINGS[name])
    expected, apply = whole.apply(params, X), jax.jit(pieces.apply)
    padded = X[:, :3].copy()
    padded[1, 1:] = np.nan
    (first, _), carry = apply(params, (padded, np.array([3, 1])))
    rest = np.stack([X[0, 3:6], X[1, 1:4]])
    second, carry = apply(params, nn.Sequences(rest, carry=carry))
    np.testing.assert_array_equal(carry.steps, [6, 4])
    assert_close(first[0], expected[0, :3])
    assert_close(first[1, :1], expected[1, :1])
    assert not np.asarray(first)[1, 1:].any()
    assert_close(second, np.stack([expected[0, 3:6], expected[1, 1:4]]))
    (last, _), carry = apply(params, nn.Sequences(np.stack([X[0, 6:], X[1, 4:5]]), np.array([1, 0]), carry))
    assert_close(last[0], expected[0, 6:])
    np.testing.assert_array_equal(carry.steps, [7, 4])


def test_gradients_through_a_carry_are_those_of_the_whole():
    whole, pieces, params = layers(rotary=True)

    def in_pieces(params, x):
        first, carry = pieces.apply(params, x[:, :4])
        one, carry = pieces.apply(params, nn.Sequences(x[:, 4:5], carry=carry))
        rest, _ = pieces.apply(params, nn.Sequences(x[:, 5:], carry=carry))
        return jnp.sum(jnp.sin(jnp.concatenate([first, one, rest], axis=1)))

    expected = jax.jit(jax.grad(lambda params, x: jnp.sum(jnp.sin(whole.apply(params, x))), (0, 1)))(
        params, X
    )
    assert_close(jax.jit(jax.grad(in_pieces, (0, 1)))(params, X), expected)


def test_a_carry_that_is_full():
    """A sentence where the number of steps is known, NaN where it is traced."""
    _, pieces, params = layers()
    _, carry = pieces.apply(params, X)
    sentence = "the carry is full: it was made for 9 steps, got 3 more after 7"
    with pytest.raises(ValueError, match=sentence):
        pieces.apply(params, nn.Sequences(X[:, :3], carry=carry))
    step = jax.jit(lambda x, carry: pieces.apply(params, nn.Sequences(x, carry=carry)))
    y, _ = step(X[:, :3], carry)
    assert np.isnan(np.asarray(y)[:, 2:]).all()
    assert np.isfinite(np.asarray(y)[:, :2]).all()


def test_lengths_and_carries_that_a_program_holds():
    """Under ``jit`` what JAX computes from a constant array is traced: it is checked without error."""
    _, pieces, params = layers()
    lengths = jnp.array([2, 1], jnp.int32)
    _, carry = pieces.apply(params, nn.Sequences(X[:, :6], jnp.array([6, 4], jnp.int32)))
    places = nn.position_embedding(9, return_carry=True)
    learnt = places.init(jax.random.key(0), X)
    _, at = places.apply(learnt, X)
    for layer, weights, held in ((pieces, params, carry), (places, learnt, at)):

        def run(x, layer=layer, weights=weights, held=held):
            return layer.apply(weights, nn.Sequences(x, lengths, held))[0]

        assert_close(jax.jit(run)(X[:, :2]), run(X[:, :2]))
    more = lengths + 3
    with pytest.raises(ValueError, match="the carry is full"):
        jax.jit(lambda x: pieces.apply(params, nn.Sequences(x, more, carry)))(X)
    with pytest.raises(ValueError, match="room must be enough for all steps, 9, got 3 after 7"):
        jax.jit(lambda x: places.apply(learnt, nn.Sequences(x, carry=at)))(X[:, :3])


def test_a_step_leaves_alone_what_it_does_not_read():
    """NaN in another example, or further back than the window."""
    whole, pieces, params = layers(window=(2, None), kv_heads=2)
    expected = whole.apply(params, X)
    spoiled = X.copy()
    spoiled[0, 1] = np.nan
    _, carry = pieces.apply(params, spoiled[:, :3])
    for t in range(3, T):
        y, carry = pieces.apply(params, nn.Sequences(spoiled[:, t : t + 1], carry=carry))
        assert_close(y[1], expected[1, t : t + 1])
        assert np.isnan(np.asarray(y[0])).all() if t == 3 else not np.isnan(np.asarray(y[0])).any()
        if t > 3:
            assert_close(y[0], expected[0, t : t + 1])


def test_a_step_updates_the_carry_in_place():
    """Beside the carry, a loop of steps needs less memory than a copy of one layer's carry."""
    net = nn.repeat(nn.residual(nn.layer_norm(), nn.multi_head_attention(F, 2, causal=True)), 2)
    params = net.init(jax.random.key(0), X[:1, :1])
    step = in_pieces(net, params, 512)
    start = step(X[:1, :1], None)

    def steps(start):
        return jax.lax.scan(lambda last, _: (step(*last), None), start, None, length=4)[0]

    compiled = jax.jit(steps, donate_argnums=0).lower(start).compile()
    assert (
        compiled.memory_analysis().temp_size_in_bytes < start[1][0]["multi_head_attention_0"][0].keys.nbytes
    )


@pytest.mark.parametrize("mode", ["apply", deep("train")])
def test_padding_changes_nothing(mode):
    """More padding, NaN in it: the same values and the same gradients of the weights."""
    layer = nn.multi_head_attention(F, 2, causal=True, rotary=True)
    params = layer.init(jax.random.key(0), X)

    def loss(weights, x):
        given = nn.Params(weights, {}), (x, LENGTHS)
        y, lengths = layer.apply(*given) if mode == "apply" else layer.train(*given)[0]
        np.testing.assert_array_equal(lengths, LENGTHS)
        return jnp.sum(jnp.sin(y)), y

    longer = np.full((N, T + 3, F), np.nan, np.float32)
    for n, length in enumerate(LENGTHS):
        longer[n, :length] = X[n, :length]
    grad = jax.jit(jax.grad(loss, has_aux=True))
    (expected, y), (found, padded) = grad(params.weights, X), grad(params.weights, longer)
    assert_close(found, expected)
    assert_close(padded[:, :T], y)
    assert not np.asarray(padded)[1, 4:].any()


def test_attention_to_a_memory():
    """Each with its own lengths; what is past the memory's end is not read, and a carry is not needed."""
    layer = nn.multi_head_attention(F, 2)
    memory, lengths = rng_array(N, 5, 6, seed=1), np.array([5, 2])
    params = layer.init(jax.random.key(0), (X, memory))
    assert params.weights["key_kernel"].shape == (6, F)
    spoiled = memory.copy()
    spoiled[1, 2:] = np.nan
    y, of_queries = layer.apply(params, ((X, LENGTHS), (spoiled, lengths)))
    np.testing.assert_array_equal(of_queries, LENGTHS)
    short = layer.apply(params, (X[1:], memory[1:, :2]))
    assert_close(y[1, :4], short[0, :4])
    assert_close(y[:1], layer.apply(params, (X[:1], memory[:1])))
    assert not np.asarray(y)[1, 4:].any()


def test_dropout_drops_weights():
    """The mean output over many keys equals that without dropout; inference draws nothing."""
    layer, plain = (
        nn.multi_head_attention(F, 2, dropout=0.5, causal=True),
        nn.multi_head_attention(F, 2, causal=True),
    )
    params = layer.init(jax.random.key(0), X)
    expected = plain.apply(params, X)
    assert_close(layer.apply(params, X), expected)
    keys = jax.random.split(jax.random.key(1), 2000)
    drawn = jax.jit(jax.vmap(lambda key: layer.train(params, X, key)[0]))(keys)
    assert np.abs(drawn[0] - expected).max() > 0.1
    error = np.abs(np.mean(drawn, axis=0) - expected)
    assert (error < 6 * np.std(drawn, axis=0) / 2000**0.5 + 1e-5).all()
    with pytest.raises(ValueError, match="multi_head_attention: train needs a key"):
        layer.train(params, X)


def test_a_transformer_without_positions_cannot_tell_order():
    layer = nn.multi_head_attention(F, 2)
    params = layer.init(jax.random.key(0), X)
    order = np.array([3, 1, 0, 2, 6, 5, 4])
    assert_close(layer.apply(params, X[:, order]), layer.apply(params, X)[:, order])
    for positions in (
        nn.sinusoidal_positions(),
        nn.position_embedding(T, embedding_init=jax.nn.initializers.normal(1.0)),
    ):
        net = nn.serial(positions, layer)
        params = net.init(jax.random.key(0), X)
        moved, y = net.apply(params, X[:, order]), net.apply(params, X)[:, order]
        assert np.abs(moved - y).max() > 0.1


# --- torch ---


def from_torch(answers, prefix="", *, features=F):
    """The weights of torch's MultiheadAttention as those of the layer."""
    inputs = answers[f"{prefix}in_proj_weight"].reshape(3, features, features)
    weights = {f"{part}_kernel": w.T for part, w in zip(("query", "key", "value"), inputs, strict=True)}
    weights["output_kernel"] = answers[f"{prefix}out_proj.weight"].T
    if f"{prefix}in_proj_bias" in answers:
        biases = answers[f"{prefix}in_proj_bias"].reshape(3, features)
        weights |= {f"{part}_bias": b for part, b in zip(("query", "key", "value"), biases, strict=True)}
        weights["output_bias"] = answers[f"{prefix}out_proj.bias"]
    return weights


def of_case(case):
    answers = known_answers("multi_head_attention")
    return {name.removeprefix(f"{case}/"): a for name, a in answers.items() if name.startswith(f"{case}/")}


def check_against_torch(net, params, answers, inputs, made=lambda *arrays: arrays[0]):
    arrays = [answers[name] for name in inputs]

    def run(*arrays):
        result = net.apply(params, made(*arrays))
        return result[0] if isinstance(result, tuple) else result

    y, pull = jax.vjp(run, *arrays)
    assert_close(y, answers["y"])
    gradients = pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype) + 1).reshape(y.shape))
    for name, gradient in zip(inputs, gradients, strict=True):
        assert_close(gradient, answers[f"grad/{name}"])


@pytest.mark.parametrize("case", ["causal", deep("lengths"), "memory"])
def test_known_answers(case):
    answers = of_case(case)
    layer = nn.multi_head_attention(F, 2, causal=case == "causal", bias=case != "lengths")
    lengths = known_answers("multi_head_attention")["lengths"]
    made = {
        "causal": lambda x: x,
        "lengths": lambda x: (x, lengths),
        "memory": lambda x, memory: (x, memory),
    }[case]
    inputs = ("x", "memory") if case == "memory" else ("x",)
    check_against_torch(layer, nn.Params(from_torch(answers), {}), answers, inputs, made)


@pytest.mark.parametrize("order", ["post", deep("pre")])
def test_known_answers_of_an_encoder_layer(order):
    """An encoder layer made of combinators gives torch's answers."""
    answers = of_case(f"{order}_norm")
    attention, hidden, norm = (
        nn.multi_head_attention(F, 2),
        nn.serial(a=nn.dense(12), r=nn.relu, b=nn.dense(F)),
        nn.layer_norm(),
    )
    if order == "post":
        net = nn.serial(a=nn.residual(f=attention), m=norm, b=nn.residual(f=hidden), n=norm)
    else:
        net = nn.serial(a=nn.residual(n=norm, f=attention), b=nn.residual(n=norm, f=hidden))
    norms = [{"scale": answers[f"norm{i}.weight"], "bias": answers[f"norm{i}.bias"]} for i in (1, 2)]
    dense = [{"kernel": answers[f"linear{i}.weight"].T, "bias": answers[f"linear{i}.bias"]} for i in (1, 2)]
    parts = from_torch(answers, "self_attn."), {"a": dense[0], "b": dense[1]}
    if order == "post":
        weights = {"a": {"f": parts[0]}, "m": norms[0], "b": {"f": parts[1]}, "n": norms[1]}
    else:
        weights = {"a": {"n": norms[0], "f": parts[0]}, "b": {"n": norms[1], "f": parts[1]}}
    check_against_torch(net, nn.Params(weights, {}), answers, ("x",))


# --- pieces of a whole net ---


def body(**settings):
    return nn.serial(
        nn.residual(nn.layer_norm(), nn.multi_head_attention(F, 2, causal=True, **settings)),
        nn.residual(nn.layer_norm(), nn.dense(F), nn.gelu),
    )


NETS = {
    "repeat": lambda: nn.serial(nn.position_embedding(9), nn.repeat(body(rotary=True), 2), nn.dense(3)),
    "recurrent": lambda: nn.serial(nn.gru(F), nn.lstm(F), nn.rnn(F)),
    "wrappers": lambda: nn.serial(
        nn.frozen(nn.gru(F)),
        nn.weight_norm(nn.lstm(F)),
        nn.remat(body()),
        nn.mixed_precision(body(), jnp.float32),
    ),
    "shared": lambda: nn.graph(lambda f, x: f.a(f.a(x)) + f.b(x), a=nn.gru(F), b=nn.sinusoidal_positions()),
    "ensemble": lambda: nn.serial(nn.spectral_norm(nn.gru(F)), nn.ensemble(nn.gru(F), 2)),
}


@pytest.mark.parametrize("name", ["repeat", "wrappers", deep("recurrent"), deep("shared"), deep("ensemble")])
def test_a_net_in_pieces_equals_the_whole(name):
    net = NETS[name]()
    params = net.init(jax.random.key(0), X)
    expected, carry, pieces = jax.jit(net.apply)(params, X), None, []
    step = jax.jit(in_pieces(net, params, 9))
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        y, carry = step(X[:, start:stop], carry)
        pieces.append(y)
    assert_close(jnp.concatenate(pieces, axis=-2), expected)


@pytest.mark.parametrize(
    ("make", "inputs", "sentence"),
    [
        (
            lambda: nn.multi_head_attention(8, 3),
            None,
            "heads must divide features, or head_features be given",
        ),
        (lambda: nn.multi_head_attention(8, 4, kv_heads=3), None, "kv_heads must divide heads, got 3 and 4"),
        (
            lambda: nn.multi_head_attention(6, 2, rotary=True),
            None,
            "rotary must be False for heads of an odd",
        ),
        (
            lambda: nn.multi_head_attention(8, 2, alibi=True),
            None,
            "alibi needs causal=True, got causal=False",
        ),
        (
            lambda: nn.multi_head_attention(8, 2, causal=True, return_carry=True),
            None,
            "room must be the most steps",
        ),
        (lambda: nn.multi_head_attention(8, 2, window=-1), None, "window must be an integer at least 0"),
        (
            lambda: nn.multi_head_attention(8, 2),
            (X, None),
            "the memory must be an array (N, S, F), or (array",
        ),
        (
            lambda: nn.multi_head_attention(8, 2),
            (X, X[:1]),
            "the memory must have the batch and the dtype of x",
        ),
        (lambda: nn.multi_head_attention(8, 2), X[0], "x must be (N, T, F)"),
        (
            lambda: nn.multi_head_attention(8, 2),
            (X, [8, 1]),
            "lengths must be at most 7, the steps there are",
        ),
        (
            lambda: nn.multi_head_attention(8, 2),
            (X, (X, np.array([8, 1]))),
            "the memory's lengths must be at most 7, the steps there are, got 8",
        ),
        (
            lambda: nn.multi_head_attention(8, 2),
            nn.Sequences(X, carry=X),
            "carry must be one that this layer returned",
        ),
    ],
)
def test_errors(make, inputs, sentence):
    def run():
        layer = make()
        layer.apply(layer.init(jax.random.key(0), X), inputs)

    with pytest.raises((ValueError, TypeError), match=re.escape(f"multi_head_attention: {sentence}")):
        run()


def test_too_many_steps_for_learnt_positions():
    layer = nn.position_embedding(5, return_carry=True)
    params = layer.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="position_embedding: room must be enough for all steps, 5, got 7"):
        layer.apply(params, X)
    _, carry = layer.apply(params, X[:, :4])
    with pytest.raises(ValueError, match="enough for all steps, 5, got 2 after 4"):
        layer.apply(params, nn.Sequences(X[:, :2], carry=carry))
    y, _ = jax.jit(lambda carry: layer.apply(params, nn.Sequences(X[:, :2], carry=carry)))(carry)
    assert np.isnan(np.asarray(y)[:, 1:]).all()
