"""Recurrent ops against the float64 reference, PyTorch's answers, and what conventions promise."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn as nn
from jaxnn.kernels.recurrence.forms import block_length
from jaxnn.kernels.recurrence.values import Operands
from jaxnn.ops import recurrent, sequences
from tests.reference import recurrent as reference
from tests.support import assert_close, deep, known_answers, plain_jit, rng_array

N, T, F, H = 3, 6, 3, 4


class Net(NamedTuple):
    op: Callable[..., Any]
    step: Callable[..., Any]
    gates: int
    reference: Callable[..., Any]


NETS = {
    "rnn": Net(recurrent.rnn, recurrent.rnn_step, 1, partial(reference.rnn_step, activation=np.tanh)),
    "lstm": Net(recurrent.lstm, recurrent.lstm_step, 4, reference.lstm_step),
    "gru": Net(recurrent.gru, recurrent.gru_step, 3, reference.gru_step),
}
every_net = pytest.mark.parametrize("name", NETS)
#: For tests that take seconds: the other nets run in ``make test-deep``.
lstm_at_least = pytest.mark.parametrize("name", [deep("rnn"), "lstm", deep("gru")])


def make_weights(name: str, seed: int = 0, dtype: Any = np.float32, hidden: int = H) -> dict[str, np.ndarray]:
    columns = NETS[name].gates * hidden
    weights = {
        "input_kernel": rng_array(F, columns, seed=seed + 1, dtype=dtype),
        "recurrent_kernel": rng_array(hidden, columns, seed=seed + 2, dtype=dtype)
        * dtype((H / hidden) ** 0.5),
        "bias": rng_array(columns, seed=seed + 3, dtype=dtype),
    }
    if name == "gru":
        weights["recurrent_bias"] = rng_array(hidden, seed=seed + 4, dtype=dtype)
    return weights


def make_carry(name: str, seed: int = 0, dtype: Any = np.float32, hidden: int = H) -> Any:
    h, c = (rng_array(N, hidden, seed=seed + i, dtype=dtype) for i in (5, 6))
    return (h, c) if name == "lstm" else h


#: What an LSTM may have beside its equations, by name.
VARIANTS = ("projection", "layer_norm", "both", "mask")
every_variant = pytest.mark.parametrize("variant", VARIANTS)
P = 2


def make_variant(variant: str, dtype: Any = np.float32) -> tuple[dict[str, np.ndarray], Any]:
    """The weights of an LSTM, with what is special about it, and a carry."""
    weights, (h, c) = make_weights("lstm", dtype=dtype), make_carry("lstm", dtype=dtype)
    if variant in ("projection", "both"):
        weights["recurrent_kernel"] = weights["recurrent_kernel"][:P]
        weights["projection_kernel"] = rng_array(H, P, seed=11, dtype=dtype)
        h = h[:, :P]
    if variant in ("layer_norm", "both"):
        for i, (entry, size) in enumerate(
            (("input_scale", 4 * H), ("recurrent_scale", 4 * H), ("cell_scale", H), ("cell_bias", H))
        ):
            weights[entry] = rng_array(size, seed=12 + i, dtype=dtype)
    if variant == "mask":
        weights["state_mask"] = rng_array(N, H, seed=16, dtype=dtype)
    return weights, (h, c)


def zeros(name: str) -> Any:
    return jax.tree.map(np.zeros_like, make_carry(name))


@given(
    name=st.sampled_from(sorted(NETS)),
    lengths=st.lists(st.integers(-1, T + 2), min_size=N, max_size=N),
    reverse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_reference(name, lengths, reverse, seed):
    weights, carry = make_weights(name, seed, np.float64), make_carry(name, seed, np.float64)
    x = rng_array(N, T, F, seed=seed, dtype=np.float64)
    step = partial(NETS[name].reference, weights=weights)
    expected = reference.over_time(step, x, carry, lengths, reverse)
    with jax.enable_x64(True):
        assert_close(NETS[name].op(x, **weights, carry=carry, lengths=lengths, reverse=reverse), expected)


@pytest.mark.parametrize("reverse", [False, deep(True)])
@pytest.mark.parametrize("variant", ["projection", "layer_norm", "both"])
def test_a_variant_equals_the_reference(variant, reverse, x64):
    weights, carry = make_variant(variant, np.float64)
    x, lengths = rng_array(N, T, F, dtype=np.float64), [4, 0, T]
    expected = reference.over_time(partial(reference.lstm_step, weights=weights), x, carry, lengths, reverse)
    assert_close(recurrent.lstm(x, **weights, carry=carry, lengths=lengths, reverse=reverse), expected)


def test_bad_variants_get_a_sentence():
    weights, carry = make_variant("both")
    x = rng_array(N, T, F)
    with pytest.raises(
        ValueError, match=r"lstm: recurrent_kernel must be \(P, 4·H\) = \(2, 16\) for x of shape"
    ):
        recurrent.lstm(x, **weights | {"recurrent_kernel": make_weights("lstm")["recurrent_kernel"]})
    with pytest.raises(ValueError, match=r"lstm: projection_kernel must be \(H, P\), got shape \(4,\)"):
        recurrent.lstm(x, **weights | {"projection_kernel": weights["cell_bias"]})
    with pytest.raises(ValueError, match=r"lstm: carry h must be \(N, P\) = \(3, 2\), got shape \(3, 4\)"):
        recurrent.lstm(x, **weights, carry=(carry[1], carry[1]))
    with pytest.raises(ValueError, match=r"lstm: cell_scale must be \(H,\) = \(4,\), got shape \(2,\)"):
        recurrent.lstm(x, **weights | {"cell_scale": weights["cell_scale"][:2]})
    with pytest.raises(ValueError, match="lstm: input_scale, recurrent_scale and cell_scale must be given"):
        recurrent.lstm(x, **weights | {"cell_scale": None})
    with pytest.raises(
        ValueError, match="lstm: implementation must be None or 'lax' with a mask, a projection"
    ):
        recurrent.lstm(x, **weights, implementation="hoisted")
    with pytest.raises(ValueError, match=r"gru: state_mask must be \(N, H\) = \(3, 4\), got shape \(3, 2\)"):
        recurrent.gru(x, **make_weights("gru"), state_mask=carry[0])
    mask = carry[1].astype(np.float16)
    with pytest.raises(TypeError, match="rnn_step: state_mask must be float32, as x is, got float16"):
        recurrent.rnn_step(carry[1], x[:, 0], **make_weights("rnn"), state_mask=mask)


@every_net
def test_a_mask_multiplies_the_state_where_the_kernel_reads_it(name):
    """A mask that is the same for all sequences equals the kernel with its rows multiplied."""
    weights, x, carry = make_weights(name), rng_array(N, T, F), make_carry(name)
    row = rng_array(H, seed=20)
    y = NETS[name].op(x, **weights, carry=carry, state_mask=np.stack([row] * N), lengths=[4, 0, T])
    scaled = weights | {"recurrent_kernel": row[:, None] * weights["recurrent_kernel"]}
    assert_close(y, NETS[name].op(x, **scaled, carry=carry, lengths=[4, 0, T]))
    alone = NETS[name].op(x[:1], **weights, state_mask=row[None])[0]
    assert_close(NETS[name].op(x, **weights, state_mask=np.stack([row, 0 * row, row]))[0][:1], alone)


@given(lengths=st.lists(st.integers(-1, T + 2), min_size=N, max_size=N), channels=st.sampled_from([(), (2,)]))
def test_reverse_sequences_equals_the_reference(lengths, channels):
    x = np.arange(N * T * 2 ** len(channels)).reshape(N, T, *channels)
    once = sequences.reverse_sequences(x, lengths)
    np.testing.assert_array_equal(once, reference.reverse_sequences(x, lengths))
    np.testing.assert_array_equal(sequences.reverse_sequences(once, lengths), x)


# PyTorch.

ANSWERS = known_answers("recurrent")
TORCH_NETS = {"rnn_tanh": "rnn", "rnn_relu": "rnn", "lstm": "lstm", "gru": "gru"}


def from_torch(name: str, weights: jax.Array, features: int) -> dict[str, jax.Array]:
    """Our weights from ``[weight_ih, weight_hh, bias_ih, bias_hh]``: transposed, the biases added."""
    input_kernel, recurrent_kernel, bias_ih, bias_hh = jnp.split(
        weights, (features, features + H, features + H + 1), axis=1
    )
    bias = {"bias": (bias_ih + bias_hh)[:, 0]}
    if name == "gru":
        both = jnp.arange(3 * H) < 2 * H
        bias = {
            "bias": bias_ih[:, 0] + jnp.where(both, bias_hh[:, 0], jnp.zeros(3 * H)),
            "recurrent_bias": bias_hh[2 * H :, 0],
        }
    return {"input_kernel": input_kernel.T, "recurrent_kernel": recurrent_kernel.T, **bias}


def run_like_torch(torch_net: str, shape: str, inputs: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Outputs and final carries (parts, directions, N, H) of torch's net."""
    name, lengths = TORCH_NETS[torch_net], ANSWERS["lengths"]
    op = partial(recurrent.rnn, activation=jax.nn.relu) if torch_net == "rnn_relu" else NETS[name].op

    def run(x: jax.Array, layer: int, part: str, reverse: bool = False) -> tuple[jax.Array, jax.Array]:
        carry = inputs["carry"][:, layer]
        weights = from_torch(name, inputs[f"weights_{part}"], x.shape[-1])
        initial = tuple(carry) if name == "lstm" else carry[0]
        y, final = op(x, **weights, carry=initial, lengths=lengths, reverse=reverse)
        return y, jnp.stack(final if name == "lstm" else (final,))

    y, final = run(inputs["x"], 0, "l0")
    finals = [final]
    if shape == "bidirectional":
        backward, final = run(inputs["x"], 1, "l0_reverse", reverse=True)
        y = jnp.concatenate([y, backward], axis=-1)
        finals.append(final)
    if shape == "stacked":
        y, final = run(y, 1, "l1")
        finals.append(final)
    return y, jnp.stack(finals, axis=1)


#: By default each net and each shape once.
TYPICAL = {("rnn_tanh", "stacked"), ("rnn_relu", "single"), ("lstm", "stacked"), ("gru", "bidirectional")}
SHAPES = [(net, shape) for net in TORCH_NETS for shape in ("single", "bidirectional", "stacked")]


@pytest.mark.parametrize(("torch_net", "shape"), [one if one in TYPICAL else deep(*one) for one in SHAPES])
def test_equals_pytorch_with_gradients(torch_net, shape):
    prefix = f"{torch_net}/{shape}/"
    answers = {name.removeprefix(prefix): array for name, array in ANSWERS.items() if name.startswith(prefix)}
    inputs = {name: array for name, array in answers.items() if f"grad/{name}" in answers}

    def probe(array: jax.Array) -> jax.Array:
        return jnp.sin(jnp.arange(array.size, dtype=jnp.float32) + 1).reshape(array.shape)

    def loss(inputs):
        y, final = run_like_torch(torch_net, shape, inputs)
        return (y * probe(y)).sum() + (final * probe(final)).sum(), (y, final)

    gradients, (y, final) = jax.jit(jax.grad(loss, has_aux=True))(inputs)
    assert_close(y, answers["y"])
    assert_close(final, answers["final"])
    for name, gradient in gradients.items():
        assert_close(gradient, answers[f"grad/{name}"])


@pytest.mark.parametrize(
    ("name", "layer"), [("lstm", nn.lstm(4, projection=2)), ("gru", nn.gru(4))], ids=["lstm", "gru"]
)
def test_a_stack_of_both_directions_equals_pytorch_with_gradients(name, layer):
    """Outputs, and the gradients of torch's own entries, which go in and out through ``interop``."""
    answers = known_answers("recurrent_variants")
    own = {key.removeprefix(f"{name}/"): a for key, a in answers.items() if key.startswith(f"{name}/")}
    state = {key.removeprefix("state/"): a for key, a in own.items() if key.startswith("state/")}
    net = nn.stacked(layer, 2, bidirectional=True)
    like = net.init(jax.random.key(0), (own["x"], answers["lengths"]))
    params = nn.interop.torch.load_state_dict(net, like, state)

    def loss(weights, x):
        y = net.apply(params._replace(weights=weights), (x, answers["lengths"]))[0]
        return jnp.vdot(jnp.sin(jnp.arange(y.size, dtype=jnp.float32) + 1), y.ravel()), y

    (grads, dx), y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params.weights, own["x"])
    assert_close((y, dx), (own["y"], own["grad/x"]))
    back = nn.interop.torch.to_state_dict(net, params._replace(weights=grads))
    # The second bias here holds the candidate's alone.
    expected = {key: own[f"grad/{key}"] for key in state if "bias_hh" not in key}
    assert_close({key: back[key] for key in expected}, expected)
    saved = nn.interop.torch.to_state_dict(net, params)
    assert_close(
        {key: saved[key] for key in state if "weight" in key},
        {k: a for k, a in state.items() if "weight" in k},
    )


def test_a_normalised_lstm_equals_pytorch_with_gradients():
    answers = known_answers("recurrent_variants")
    own = {key.removeprefix("layer_norm/"): a for key, a in answers.items() if key.startswith("layer_norm/")}
    weights = {key.removeprefix("state/"): a for key, a in own.items() if key.startswith("state/")}

    def loss(weights, x):
        y = recurrent.lstm(x, **weights)[0]
        return jnp.vdot(jnp.sin(jnp.arange(y.size, dtype=jnp.float32) + 1), y.ravel()), y

    (grads, dx), y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(weights, own["x"])
    assert_close((y, dx), (own["y"], own["grad/x"]))
    assert_close(grads, {key: own[f"grad/{key}"] for key in weights})


# Conventions.


def saturated(*gates: float) -> np.ndarray:
    """A bias that holds each gate's sigmoid at 0 (−50) or 1 (50), or gives tanh its argument."""
    return np.repeat(np.array(gates, np.float32), H)


def test_lstm_gates_are_in_the_order_i_f_g_o():
    weights = jax.tree.map(np.zeros_like, make_weights("lstm"))
    carry = make_carry("lstm")
    x = np.zeros((N, 1, F), np.float32)
    weights["bias"] = saturated(50, -50, 0.3, 50)  # takes the new value, forgets, shows
    _, (h, c) = recurrent.lstm(x, **weights, carry=carry)
    assert_close(c, np.full((N, H), np.tanh(0.3), np.float32))
    assert_close(h, np.tanh(c))
    weights["bias"] = saturated(-50, 50, 0.3, -50)  # keeps the old value, shows nothing
    _, (h, c) = recurrent.lstm(x, **weights, carry=carry)
    assert_close(c, carry[1])
    assert_close(h, np.zeros((N, H), np.float32))


def test_lstm_adds_nothing_to_the_forget_gate():
    weights = jax.tree.map(np.zeros_like, make_weights("lstm"))
    _, (_, c) = recurrent.lstm(np.zeros((N, 1, F), np.float32), **weights, carry=make_carry("lstm"))
    assert_close(c, make_carry("lstm")[1] / 2)


def test_lstm_carry_is_h_then_c():
    y, (h, c) = recurrent.lstm(rng_array(N, T, F), **make_weights("lstm"))
    assert_close(y[:, -1], h)
    assert not np.allclose(h, c)


def test_gru_gates_are_in_the_order_r_z_n_and_z_keeps_the_old_state():
    weights = jax.tree.map(np.zeros_like, make_weights("gru"))
    carry, x = make_carry("gru"), np.zeros((N, 1, F), np.float32)
    weights["bias"] = saturated(50, 50, 0.3)
    assert_close(recurrent.gru(x, **weights, carry=carry)[1], carry)
    weights["bias"] = saturated(50, -50, 0.3)
    assert_close(recurrent.gru(x, **weights, carry=carry)[1], np.full((N, H), np.tanh(0.3), np.float32))


def test_gru_resets_after_the_product_and_the_recurrent_bias_with_it():
    weights = make_weights("gru")
    weights["bias"] = saturated(
        -50, -50, 0.3
    )  # reset closed: neither h·R nor the recurrent bias comes through
    weights["input_kernel"] = np.zeros_like(weights["input_kernel"])
    weights["recurrent_kernel"] = weights["recurrent_kernel"] / 100
    h = recurrent.gru(np.zeros((N, 1, F), np.float32), **weights, carry=make_carry("gru"))[1]
    assert_close(h, np.full((N, H), np.tanh(0.3), np.float32))


@every_net
def test_outputs_past_the_end_are_zero_and_the_final_state_is_that_of_the_last_real_step(name):
    weights, carry, x = make_weights(name), make_carry(name), rng_array(N, T, F)
    y, final = NETS[name].op(x, **weights, carry=carry, lengths=[2, 0, T])
    assert not np.any(y[0, 2:])
    assert not np.any(y[1])
    alone, last = NETS[name].op(x[:1, :2], **weights, carry=jax.tree.map(lambda c: c[:1], carry))
    assert_close(y[:1, :2], alone)
    assert_close(jax.tree.map(lambda c: c[:1], final), last)


@every_net
@pytest.mark.parametrize("reverse", [False, True])
def test_length_zero_gives_the_initial_state(name, reverse):
    op, carry = NETS[name].op, make_carry(name)
    y, final = op(rng_array(N, T, F), **make_weights(name), carry=carry, lengths=[0] * N, reverse=reverse)
    assert_close(final, carry)
    assert not np.any(y)


@every_net
def test_reverse_runs_each_sequence_within_its_own_length(name):
    weights, x, lengths = make_weights(name), rng_array(N, T, F), [4, 0, T]
    y, final = NETS[name].op(x, **weights, lengths=lengths, reverse=True)
    flipped = sequences.reverse_sequences(x, lengths)
    flipped_y, flipped_final = NETS[name].op(flipped, **weights, lengths=lengths)
    assert_close(y, sequences.reverse_sequences(flipped_y, lengths))
    assert_close(final, flipped_final)


@every_net
@pytest.mark.parametrize("bad", [np.nan, deep(np.inf)])
def test_what_stands_past_the_end_has_no_influence(name, bad):
    weights, x, lengths = make_weights(name), rng_array(N, T, F), np.array([2, 0, 5])
    padding = np.arange(T)[None, :, None] >= lengths[:, None, None]

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def run(x, weights):
        y, final = NETS[name].op(x, **weights, lengths=lengths)
        return jnp.sin(y).sum() + sum(jnp.sin(c).sum() for c in jax.tree.leaves(final)), (y, final)

    expected = run(x, weights)
    assert_close(run(np.where(padding, np.float32(bad), x), weights), expected)
    assert not np.any(np.where(padding, expected[1][0], 0))


@every_net
def test_lengths_beyond_the_ends_are_clipped(name):
    run = partial(NETS[name].op, rng_array(N, T, F), **make_weights(name))
    assert_close(run(lengths=[-3, T + 9, 2]), run(lengths=[0, T, 2]))


@every_net
def test_lengths_of_every_integer_dtype(name):
    run = partial(NETS[name].op, rng_array(N, T, F), **make_weights(name))
    for dtype in (jnp.uint8, jnp.int8, jnp.int32):
        assert_close(run(lengths=jnp.array([1, 0, T], dtype)), run(lengths=[1, 0, T]))


@every_net
def test_without_carry_bias_and_lengths(name):
    weights, x = make_weights(name), rng_array(N, T, F)
    kernels = {key: weights[key] for key in ("input_kernel", "recurrent_kernel")}
    no_bias = {key: np.zeros_like(weights[key]) for key in weights if "bias" in key}
    expected = NETS[name].op(x, **kernels, **no_bias, carry=zeros(name), lengths=[T] * N)
    assert_close(NETS[name].op(x, **kernels), expected)


# Steps, pieces, streams.


@every_net
def test_steps_agree_with_the_whole(name):
    weights, carry, x = make_weights(name), make_carry(name), rng_array(N, T, F)
    y, final = NETS[name].op(x, **weights, carry=carry)
    for t in range(T):
        carry, output = NETS[name].step(carry, x[:, t], **weights)
        assert_close(output, y[:, t])
    assert_close(carry, final)


@every_variant
@pytest.mark.parametrize("dtype", [jnp.float32, deep(jnp.bfloat16)])
def test_a_variant_in_steps_and_in_pieces_equals_the_whole(variant, dtype):
    weights, carry = jax.tree.map(lambda a: jnp.asarray(a, dtype), make_variant(variant))
    x, lengths = jnp.asarray(rng_array(N, T, F), dtype), np.array([4, 0, 6])
    carry = jax.tree.map(lambda a: a.astype(jnp.float32), carry)
    whole = recurrent.lstm(x, **weights, carry=carry, lengths=lengths)
    y, first = recurrent.lstm(x[:, :1], **weights, carry=carry, lengths=lengths)
    rest, last = recurrent.lstm(x[:, 1:], **weights, carry=first, lengths=lengths - 1)
    assert_close((jnp.concatenate([y, rest], 1), last), whole)
    whole, _ = recurrent.lstm(x, **weights, carry=carry)
    for t in range(2):
        carry, y = recurrent.lstm_step(carry, x[:, t], **weights)
        assert y.dtype == dtype
        assert_close(y, whole[:, t])


@every_variant
def test_nothing_past_the_end_reaches_a_variant(variant):
    weights, _ = make_variant(variant)
    x, lengths = rng_array(N, T, F), np.array([4, 0, 6])
    bad = np.where(np.arange(T)[:, None] < lengths[:, None, None], x, np.float32(np.nan))

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def run(x, weights):
        y, final = recurrent.lstm(x, **weights, lengths=lengths)
        return jnp.sin(y).sum() + sum(jnp.sin(c).sum() for c in final)

    assert_close(run(bad, weights), run(x, weights))


def test_a_variant_in_low_precision_adds_up_gradients_in_float32():
    """400 steps read the kernel: in bfloat16 the sum of its gradient would stop growing at 256."""
    weights, _ = make_variant("projection")
    weights = jax.tree.map(lambda a: jnp.zeros_like(a, jnp.bfloat16), weights)
    weights["bias"] = jnp.asarray(saturated(50, -50, 50, 50), jnp.bfloat16)  # h = tanh(1) at every step
    x = jnp.zeros((1, 400, F), jnp.bfloat16)

    def loss(kernel):
        return recurrent.lstm(x, **(weights | {"projection_kernel": kernel}))[0].astype(jnp.float32).sum()

    grad = jax.jit(jax.grad(loss))(weights["projection_kernel"])
    assert_close(grad, np.full((H, P), 400 * np.tanh(1), np.float32), dtype=jnp.bfloat16)


@every_net
def test_a_step_fits_into_scan(name):
    weights, carry, x = make_weights(name), make_carry(name), rng_array(N, T, F)
    final, outputs = jax.lax.scan(
        lambda carry, x: NETS[name].step(carry, x, **weights), carry, jnp.swapaxes(x, 0, 1)
    )
    assert_close((jnp.swapaxes(outputs, 0, 1), final), NETS[name].op(x, **weights, carry=carry))


def whole_and_scanned(name: str, steps: int, *, reverse: bool) -> tuple[Callable[..., Any], ...]:
    """An op over sequences of three lengths, and a scan of its steps that means the same."""
    net, lengths = NETS[name], jnp.asarray([steps, steps - 3, steps // 2])

    def whole(x, weights, carry):
        return net.op(x, **weights, carry=carry, lengths=lengths, reverse=reverse)

    def scanned(x, weights, carry):
        def step(carry, now):
            x, going = now
            new, y = net.step(carry, x, **weights)
            return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, carry), jnp.where(going, y, 0 * y)

        going = jnp.expand_dims(jnp.expand_dims(jnp.arange(steps), 1) < jnp.expand_dims(lengths, 0), 2)
        final, y = jax.lax.scan(step, carry, (jnp.swapaxes(x, 0, 1), going), reverse=reverse)
        return jnp.swapaxes(y, 0, 1), final

    return whole, scanned


def arguments_and_tangents(name: str, steps: int, length: int) -> tuple[Any, Any]:
    """So many gates that ``length`` steps make one block."""
    hidden = -(-8192 // (length * NETS[name].gates))
    args = (
        rng_array(N, steps, F, dtype=np.float64),
        make_weights(name, dtype=np.float64, hidden=hidden),
        make_carry(name, dtype=np.float64, hidden=hidden),
    )
    return args, jax.tree.map(lambda a: rng_array(*a.shape, seed=50, dtype=np.float64), args)


def blocks(args: Any) -> int:
    """How many blocks the derivative takes."""
    x, weights, carry = args
    recurrent = (weights["recurrent_kernel"], None)
    return x.shape[1] // block_length(Operands(x, None, recurrent, None, carry, None))


@lstm_at_least
@pytest.mark.parametrize("steps", [deep(15), deep(32), 34, deep(37)])
@pytest.mark.parametrize("reverse", [deep(False), True])
def test_a_long_sequence_and_its_derivatives_equal_a_scan_of_steps(name, steps, reverse, x64):
    """The derivative cuts time into blocks of equal length, at least 16 steps: 1, 2, 2 and 1 blocks here."""
    args, tangents = arguments_and_tangents(name, steps, 16)
    assert blocks(args) == (2 if steps in (32, 34) else 1)

    def derivatives(f):
        y, forward = jax.jvp(f, args, tangents)
        return y, forward, jax.vjp(f, *args)[1](y)

    whole, scanned = whole_and_scanned(name, steps, reverse=reverse)
    assert_close(jax.jit(partial(derivatives, whole))(), plain_jit(partial(derivatives, scanned))())


@lstm_at_least
@pytest.mark.parametrize("reverse", [False, deep(True)])
def test_second_derivatives_over_several_blocks_equal_those_of_a_scan(name, reverse, x64):
    args, tangents = arguments_and_tangents(name, 16, 8)
    assert blocks(args) == 2

    def second(f):
        def gradients(*args):
            y, back = jax.vjp(f, *args)
            return back(y)

        return jax.jvp(gradients, args, tangents)[1]

    whole, scanned = whole_and_scanned(name, 16, reverse=reverse)
    assert_close(jax.jit(partial(second, whole))(), plain_jit(partial(second, scanned))())


@every_net
@pytest.mark.parametrize("lengths", [deep(None), np.array([4, 0, 6], np.int32)])
@pytest.mark.parametrize("dtype", [jnp.float32, deep(jnp.bfloat16)])
def test_a_sequence_in_pieces_equals_the_whole(name, lengths, dtype):
    weights = jax.tree.map(lambda w: jnp.asarray(w, dtype), make_weights(name))
    x = jnp.asarray(rng_array(N, T, F), dtype)
    whole, whole_final = NETS[name].op(x, **weights, lengths=lengths)
    carry, outputs = None, []
    for start, stop in ((0, 1), (1, 5), (5, 6)):
        left = None if lengths is None else lengths - start
        y, carry = NETS[name].op(x[:, start:stop], **weights, carry=carry, lengths=left)
        outputs.append(y)
    assert_close((jnp.concatenate(outputs, axis=1), carry), (whole, whole_final))


# Dtypes.


@every_net
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_keeps_its_dtype_and_a_float32_carry(name, dtype):
    weights, x = make_weights(name), rng_array(N, T, F)
    rounded = jax.tree.map(lambda w: jnp.asarray(w / 2, dtype), (x, weights))
    y, final = NETS[name].op(rounded[0], **rounded[1])
    assert y.dtype == dtype
    assert {c.dtype for c in jax.tree.leaves(final)} == {jnp.dtype(jnp.float32)}
    exact, _ = NETS[name].op(
        *jax.tree.map(lambda w: w.astype(jnp.float32), rounded[:1]),
        **{key: w.astype(jnp.float32) for key, w in rounded[1].items()},
    )
    assert_close(y, exact, dtype=dtype)


@every_net
def test_the_final_carry_has_the_dtype_of_the_given_one(name):
    weights = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), make_weights(name))
    x = jnp.asarray(rng_array(N, T, F), jnp.bfloat16)
    for dtype in (jnp.bfloat16, jnp.float32):
        carry = jax.tree.map(lambda c, dtype=dtype: jnp.asarray(c, dtype), make_carry(name))
        final = NETS[name].op(x, **weights, carry=carry)[1]
        stepped, y = NETS[name].step(carry, x[:, 0], **weights)
        assert {c.dtype for c in jax.tree.leaves((final, stepped))} == {jnp.dtype(dtype)}
        assert y.dtype == jnp.bfloat16


def test_an_lstm_cell_accumulates_small_increments_in_low_precision():
    # c grows by tanh(0.01) per step from 4: in bfloat16 each sum would be rounded back to 4.
    bias = jnp.asarray(np.repeat([50.0, 50.0, 0.01, 50.0], 1), jnp.bfloat16)
    kernel = jnp.zeros((1, 4), jnp.bfloat16)
    start = (jnp.zeros((1, 1)), jnp.full((1, 1), 4.0))
    _, (_, c) = recurrent.lstm(jnp.zeros((1, 100, 1), jnp.bfloat16), kernel, kernel, bias, start)
    assert_close(c, np.full((1, 1), 4 + 100 * np.tanh(np.float64(bias[2]))), dtype=jnp.float16)


# Transformations.


def test_an_activation_may_close_over_a_traced_value():
    weights, x = make_weights("rnn"), rng_array(N, T, F)

    @jax.jit
    @jax.grad
    def slope(scale):
        y, _ = recurrent.rnn(x, **weights, activation=lambda v: jnp.tanh(scale * v))
        return y.sum()

    def value(scale):
        return recurrent.rnn(x, **weights, activation=lambda v: jnp.tanh(scale * v))[0].sum()

    step = np.float32(1e-2)
    numeric = (value(1 + step) - value(1 - step)) / (2 * step)
    np.testing.assert_allclose(slope(jnp.float32(1)), numeric, rtol=2e-2)


@every_net
def test_eager_calls_compile_once(name):
    weights, x = make_weights(name), rng_array(N, T, F)
    run = partial(NETS[name].op, x, **weights)
    run()
    before = recurrent._over_sequences._cache_size()
    run()
    assert recurrent._over_sequences._cache_size() == before


@lstm_at_least
@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto])
def test_a_batch_over_devices_with_an_unsharded_carry_and_lengths(name, axis_type):
    weights, x = make_weights(name), rng_array(8, T, F)
    carry = jax.tree.map(lambda c: np.resize(c, (8, H)), make_carry(name))
    lengths = np.arange(8, dtype=np.int32) % (T + 1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))

    @jax.jit
    def run(x, weights, carry, lengths):
        op = NETS[name].op
        return (
            op(x, **weights),
            op(x, **weights, carry=carry, lengths=lengths, reverse=True),
            sequences.reverse_sequences(x, lengths),
        )

    expected = run(x, weights, carry, lengths)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
        actual = run(sharded, weights, carry, lengths)
    assert all(y.sharding.spec[0] == "data" for y in jax.tree.leaves(actual[:2]))
    assert_close(jax.device_get(actual), jax.device_get(expected))


@lstm_at_least
@pytest.mark.parametrize("varying", ["x", "recurrent_kernel", "carry", "lengths"])
def test_under_shard_map_whatever_varies(name, varying):
    weights, x, carry = make_weights(name), rng_array(N, T, F), make_carry(name)
    arguments = {"x": x, **weights, "carry": carry, "lengths": np.array([2, 0, T], np.int32)}
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    doubled = {**arguments, varying: jax.tree.map(lambda a: np.stack([a, a]), arguments[varying])}

    def local(arguments):
        mine = {**arguments, varying: jax.tree.map(lambda a: a[0], arguments[varying])}
        return jax.tree.map(lambda a: jnp.expand_dims(a, 0), NETS[name].op(**mine))

    specs = {key: jax.P("data") if key == varying else jax.P() for key in arguments}
    run = jax.shard_map(local, mesh=mesh, in_specs=(specs,), out_specs=jax.P("data"))
    expected = NETS[name].op(**arguments)
    for member in range(2):
        assert_close(jax.tree.map(lambda a, member=member: a[member], jax.jit(run)(doubled)), expected)


# Bad input.

GOOD = {
    "x": np.zeros((3, 5, 2), np.float32),
    "input_kernel": np.zeros((2, 16), np.float32),
    "recurrent_kernel": np.zeros((4, 16), np.float32),
    "bias": np.zeros(16, np.float32),
    "carry": (np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)),
    "lengths": np.array([1, 2, 3]),
}


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"x": np.zeros((5, 2), np.float32)}, ValueError, r"lstm: x must be \(N, T, F\), got shape \(5, 2\)"),
        (
            {"x": np.zeros((3, 0, 2), np.float32)},
            ValueError,
            r"lstm: x must have at least one time step, got shape \(3, 0, 2\)",
        ),
        ({"x": np.zeros((3, 5, 2), np.int32)}, TypeError, "lstm: x must be floating-point, got int32"),
        (
            {"x": np.zeros((3, 5, 7), np.float32)},
            ValueError,
            r"lstm: input_kernel must be \(F, 4·H\) = \(7, 16\) for x of shape \(3, 5, 7\) and "
            r"recurrent_kernel of shape \(4, 16\), got shape \(2, 16\)",
        ),
        (
            {"recurrent_kernel": np.zeros((4, 12), np.float32)},
            ValueError,
            r"lstm: recurrent_kernel must be \(H, 4·H\), got shape \(4, 12\)",
        ),
        (
            {"recurrent_kernel": np.zeros((0, 0), np.float32)},
            ValueError,
            r"lstm: recurrent_kernel must be \(H, 4·H\), got shape \(0, 0\)",
        ),
        (
            {"bias": np.zeros(4, np.float32)},
            ValueError,
            r"lstm: bias must be \(4·H,\) = \(16,\), got shape \(4,\)",
        ),
        (
            {"bias": np.zeros(16, np.float16)},
            TypeError,
            "lstm: bias is float16 but x is float32",
        ),
        (
            {"carry": np.zeros((3, 4), np.float32)},
            TypeError,
            r"lstm: carry must be a tuple \(h, c\), got an array of shape \(3, 4\)",
        ),
        (
            {"carry": (np.zeros((3, 4), np.float32),) * 3},
            TypeError,
            r"lstm: carry must be a tuple \(h, c\), got a tuple of 3",
        ),
        (
            {"carry": (np.zeros((3, 4), np.float32), np.zeros((1, 4), np.float32))},
            ValueError,
            r"lstm: carry c must be \(N, H\) = \(3, 4\), got shape \(1, 4\)",
        ),
        (
            {"carry": (np.zeros((3, 4), np.float16), np.zeros((3, 4), np.float32))},
            TypeError,
            "lstm: carry h must be float32 for x in float32, got float16",
        ),
        (
            {"lengths": np.array([1, 2])},
            ValueError,
            r"lstm: lengths must be \(N,\) = \(3,\), one for each sequence, got shape \(2,\)",
        ),
        (
            {"lengths": np.array([1.0, 2.0, 3.0], np.float32)},
            TypeError,
            "lstm: lengths must be integers, got float32",
        ),
        ({"lengths": np.array([True] * 3)}, TypeError, "lstm: lengths must be integers, got bool"),
    ],
)
def test_bad_input_gets_a_sentence(changes, error, sentence):
    with pytest.raises(error, match=sentence):
        recurrent.lstm(**{**GOOD, **changes})


def test_bad_input_to_the_others_gets_a_sentence():
    x, carry = np.zeros((3, 5, 2), np.float32), np.zeros((3, 4), np.float32)
    kernels = {key: np.zeros((2 if key[0] == "i" else 4, 12), np.float32) for key in GOOD if "kernel" in key}
    with pytest.raises(ValueError, match=r"gru: recurrent_bias must be \(H,\) = \(4,\), got shape \(12,\)"):
        recurrent.gru(x, **kernels, recurrent_bias=np.zeros(12, np.float32))
    with pytest.raises(TypeError, match=r"gru: carry must be one array \(N, H\), got a tuple of 2"):
        recurrent.gru(x, **kernels, carry=(carry, carry))
    with pytest.raises(ValueError, match=r"gru_step: x must be \(N, F\), got shape \(3, 5, 2\)"):
        recurrent.gru_step(carry, x, **kernels)
    square = {key: kernel[:, :4] for key, kernel in kernels.items()}
    with pytest.raises(ValueError, match=r"rnn: activation must keep shape and dtype, got float32\[3, 2\]"):
        recurrent.rnn(x, **square, activation=lambda v: v[:, :2])
    with pytest.raises(ValueError, match=r"reverse_sequences: x must be \(N, T, ...\), got shape \(3,\)"):
        sequences.reverse_sequences(np.zeros(3))


def test_a_wrong_weight_of_rnn_is_described_without_a_factor():
    with pytest.raises(ValueError, match=r"rnn: recurrent_kernel must be \(H, H\), got shape \(4, 16\)"):
        recurrent.rnn(GOOD["x"], GOOD["input_kernel"], GOOD["recurrent_kernel"])
