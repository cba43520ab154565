"""Batch norm folded into the layer before it gives the same, where that is right, and stays elsewhere."""

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from tests.support import assert_close, deep, plain_jit, random_params, rng_array

KEY = jax.random.key(0)
IMAGE = (2, 6, 5, 4)


def drawn(net, shape):
    return random_params(net, jnp.zeros(shape))


def norms(params):
    """How many batch norms have params."""
    return sum(path[-1].key == "var" for path, _ in jax.tree_util.tree_leaves_with_path(params.state))


def check(net, shape=IMAGE, *, left=0, given=None):
    """Folds, compares, and counts the batch norms that are left."""
    params = drawn(net, shape)
    folded, new = nn.fold_batch_norm(net, params, given)
    x = jnp.asarray(rng_array(*shape))
    before, after = plain_jit(net.apply)(params, x), plain_jit(folded.apply)(new, x)
    assert_close(after, before, scale=max(1, float(jnp.abs(before).max())))
    assert norms(new) == left
    like = jax.eval_shape(folded.init, KEY, x)
    assert jax.tree.structure(like) == jax.tree.structure(new)
    return folded, new


def with_and_without_shape(names):
    """The nets without and with the shape of an input; by default some, of each way to be followed."""
    special = ("repeat", "residual", "out-of-copies")
    few = ("residual", "nested", "repeat", "first", "of-a-sum", "weight_norm", "shortcut")
    alone = [(name, None) if name in few else deep(name, None) for name in names]
    return alone + [(name, IMAGE) if name in special else deep(name, IMAGE) for name in names]


LAYERS = {
    "dense": (lambda: nn.dense(3), (2, 4)),
    "dense-no-bias": (lambda: nn.dense(3, bias=False), (2, 4)),
    "conv": (lambda: nn.conv(6, 3, groups=2, strides=2), IMAGE),
    "conv-1d": (lambda: nn.conv(3, 2, bias=False), (2, 5, 3)),
    "depthwise": (lambda: nn.depthwise_conv(3, multiplier=2, bias=False), IMAGE),
    "separable": (lambda: nn.separable_conv(5, 3, bias=False), IMAGE),
    "conv_transpose": (lambda: nn.conv_transpose(6, 3, strides=2, groups=2), IMAGE),
}


@pytest.mark.parametrize(
    "name", [n if n in ("dense-no-bias", "conv", "conv_transpose") else deep(n) for n in LAYERS]
)
def test_folds_into(name):
    make, shape = LAYERS[name]
    check(nn.serial(make(), nn.batch_norm(epsilon=1e-3), nn.relu), shape)


@pytest.mark.parametrize(
    "settings", [deep({"scale": False}), deep({"bias": False}), {"scale": False, "bias": False}]
)
def test_folds_norms_without_scale_or_bias(settings):
    check(nn.serial(nn.conv(3, 3), nn.batch_norm(**settings)))


def unit(features=4):
    return nn.serial(nn.conv(features, 3, padding=1, bias=False), nn.batch_norm(), nn.relu)


WRAPPED = {
    "residual": lambda: nn.residual(unit(), nn.conv(4, 1), nn.batch_norm(), shortcut=unit()),
    "parallel": lambda: nn.parallel(unit(), unit(2), merge="concat"),
    "nested": lambda: nn.serial(nn.serial(nn.conv(4, 1)), nn.serial(nn.batch_norm(), nn.relu)),
    "frozen": lambda: nn.serial(nn.frozen(unit()), nn.relu),
    "remat": lambda: nn.remat(unit()),
    "named": lambda: nn.serial(nn.named("stem", nn.conv(3, 3)), nn.named("norm", nn.batch_norm())),
    "repeat": lambda: nn.repeat(unit(), 2),
    "ensemble": lambda: nn.ensemble(unit(3), 2),
}


@pytest.mark.parametrize(("name", "given"), with_and_without_shape(WRAPPED))
def test_folds_within(name, given):
    check(WRAPPED[name](), given=given)


STAYS = {
    "first": lambda: nn.serial(nn.batch_norm(), nn.conv(3, 3)),
    "behind-an-activation": lambda: nn.serial(nn.conv(3, 3), nn.relu, nn.batch_norm()),
    "of-a-sum": lambda: nn.serial(nn.residual(nn.conv(4, 1)), nn.batch_norm()),
    "of-branches": lambda: nn.serial(
        nn.parallel(nn.conv(4, 1), nn.conv(3, 1), merge="concat"), nn.batch_norm()
    ),
    "weight_norm": lambda: nn.serial(nn.weight_norm(nn.conv(3, 3)), nn.batch_norm()),
    "spectral_norm": lambda: nn.serial(nn.spectral_norm(nn.conv(3, 3)), nn.batch_norm()),
    "spectral_norm-around": lambda: nn.spectral_norm(nn.serial(nn.conv(3, 3), nn.batch_norm())),
    "out-of-copies": lambda: nn.serial(nn.repeat(nn.conv(4, 1), 2), nn.batch_norm()),
    "shortcut": lambda: nn.residual(nn.batch_norm(), shortcut=nn.conv(4, 1)),
}


@pytest.mark.parametrize(("name", "given"), with_and_without_shape(STAYS))
def test_stays(name, given):
    folded, _ = check(STAYS[name](), left=1, given=given)
    assert "linear" not in repr(folded)


GRAPHS = {
    "in-a-row": (lambda f, x: nn.relu(f.norm(f.conv(x))), 0),
    "seen-twice": (lambda f, x: (lambda y: f.norm(y) + y)(f.conv(x)), 1),
    "called-twice": (lambda f, x: f.norm(f.conv(f.conv(x))), 1),
    "normed-twice": (lambda f, x: f.norm(f.norm(f.conv(x))), 1),
    "something-between": (lambda f, x: f.norm(2 * f.conv(x)), 1),
}


@pytest.mark.parametrize("name", [n if n in ("in-a-row", "seen-twice") else deep(n) for n in GRAPHS])
def test_a_graph_is_followed_for_a_given_input(name):
    flow, left = GRAPHS[name]
    net = nn.graph(flow, conv=nn.conv(4, 3, padding=1), norm=nn.batch_norm())
    with pytest.raises(
        ValueError, match="fold_batch_norm: shape must be given, that of an input, where a graph"
    ):
        nn.fold_batch_norm(net, drawn(net, IMAGE))
    check(net, left=left, given=IMAGE)


def test_a_net_of_the_zoo_has_no_batch_norm_left():
    net = nn.models.resnet((1, 1), 3, width=4)
    folded, _ = check(net, (2, 16, 16, 3), given=(1, 16, 16, 3))
    assert set(folded.parts) == set(net.parts)


def test_half_precision_is_folded_in_float32():
    net = nn.serial(nn.dense(8, bias=False), nn.batch_norm())
    params = drawn(net, (2, 4))
    half = params._replace(weights=jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params.weights))
    folded, new = nn.fold_batch_norm(net, half)
    assert new.weights["dense_0"]["bias"].dtype == jnp.bfloat16
    x = jnp.asarray(rng_array(2, 4), jnp.bfloat16)
    assert_close(folded.apply(new, x), net.apply(half, x), scale=8)


def test_what_is_folded_prints_as_code():
    net = nn.serial(nn.conv(8, 3, bias=False), nn.batch_norm(), nn.relu, head=nn.residual(nn.dense(8)))
    folded, _ = nn.fold_batch_norm(net, drawn(net, IMAGE))
    assert repr(folded) == "serial(conv(8, 3, bias=True), linear, relu, head=residual(dense(8)))"


def test_wrong_arguments_get_a_sentence():
    net = unit()
    with pytest.raises(
        TypeError, match="fold_batch_norm: net must be a Layer or a function of one array, got 3"
    ):
        nn.fold_batch_norm(3, drawn(net, IMAGE))
    with pytest.raises(TypeError, match="fold_batch_norm: params must be Params"):
        nn.fold_batch_norm(net, {})
    with pytest.raises(ValueError, match="params of another net"):
        nn.fold_batch_norm(net, nn.dense(3).init(KEY, (1, 4)), IMAGE)
