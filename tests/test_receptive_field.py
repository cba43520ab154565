"""The receptive fields that ``summary`` finds, against what really moves the centre of the output."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import ENTRIES
from tests.support import plain_jit, random_params

SEQUENCE = (1, 9, 3)


def field(layer, shape):
    return nn.summary(layer, shape).rows[-1].field


def measured(layer, shape):
    """For each axis how far apart the places are whose change changes a channel at the centre, at most."""
    net, space = as_layer(layer), shape[1:-1]
    spec = jax.ShapeDtypeStruct((1, *shape[1:]), jnp.float64)
    params = random_params(net, spec)
    places = np.array(list(product(*map(range, space))))
    masks = np.zeros((len(places), *spec.shape[1:]))
    for mask, place in zip(masks, places, strict=True):
        mask[tuple(place)] = 30

    # A layer takes all places as one batch; a plain function may do anything with the batch axis.
    apply = partial(net.apply, params)
    each = apply if isinstance(layer, nn.Layer) else lambda x: jax.vmap(apply)(x[:, None])

    @plain_jit
    def centre(x):
        y = jax.tree.leaves(each(x))[0]
        y = y if isinstance(layer, nn.Layer) else y.reshape(len(x), *y.shape[2:])
        return y[:, *(n // 2 for n in y.shape[1:-1])].reshape(len(x), -1)

    rng = np.random.default_rng(0)
    x = rng.normal(size=spec.shape[1:])
    before, *after = (
        np.asarray(centre(x + sign * rng.normal(size=x.shape) * masks)) for sign in (0, 1, 1, 1)
    )
    channels = np.any([y != before for y in after], axis=0).T
    spans = [np.ptp(places[moves], axis=0) + 1 for moves in channels if moves.any()]
    return tuple(np.max(spans, axis=0).tolist())


NAMES = {"conv-1d", "conv_transpose-grouped", "lp_pool", "adaptive_max_pool", "lstm-last-reverse"}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.name in NAMES], ids=lambda entry: entry.name
)
def test_layers(entry):
    net = nn.graph(lambda f, x: f.a(x), a=entry.make())
    assert field(net, jax.ShapeDtypeStruct(entry.shape, jnp.float64)) == measured(net, entry.shape)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "layers",
    [
        (nn.conv(4, (2, 3), strides=2, padding="SAME"), nn.conv_transpose(3, 3, strides=2, padding=1)),
        (nn.conv(4, 2, dilation=2, padding="REFLECT", groups=2), nn.max_pool(2), nn.upsample(2)),
        (nn.conv(2, 3, padding="CIRCULAR"), nn.resize((7, 5), method="linear", align_corners=True)),
        (nn.avg_pool(3, strides=2, padding=1), nn.resize((4, 6), method="cubic"), nn.reshape(-1, 4)),
        (nn.pixel_unshuffle(2), nn.conv(8, 1, groups=8), nn.pixel_shuffle(2), nn.resize((6, 3))),
        (nn.residual(nn.conv(4, 3, padding="SAME"), nn.relu), nn.adaptive_avg_pool((3, 2)), nn.flatten),
        (nn.parallel(nn.conv(2, 1), nn.conv(2, 5, padding="SAME"), merge="concat"), nn.conv(4, 2, groups=2)),
    ],
)  # fmt: skip
def test_nets(layers):
    net, shape = nn.serial(*layers), (1, 8, 8, 4)
    assert field(net, jax.ShapeDtypeStruct(shape, jnp.float64)) == measured(net, shape)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x[:, np.array([5, 0, 2, 7, 1])],
        lambda x: jnp.where(np.arange(9)[None, :, None] < 4, x, jnp.flip(x, 1)),
        lambda x: x + (np.arange(9) / 6 // 1)[None, :, None] * jnp.mean(x, axis=1, keepdims=True),
        lambda x: lax.cummax(x, 1, reverse=True),
        lambda x: lax.reduce(x, np.float64(-1), lax.max, (2,))[..., None],
        lambda x: jnp.sort(x, axis=1),
        lambda x: jnp.argmax(x, axis=1, keepdims=True).astype(x.dtype),
        lambda x: lax.top_k(jnp.swapaxes(x, 1, 2), 3)[0],
        lambda x: lax.scan(lambda c, a: (c / 2 + a, c), x[:, 0], x.swapaxes(0, 1))[1].swapaxes(0, 1),
        lambda x: lax.scan(lambda c, a: (a, c), x[:, 0], x.swapaxes(0, 1), reverse=True)[1].swapaxes(0, 1),
        lambda x: lax.dynamic_slice_in_dim(x, 20, 3, axis=1),
        lambda x: lax.cond(True, lambda x: x, lambda x: jnp.flip(x, 1), x),
        lambda x: lax.cond(x[0, 1, 0] > 0, lambda x: 2 * x, lambda x: x, x),
        lambda x: lax.conv_general_dilated(
            x, np.ones((3, 1, 6)), (2,), ((2, 1),), lhs_dilation=(2,), rhs_dilation=(2,),
            dimension_numbers=("NHC", "HIO", "NHC"), feature_group_count=3,
        ),
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 1), (1, 2, 1), "SAME"),
        lambda x: jnp.einsum("ntc,nsc->nts", x, x),
        lambda x: jnp.einsum("ntc,ts->nsc", x, np.triu(np.ones((9, 9)))),
        lambda x: jnp.einsum("ts,ntc->nsc", np.eye(9)[:, ::-1], x),
        lambda x: jnp.stack([x, jnp.flip(x, 1)], axis=-1),
        lambda x: jnp.reshape(x, (1, 27)),
        lambda x: jnp.split(x, 3, axis=1)[1],
        lambda x: jnp.eye(3)[jnp.clip(x[..., 0], 0, 2).astype(int)],
        lambda x: jax.nn.softmax(x, axis=-1),
        lambda x: jnp.sum(x),
    ],
)  # fmt: skip
def test_functions(layer):
    assert field(layer, jax.ShapeDtypeStruct(SEQUENCE, jnp.float64)) == measured(layer, SEQUENCE)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: jnp.fft.fft(x, axis=1).real,
        lambda x: lax.while_loop(lambda x: jnp.max(x) > 1, lambda x: x / 2, x),
        lambda x: jnp.take(x, jnp.clip(x[0, :, 0], 0, 3).astype(int), axis=1),
        lambda x: jnp.einsum("ntc,nts->nsc", x, np.triu(np.ones((1, 9, 9), np.float32))),
        lambda x: lax.scan(lambda c, _: (jnp.sin(c), None), x, length=100_000)[0],
    ],
)
def test_what_cannot_be_followed_has_no_number_nor_has_what_comes_of_it(layer):
    table = nn.summary(nn.serial(nn.conv(3, 1), layer, nn.relu), SEQUENCE)
    assert [row.field for row in table.rows] == [(1,), None, None]
    assert str(table).splitlines()[3].endswith("—")


def test_what_is_not_made_of_the_input_has_none():
    assert field(lambda x: jnp.zeros_like(x) + 1, SEQUENCE) is None


def test_an_input_without_space_has_no_column():
    table = nn.summary(nn.dense(3), (2, 5))
    assert table.rows[0].field is None
    assert "field" not in str(table)
    assert "field" in str(nn.summary(nn.dense(3), (2, 5, 5)))


def test_a_deep_net():
    """The field of AlexNet's convolutions, and that an input smaller than the field cuts it off."""
    net = nn.serial(
        nn.conv(4, 11, strides=4), nn.max_pool(3, strides=2), nn.conv(4, 5, padding=2),
        nn.max_pool(3, strides=2), nn.conv(4, 3, padding=1), nn.conv(4, 3, padding=1),
    )  # fmt: skip
    fields = [row.field for row in nn.summary(net, (1, 227, 227, 3)).rows]
    assert fields == [(n, n) for n in (11, 19, 51, 67, 99, 131)]
    assert nn.summary(net, (1, 99, 115, 3)).rows[-1].field == (99, 115)
