"""``conv_lstm`` against a loop of convolutions, against ``lstm`` pixel by pixel, in steps and in pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import conv, lstm
from jaxnn.ops.conv_lstm import conv_lstm, conv_lstm_step
from tests.support import assert_close, deep, rng_array

N, T, C, H = 3, 4, 2, 3
LENGTHS = np.array([4, 0, 2], np.int32)
SPACES = {"1d": ((6,), (3,), (2,)), "2d": ((5, 4), (3, 2), (3, 3)), "3d": ((3, 2, 3), (2, 2, 2), (1, 2, 3))}
SETTINGS = {"padding": "SAME", "strides": 2}


def drawn(space, window, recurrent_window, dtype=np.float32):
    shapes = (N, T, *space, C), (*window, C, 4 * H), (*recurrent_window, H, 4 * H), (4 * H,)
    return [rng_array(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]


def by_hand(x, w, r, b, carry=None, reverse=False):
    """Outputs by time, and the carry, of one sequence after another."""
    outputs, finals = [], []
    for n, length in enumerate(LENGTHS):
        out = conv(x[n : n + 1, 0], w, b, **SETTINGS).shape[1:-1]
        h = c = jnp.zeros((1, *out, H), x.dtype)
        ys = [h] * T
        for t in reversed(range(length)) if reverse else range(length):
            sums = conv(x[n : n + 1, t], w, b, **SETTINGS) + conv(h, r, padding="SAME")
            i, f, g, o = jnp.split(sums, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            ys[t] = h
        outputs.append(jnp.stack(ys, 1)[0])
        finals.append((h[0], c[0]))
    return jnp.stack(outputs), jax.tree.map(lambda *parts: jnp.stack(parts), *finals)


@pytest.mark.parametrize("reverse", [False, deep(True)])
@pytest.mark.parametrize("space", [deep("1d"), "2d", deep("3d")])
def test_equals_a_loop_of_convolutions_with_gradients(space, reverse):
    arrays = drawn(*SPACES[space])

    def derivatives(f):
        def of_all(arrays):
            y, back = jax.vjp(f, *arrays)
            return y, back(y)

        return jax.jit(of_all)(arrays)

    def whole(*arrays):
        return conv_lstm(*arrays, **SETTINGS, lengths=LENGTHS, reverse=reverse)

    assert_close(derivatives(whole), derivatives(lambda *arrays: by_hand(*arrays, reverse=reverse)))


def test_with_windows_of_one_it_is_an_lstm_at_each_place():
    x, w, r, b = drawn((5,), (1,), (1,))
    y, (h, c) = conv_lstm(x, w, r, b, lengths=LENGTHS)
    for place in range(5):
        expected = lstm(x[:, :, place], w[0], r[0], b, lengths=LENGTHS)
        assert_close((y[:, :, place], (h[:, place], c[:, place])), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, deep(jnp.bfloat16)])
def test_steps_and_pieces_equal_the_whole(dtype):
    x, *weights = (jnp.asarray(a, dtype) for a in drawn(*SPACES["1d"]))
    whole = conv_lstm(x, *weights, **SETTINGS, lengths=LENGTHS)
    y, carry = conv_lstm(x[:, :1], *weights, **SETTINGS, lengths=LENGTHS)
    rest, last = conv_lstm(x[:, 1:], *weights, carry=carry, **SETTINGS, lengths=LENGTHS - 1)
    assert_close((jnp.concatenate([y, rest], 1), last), whole)
    assert {leaf.dtype for leaf in carry} == {jnp.dtype(jnp.float32)}
    whole, _ = conv_lstm(x, *weights, **SETTINGS)
    carry = jax.tree.map(jnp.zeros_like, carry)
    for t in range(2):
        carry, y = conv_lstm_step(carry, x[:, t], *weights, **SETTINGS)
        assert y.dtype == dtype
        assert_close(y, whole[:, t])


def test_nothing_past_the_end_has_influence():
    x, *weights = drawn(*SPACES["1d"])
    past = np.arange(T)[:, None, None] >= LENGTHS[:, None, None, None]

    @jax.jit
    @jax.value_and_grad
    def loss(weights, x):
        y, final = conv_lstm(x, *weights, lengths=LENGTHS)
        return jnp.sin(y).sum() + sum(jnp.sin(c).sum() for c in final)

    assert_close(loss(weights, np.where(past, np.float32(np.nan), x)), loss(weights, x))


def test_bad_input_gets_a_sentence():
    x, w, r, b = drawn((5,), (3,), (3,))
    with pytest.raises(ValueError, match=r"conv_lstm: x must be \(N, T, \*space, C\) with at least one step"):
        conv_lstm(x[:, 0], w, r, b)
    with pytest.raises(ValueError, match=r"conv_lstm: recurrent_kernel must be \(\*window, H, 4·H\)"):
        conv_lstm(x, w, r[..., :4], b)
    with pytest.raises(ValueError, match=r"conv_lstm: input_kernel must be \(\*window, C, 4·H\)"):
        conv_lstm(x, w[:, :1], r, b)
    with pytest.raises(TypeError, match=r"conv_lstm: carry must be a tuple \(h, c\), got an array of shape"):
        conv_lstm(x, w, r, b, x)
    with pytest.raises(
        ValueError, match=r"conv_lstm: carry h must be \(N, \*out, H\) = \(3, 3, 3\), got shape"
    ):
        conv_lstm(x, w, r, b, (x[:, 0], x[:, 0]))
    with pytest.raises(TypeError, match="conv_lstm: lengths must be integers"):
        conv_lstm(x, w, r, b, lengths=x[:, 0, 0, 0])
