"""Sequences with lengths through every layer: padding never changes a number, and each is as if alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.support import assert_close, deep, plain_jit, random_params, rng_array

N, T, C = 4, 9, 4
LENGTHS = np.array([9, 4, 0, 5], np.int32)
PADDINGS = (
    "VALID",
    "SAME",
    "SAME_LOWER",
    "CAUSAL",
    "CIRCULAR",
    "REFLECT",
    "REPLICATE",
    1,
    ((2, 1),),
    ((0, -1),),
)


@dataclass(frozen=True)
class Entry:
    """A layer over sequences; ``alone``: in training too each sequence is treated on its own."""

    name: str
    make: Callable[[], Any]
    alone: bool = True
    ids: bool = False
    space: tuple[int, ...] = ()


#: What knows no lengths, and what is not a layer of one sequence.
REFUSING = {
    "flatten": lambda: nn.flatten,
    "reshape": lambda: nn.reshape(-1),
    "pad": lambda: nn.pad(1),
    "resize": lambda: nn.resize(4),
    "upsample": lambda: nn.upsample(2),
    "pixel_shuffle": lambda: nn.pixel_shuffle(2),
    "pixel_unshuffle": lambda: nn.pixel_unshuffle(3),
}
OTHERS = {"attend", "split", "ensemble", "graph", "patch_embedding", "once"}


def ones(key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Any:
    return jnp.ones(shape, dtype)


TYPICAL = [
    Entry("dense", lambda: nn.dense(3)),
    Entry("conv", lambda: nn.conv(3, 3, padding="CAUSAL")),
    Entry("conv-same-strided", lambda: nn.conv(3, 4, strides=2, padding="SAME")),
    Entry("conv-space", lambda: nn.conv(3, (3, 2), strides=(2, 1), padding="SAME"), space=(3,)),
    Entry("conv_transpose", lambda: nn.conv_transpose(3, 3, strides=2, padding="SAME")),
    Entry("batch_norm", lambda: nn.batch_norm(), alone=False),
    Entry("layer_norm-time", lambda: nn.layer_norm(axes=(1, 2), scale=False, bias=False)),
    Entry("group_norm", lambda: nn.group_norm(2)),
    Entry("max_pool", lambda: nn.max_pool(2)),
    Entry("avg_pool-same", lambda: nn.avg_pool(3, strides=2, padding="SAME")),
    Entry("global_avg_pool", lambda: nn.global_avg_pool),
    Entry("attention_pool", lambda: nn.attention_pool(heads=2, kernel_init=ones)),
    Entry("embedding", lambda: nn.embedding(7, 3), ids=True),
    Entry("residual", lambda: nn.residual(nn.lstm(C))),
    Entry(
        "net",
        lambda: nn.serial(
            nn.embedding(7, C),
            nn.conv(C, 3, padding="SAME"),
            nn.batch_norm(),
            nn.relu,
            nn.residual(nn.lstm(C), jnp.tanh),
            nn.global_max_pool,
            nn.dense(2),
        ),
        alone=False,
        ids=True,
    ),
]
REST = [
    *(
        Entry(f"conv-{padding}-{strides}", lambda p=padding, s=strides: nn.conv(2, 3, strides=s, padding=p))
        for padding in PADDINGS
        for strides in (1, 2)
    ),
    *(
        Entry(f"conv_transpose-{p}", lambda p=p: nn.conv_transpose(2, 3, strides=2, padding=p))
        for p in ("VALID", "SAME", "SAME_LOWER", "CAUSAL", 1)
    ),
    Entry("conv-dilated", lambda: nn.conv(2, 3, dilation=2, padding="SAME", strides=2)),
    Entry("conv-reflect-space", lambda: nn.conv(2, 3, padding="REFLECT"), space=(3,)),
    Entry("depthwise_conv", lambda: nn.depthwise_conv(3, padding=1)),
    Entry("separable_conv", lambda: nn.separable_conv(3, 3, padding="CAUSAL")),
    Entry("weight_norm", lambda: nn.weight_norm(nn.conv(3, 3))),
    Entry("layer_norm", lambda: nn.layer_norm()),
    Entry("rms_norm", lambda: nn.rms_norm()),
    Entry("instance_norm", lambda: nn.instance_norm()),
    Entry("instance_norm-space", lambda: nn.instance_norm(), space=(3,)),
    Entry("batch_norm-space", lambda: nn.batch_norm(), alone=False, space=(3,)),
    *(
        Entry(
            f"{pool}-{p}-{c}", lambda f=pool, p=p, c=c: getattr(nn, f)(3, strides=2, padding=p, ceil_mode=c)
        )
        for pool in ("max_pool", "min_pool", "avg_pool", "lp_pool")
        for p in ("VALID", "SAME", 1)
        for c in (False, True)
    ),
    Entry("avg_pool-all", lambda: nn.avg_pool(3, padding=1, count_include_pad=True)),
    Entry("avg_pool-space", lambda: nn.avg_pool(2, padding="SAME", strides=1), space=(3,)),
    Entry("global_max_pool", lambda: nn.global_max_pool),
    Entry("global_avg_pool-space", lambda: nn.global_avg_pool, space=(3,)),
    Entry("adaptive_avg_pool", lambda: nn.adaptive_avg_pool(3)),
    Entry("adaptive_max_pool", lambda: nn.adaptive_max_pool(3)),
    Entry("adaptive_max_pool-space", lambda: nn.adaptive_max_pool((2, 2)), space=(3,)),
    Entry("prelu", lambda: nn.prelu()),
    Entry("maxout", lambda: nn.maxout(3, 2)),
    Entry("swiglu", lambda: nn.swiglu(3, 5)),
    Entry("gelu", lambda: nn.gelu),
    Entry("sqrt", lambda: nn.serial(jnp.abs, jnp.sqrt)),
    Entry("softmax", lambda: nn.softmax),
    Entry("each_step", lambda: nn.each_step(lambda x: jnp.flip(x, -1))),
    Entry("lstm", lambda: nn.lstm(3)),
    Entry("gru-last", lambda: nn.gru(3, outputs="last")),
    Entry("bidirectional", lambda: nn.bidirectional(nn.rnn(3))),
    Entry("attention", lambda: nn.multi_head_attention(C, 2)),
    Entry(
        "attention-between", lambda: nn.serial(nn.conv(C, 2), nn.multi_head_attention(C, 2), nn.max_pool(2))
    ),
    Entry("positions", lambda: nn.serial(nn.sinusoidal_positions(), nn.position_embedding(20))),
    Entry("dropouts", lambda: nn.serial(nn.dropout(0.0), nn.spatial_dropout(0.3), nn.drop_path(0.3))),
    Entry("standardize", lambda: nn.standardize(axes=(0, 1))),
    Entry("stacked", lambda: nn.stacked(nn.lstm(3, projection=2, state_dropout=0.3), 2)),
    Entry("conv_lstm", lambda: nn.conv_lstm(2, 2, strides=2), space=(3,)),
    Entry("spectral_norm", lambda: nn.named("own", nn.spectral_norm(nn.dense(2)))),
    Entry("parallel", lambda: nn.parallel(nn.dense(3), nn.gru(2), merge="concat")),
    Entry("repeat", lambda: nn.repeat(nn.serial(nn.layer_norm(), nn.dense(C)), 2)),
    Entry("remat", lambda: nn.remat(nn.conv(2, 3, padding="SAME"))),
    Entry("frozen", lambda: nn.frozen(nn.dense(2))),
    Entry("mixed_precision", lambda: nn.mixed_precision(nn.dense(2), compute=jnp.float32)),
]


def drawn(entry: Entry, steps: int) -> np.ndarray:
    if entry.ids:
        ids = np.random.default_rng(1).integers(0, 7, (N, T + 3)).astype(np.int32)[:, :steps]
        return np.where(np.arange(steps) < LENGTHS[:, None], ids, -1)
    x = np.full((N, steps, *entry.space, C), np.nan, np.float32)
    for n, length in enumerate(LENGTHS):
        x[n, :length] = rng_array(T, *entry.space, C, seed=n)[:length]
    return x


@cache
def prepared(entry: Entry) -> Any:
    layer = as_layer(entry.make())
    return layer, random_params(layer, (drawn(entry, T), LENGTHS))


def array(y: Any) -> Any:
    return y[0] if isinstance(y, tuple) else y


@cache
def results(entry: Entry, steps: int) -> Any:
    """y and its lengths, the state, and the gradients in the weights and in x, in training."""
    layer, params = prepared(entry)
    key = jax.random.key(1)

    @jax.jit
    def run(weights: Any, x: Any) -> Any:
        def loss(weights: Any, x: Any) -> Any:
            y, state = layer.train(params._replace(weights=weights), (x, LENGTHS), key)
            return jnp.sum(jnp.sin(3 * array(y))), (y, state)

        return jax.grad(loss, 0 if entry.ids else (0, 1), has_aux=True)(weights, x)

    return jax.device_get(run(params.weights, drawn(entry, steps)))


def cut(a: Any, like: Any) -> Any:
    """``a`` on the steps that ``like`` has, and that what is cut off is 0."""
    if np.shape(a) == np.shape(like):
        return a
    steps = np.shape(like)[1]
    assert not np.any(a[:, steps:])
    return a[:, :steps]


def each(typical: Any, rest: Any) -> Any:
    entries = [*typical, *(deep(entry) for entry in rest)]
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry.name)


def test_every_layer_is_here():
    pools = {"max_pool", "min_pool", "avg_pool", "lp_pool"}
    used = {name for entry in (*TYPICAL, *REST) for name in entry.make.__code__.co_names} | pools
    public = set(nn.layers.__all__) | set(nn.combinators.__all__)
    assert public - used - OTHERS == REFUSING.keys()


@pytest.mark.parametrize("name", REFUSING)
def test_what_knows_no_lengths_says_so(name):
    net = nn.serial(REFUSING[name]())
    with pytest.raises(TypeError, match=rf"{name}: (x|shape) must be .* got a tuple of 2"):
        net.init(jax.random.key(0), (rng_array(N, T, C), LENGTHS))


@each(TYPICAL, REST)
def test_more_padding_gives_the_same_numbers(entry):
    """NaN, and ids of no row, stand past the ends."""
    grads, (y, state) = results(entry, T)
    more_grads, (more_y, more_state) = results(entry, T + 3)
    assert_close(jax.tree.map(cut, (more_y, more_grads), (y, grads)), (y, grads))
    assert_close((more_state, 1.0), (state, 1.0))
    leaves = jax.tree.leaves((y, grads, state))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    if isinstance(y, tuple):
        past = np.arange(y[0].shape[1]) >= y[1][:, None]
        assert not np.any(y[0][past])
    if not entry.ids:
        past = np.arange(T) >= LENGTHS[:, None]
        assert not np.any(grads[1][past])


@each(
    [entry for entry in TYPICAL if entry.alone],
    [entry for entry in REST if entry.alone],
)
def test_each_sequence_is_as_if_alone(entry):
    layer, params = prepared(entry)
    x = drawn(entry, T)
    y = jax.jit(layer.apply)(params, (x, LENGTHS))
    for n, length in enumerate(LENGTHS):
        if length:
            alone = layer.apply(params, x[n : n + 1, :length])
            own = array(y)[n : n + 1]
            if isinstance(y, tuple):
                assert y[1][n] == alone.shape[1]
                own = own[:, : alone.shape[1]]
            assert_close(own, alone)
    if not isinstance(y, tuple):
        assert not np.any(y[2])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, deep(jnp.float16)])
def test_half_precision(dtype):
    net = nn.serial(
        nn.conv(C, 3, strides=2, padding="SAME"),
        nn.batch_norm(),
        nn.avg_pool(2, padding="SAME"),
        nn.attention_pool(),
    )
    x = drawn(TYPICAL[0], T)
    params = net.init(jax.random.key(0), (x, LENGTHS))
    wide = jax.jit(net.train)(params, (x, LENGTHS))[0]
    half = jax.tree.map(lambda w: jnp.asarray(w, dtype), (params.weights, x))
    y = jax.jit(net.train)(params._replace(weights=half[0]), (half[1], LENGTHS))[0]
    assert y.dtype == dtype
    assert_close(y, wide, dtype=dtype, roundings=16)


def test_batch_norm_counts_real_steps_alone():
    layer = nn.batch_norm(momentum=0.0)
    x = drawn(TYPICAL[0], T) + 1000
    params = layer.init(jax.random.key(0), x)
    (y, _), state = layer.train(params, (x, LENGTHS))
    real = np.concatenate([x[n, :length] for n, length in enumerate(LENGTHS)]).astype(np.float64)
    assert_close(
        state, {"mean": real.mean(0).astype(np.float32), "var": real.var(0, ddof=1).astype(np.float32)}
    )
    expected = (real - real.mean(0)) / np.sqrt(real.var(0) + 1e-5)
    own = np.concatenate([y[n, :length] for n, length in enumerate(LENGTHS)])
    assert_close(own, expected, scale=100)  # float32 holds 1000 and more to 6e-5


@pytest.mark.parametrize(("lengths", "mean", "var"), [([0, 0], 0.0, 1.0), ([1, 0], 3.0, 0.0)])
def test_batch_norm_of_one_step_or_none(lengths, mean, var):
    layer = nn.batch_norm(momentum=0.0)
    x = np.full((2, 3, 1), 3.0, np.float32)
    (y, _), state = layer.train(layer.init(jax.random.key(0), x), (x, np.array(lengths)))
    assert_close((state, y), ({"mean": np.float32([mean]), "var": np.float32([var])}, 0 * x))


def test_batch_norm_over_devices_counts_the_steps_of_all():
    layer, x = nn.batch_norm(axis_name="i"), drawn(TYPICAL[0], T)
    params = layer.init(jax.random.key(0), x)
    whole = nn.batch_norm().train(params, (x, LENGTHS))

    def split(x, lengths):
        return layer.train(params, (x, lengths))

    (y, lengths), state = jax.vmap(split, axis_name="i")(x.reshape(2, 2, T, C), LENGTHS.reshape(2, 2))
    assert_close(((y.reshape(N, T, C), lengths.reshape(N)), jax.tree.map(lambda s: s[1], state)), whole)


def test_forward_mode_vmap_and_second_derivatives():
    net = nn.serial(nn.conv(2, 4, strides=2, padding="SAME"), nn.batch_norm(), nn.attention_pool())
    x = np.nan_to_num(drawn(TYPICAL[0], T))
    params = random_params(net, (x, LENGTHS))

    def loss(x):
        return jnp.sum(jnp.sin(net.train(params, (x, LENGTHS))[0]))

    v = rng_array(*x.shape, seed=3)
    along = plain_jit(lambda x, v: jax.jvp(loss, (x,), (v,))[1])(x, v)
    assert_close(along, jnp.vdot(plain_jit(jax.grad(loss))(x), v))
    forward = plain_jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,))[1])(x, v)
    backward = plain_jit(jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v)))(x)
    assert_close(forward, backward)
    both = plain_jit(jax.vmap(lambda x: net.apply(params, (x, LENGTHS))))(np.stack([x, 2 * x]))
    assert_close(both[1], plain_jit(net.apply)(params, (2 * x, LENGTHS)))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_causal_convolution_in_pieces_equals_the_whole(lengths):
    """With lengths, each sequence goes on from its own end."""
    layer = nn.conv(3, 3, dilation=2, padding="CAUSAL")
    x = np.nan_to_num(drawn(TYPICAL[0], T))
    params = random_params(layer, x)
    step, more = layer.stream(params, 2 * T), rng_array(N, 3, C, seed=8)
    _, carry = step(x if lengths is None else (x, lengths), None)
    y, _ = step(more, carry)
    for n in range(N):
        own = x[n, : None if lengths is None else lengths[n]]
        whole = layer.apply(params, np.concatenate([own, more[n]])[None])
        assert_close(y[n], whole[0, len(own) :])


def test_a_residual_and_branches_keep_the_lengths():
    x = (np.nan_to_num(drawn(TYPICAL[0], T)), LENGTHS)
    net = nn.residual(nn.lstm(C), shortcut=nn.dense(C))
    y, lengths = net.apply(random_params(net, x), x)
    assert y.shape == (N, T, C)
    assert lengths is LENGTHS
    pair = nn.parallel(nn.dense(2), nn.global_avg_pool)
    (y, _), mean = pair.apply(random_params(pair, x), x)
    assert (y.shape, mean.shape) == ((N, T, 2), (N, C))


def test_sequences_without_lengths_are_as_x_alone():
    x = rng_array(N, T, C)
    for layer in (nn.dense(2), nn.conv(2, 3), nn.layer_norm(), nn.max_pool(2), nn.batch_norm()):
        params = random_params(layer, x)
        assert_close(layer.apply(params, nn.Sequences(x)), layer.apply(params, x))


def test_bad_input_gets_a_sentence():
    x, dense = rng_array(N, T, C), nn.dense(2)
    params = dense.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"dense: lengths must be \(N,\) = \(4,\), one for each sequence"):
        dense.apply(params, (x, LENGTHS[:2]))
    with pytest.raises(ValueError, match=r"dense: carry must be None, since this layer has nothing to carry"):
        dense.apply(params, nn.Sequences(x, LENGTHS, x))
    with pytest.raises(TypeError, match=r"dense: x must be one array, got a tuple of 2 \(float32"):
        dense.apply(params, (x, x[:, 0, 0]))
    with pytest.raises(TypeError, match="flatten: x must be one array, got a tuple of 2"):
        nn.serial(nn.flatten).apply(nn.Params({}, {}), (x, LENGTHS))
    with pytest.raises(ValueError, match=r"<lambda>|lambda: the result must have the steps of x, \(4, 9\)"):
        nn.each_step(lambda x: x[:, 0]).apply(nn.Params({}, {}), (x, LENGTHS))
    layer = nn.conv_transpose(2, 3, padding="REFLECT")
    params = layer.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="conv_transpose: padding must be one of zeros where x has lengths"):
        layer.apply(params, (x, LENGTHS))
    layer = nn.avg_pool(2, ceil_mode=True, count_include_pad=True)
    with pytest.raises(ValueError, match="avg_pool: ceil_mode must be False with count_include_pad=True"):
        layer.apply(nn.Params({}, {}), (x, LENGTHS))
    with pytest.raises(ValueError, match=r"batch_norm: x must be \(N, T, \.\.\., C\) where it has lengths"):
        nn.ops.batch_norm_train(x[:, 0], lengths=LENGTHS)
    with pytest.raises(ValueError, match="attention_pool: heads must divide the channels of x, got 3 and 4"):
        nn.attention_pool(heads=3).init(jax.random.key(0), x)
