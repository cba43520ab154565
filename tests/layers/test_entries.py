"""Params that contradict a layer's settings raise when they are traced, and name the layer and the entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import ENTRIES, ROW, Entry

CASES = [
    *ENTRIES,
    Entry("split", lambda: nn.serial(lambda x: (x, x), nn.split(nn.dense(2), nn.relu), lambda y: y[0]), ROW),
    Entry("ensemble", lambda: nn.ensemble(nn.serial(nn.dense(2), nn.batch_norm()), 3), ROW),
    Entry("mixed_precision", lambda: nn.mixed_precision(nn.serial(nn.dense(2), nn.layer_norm())), ROW),
    Entry("prelu-shared", lambda: nn.prelu(shared=True), ROW),
    Entry("weight_norm-net", lambda: nn.weight_norm(nn.serial(nn.dense(2), nn.gru(3))), (2, 5, 3)),
    Entry("spectral_norm-net", lambda: nn.spectral_norm(nn.serial(nn.dense(2), nn.dense(3))), ROW),
    Entry("frozen-net", lambda: nn.frozen(nn.serial(nn.dense(2), nn.batch_norm(), nn.relu)), ROW),
    Entry("standardize-data", lambda: nn.standardize(jnp.eye(6)), ROW),
    Entry("bare norms", lambda: nn.serial(nn.batch_norm(scale=False, bias=False), nn.rms_norm()), ROW),
]


def with_entry(tree, path, value):
    """``tree``, of dicts in ``Params``, with another value at ``path``; without any if it is None."""
    if isinstance(tree, nn.Params):
        return tree._replace(**{path[0]: with_entry(getattr(tree, path[0]), path[1:], value)})
    if len(path) == 1:
        others = {name: entry for name, entry in tree.items() if name != path[0]}
        return others if value is None else {**others, path[0]: value}
    return {**tree, path[0]: with_entry(tree[path[0]], path[1:], value)}


def wrong_params(params):
    """Every leaf with an axis one longer or shorter, or one axis more; left out; with another beside it."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = [key.name if hasattr(key, "name") else key.key for key in keys]
        sizes = [
            tuple(size + step * (axis == changed) for axis, size in enumerate(leaf.shape))
            for changed in range(leaf.ndim)
            for step in (-1, 1)
        ]
        names = "|".join(path[1:])
        for shape in [*sizes, (*leaf.shape, 1), (1, *leaf.shape)]:
            if 0 not in shape:
                yield names, with_entry(params, path, jax.ShapeDtypeStruct(shape, leaf.dtype))
        yield names, with_entry(params, path, None)
        yield "stranger", with_entry(params, [*path[:-1], "stranger"], leaf)
    if not jax.tree.leaves(params):
        for part in ("weights", "state"):
            yield "stranger", with_entry(params, [part, "stranger"], jax.ShapeDtypeStruct((2,), jnp.float32))


@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry.name)
def test_params_with_one_thing_wrong(entry):
    layer = as_layer(entry.make())
    x = jax.ShapeDtypeStruct(entry.shape, jnp.int32 if entry.integers else jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(layer.init, key, x)
    jax.eval_shape(layer.train, params, x, key)
    for name, wrong in wrong_params(params):  # an inner layer names what it was given: a kernel, no direction
        for function, args in ((layer.apply, ()), (layer.train, (key,))):
            with pytest.raises(ValueError, match=rf"^\w+: .*\b({name})\b"):
                jax.eval_shape(function, wrong, x, *args)


OTHERS = {
    "another size": (nn.dense(3), nn.dense(4), ROW),
    "a bias too many": (nn.dense(3, bias=False), nn.dense(3), ROW),
    "a bias too few": (nn.dense(3), nn.dense(3, bias=False), ROW),
    "another window": (nn.conv(2, 3), nn.conv(2, 5), (1, 8, 8, 3)),
    "another rank": (nn.conv(2, 3), nn.conv(2, (3, 3, 3)), (1, 8, 8, 3)),
    "another shape of window": (nn.conv(2, (3, 1)), nn.conv(2, (1, 3)), (1, 8, 8, 3)),
    "another multiplier": (nn.depthwise_conv(3), nn.depthwise_conv(3, multiplier=2), (1, 8, 8, 3)),
    "another vocabulary": (nn.embedding(7, 3), nn.embedding(9, 3), None),
    "another kind of cell": (nn.gru(4), nn.lstm(3), (1, 5, 3)),
    "another slope": (nn.prelu(), nn.prelu(shared=True), ROW),
    "a norm with statistics": (nn.group_norm(1), nn.batch_norm(), ROW),
    "none at all": (nn.relu, nn.dense(3), ROW),
    "dropout has none": (nn.dropout(0.5), nn.batch_norm(), ROW),
    "not normalised": (nn.weight_norm(nn.dense(3)), nn.dense(3), ROW),
    "normalised": (nn.dense(3), nn.weight_norm(nn.dense(3)), ROW),
    "more copies": (nn.repeat(nn.dense(6), 3), nn.repeat(nn.dense(6), 4), ROW),
    "fewer members": (nn.ensemble(nn.dense(6), 3), nn.ensemble(nn.dense(6), 2), ROW),
    "another net": (nn.serial(nn.dense(6), nn.relu), nn.serial(nn.dense(6), nn.relu, nn.dense(2)), ROW),
    "a net": (nn.dense(3), nn.serial(nn.dense(3)), ROW),
}


@pytest.mark.parametrize("case", OTHERS)
def test_params_of_another_layer(case):
    """Such params have the same names, and some the right shapes."""
    layer, other, shape = OTHERS[case]
    layer, other = as_layer(layer), as_layer(other)
    x = jnp.zeros((2, 5), jnp.int32) if shape is None else jnp.ones(shape)
    other_x = jnp.ones((1, 8, 8, 8, 3)) if case == "another rank" else x
    params = jax.eval_shape(other.init, jax.random.key(0), other_x)
    for function in (layer.apply, layer.train):
        args = () if function is layer.apply else (jax.random.key(0),)
        with pytest.raises(ValueError, match=r"^\w+: .*(params of another net|must have|must be)"):
            jax.eval_shape(function, params, x, *args)


def test_the_sentence():
    params = nn.dense(4).init(jax.random.key(0), (1, 6))
    sentence = r"^dense: params of another net: kernel must have shape \(F, 3\), got shape \(6, 4\)"
    with pytest.raises(ValueError, match=sentence) as caught:
        nn.serial(nn.dense(3)).apply(nn.Params({"dense_0": params.weights}, {}), jnp.ones((1, 6)))
    assert caught.value.__notes__ == ["in layer serial/dense_0, given float32[1,6]"]


def test_a_layer_of_ones_own_may_say_what_its_weights_are():
    def scaled(size):
        return nn.stateless(
            "scaled",
            lambda key, x: {"gain": jnp.ones(size)},
            lambda weights, x: x * weights["gain"][0],
            entries={"gain": (size,)},
        )

    params = scaled(2).init(jax.random.key(0), (1, 3))
    assert scaled(2).apply(params, jnp.ones((1, 3))).shape == (1, 3)
    with pytest.raises(ValueError, match=r"scaled: params of another net: gain must have shape \(3,\), got"):
        scaled(3).apply(params, jnp.ones((1, 3)))


def test_numbers_and_numpy_weights_are_welcome():
    layer = nn.prelu(shared=True)
    assert layer.apply(nn.Params({"slope": np.float32(0.5)}, {}), jnp.asarray([-2.0])) == -1
    weights = {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}
    assert nn.dense(3).apply(nn.Params(weights, {}), np.ones((1, 2), np.float32)).shape == (1, 3)
