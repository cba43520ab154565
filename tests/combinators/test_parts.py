"""Any part, under any wrappers, in any composite: parts without weights, without state or without
either work as well, and so does any string as a name."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn import checkpoint
from tests.support import deep, random_params

X = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)

#: All keep the shape (N, 4).
PARTS = {
    "function": lambda: jnp.tanh,
    "flatten": lambda: nn.flatten,
    "dropout": lambda: nn.dropout(0.5),
    "dense": lambda: nn.dense(4),
    "batch_norm": lambda: nn.batch_norm(),
}


def several(layer):
    """Two members, averaged: the shape stays."""
    return nn.serial(nn.ensemble(layer, 2), lambda y: y.mean(0))


WRAPPERS = {
    "frozen": nn.frozen,
    "repeat": lambda layer: nn.repeat(layer, 2),
    "ensemble": several,
    "remat": nn.remat,
    "mixed_precision": nn.mixed_precision,
    "named": lambda layer: nn.named("a name/of.its own", layer),
    "serial": nn.serial,
    "weight_norm": lambda layer: nn.weight_norm(nn.serial(layer, nn.dense(4))),
    "spectral_norm": lambda layer: nn.spectral_norm(nn.serial(layer, nn.dense(4))),
}

COMPOSITES = {
    "serial": nn.serial,
    "graph": lambda layer: nn.graph(lambda f, x: f.part(x) + f.part(-x), part=layer),
    "residual": nn.residual,
    "parallel": lambda layer: nn.parallel(layer, nn.relu, merge="sum"),
}


def nets():
    """Each part under each wrapper in each composite, and under each two wrappers in one of them."""
    made = {}
    for wrapper in WRAPPERS:
        made[wrapper] = [
            (f"{composite}-{part}", composite, part, (wrapper,))
            for composite, part in product(COMPOSITES, PARTS)
        ]
        for i, outer in enumerate(WRAPPERS):
            made[f"{outer}-{wrapper}"] = [
                (part, list(COMPOSITES)[(i + j) % 4], part, (wrapper, outer)) for j, part in enumerate(PARTS)
            ]
    return made


NETS = nets()


@cache
def built(name):
    branches = {}
    for key, composite, part, wrappers in NETS[name]:
        layer = PARTS[part]()
        for wrapper in wrappers:
            layer = WRAPPERS[wrapper](layer)
        branches[key] = COMPOSITES[composite](layer)
    net = nn.parallel(**branches)
    return net, random_params(net, X)


def structure(tree):
    return jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)


#: Of the pairs of wrappers, by default a third: each wrapper thrice inside another and thrice around one.
SOME = {
    f"{outer}-{inner}"
    for (i, outer), (j, inner) in product(enumerate(WRAPPERS), repeat=2)
    if (i + j) % 3 == 0
}


@pytest.mark.parametrize("name", [n if n in WRAPPERS or n in SOME else deep(n) for n in NETS])
def test_every_part_survives(name, tmp_path):
    net, params = built(name)
    key = jax.random.key(1)
    ys = jax.eval_shape(net.apply, params, X)
    assert {y.shape for y in ys} == {X.shape}
    trained, state = jax.eval_shape(net.train, params, X, key)
    assert structure(trained) == structure(ys)
    assert structure(state) == structure(params.state)
    seen = jax.eval_shape(lambda params: nn.activations(net, params, X), params)
    assert len(seen) >= len(ys)
    checkpoint.save(tmp_path / "net", params)
    for loaded in (checkpoint.load(tmp_path / "net"), checkpoint.load(tmp_path / "net", like=params)):
        assert jax.tree.structure(loaded) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_part_is_in_the_summary(name):
    net, params = built(name)
    table = nn.summary(net, X.shape)
    assert table.weights == sum(leaf.size for leaf in jax.tree.leaves(params.weights))
    assert table.state == sum(leaf.size for leaf in jax.tree.leaves(params.state))


@pytest.mark.parametrize("wrapper", ["frozen", "remat", "mixed_precision", "named", "serial"])
def test_a_function_is_the_same_under_wrappers(wrapper):
    net = nn.serial(WRAPPERS[wrapper](nn.flatten))
    np.testing.assert_allclose(net.apply(net.init(jax.random.key(0), X), X), X, rtol=1e-2)


def test_frozen_weights_are_narrowed_with_the_rest_and_come_back_as_they_were(key):
    inner = nn.serial(nn.frozen(nn.serial(nn.dense(4), nn.batch_norm())), nn.dense(4))
    for net in (
        nn.mixed_precision(inner),
        nn.mixed_precision(nn.frozen(inner)),
        nn.mixed_precision(nn.serial(nn.repeat(inner, 2), nn.spectral_norm(inner), nn.remat(inner))),
    ):
        params = net.init(key, X)
        y, state = net.train(params, X)
        assert y.dtype == X.dtype
        assert structure(state) == structure(params.state)

        def frozen_kernels(tree):
            flat = jax.tree_util.tree_flatten_with_path(tree)[0]
            return [leaf for path, leaf in flat if "weights" in jax.tree_util.keystr(path)]

        assert frozen_kernels(state)
        jax.tree.map(np.testing.assert_array_equal, frozen_kernels(state), frozen_kernels(params.state))


NAMES = ["_call", "_own", "_names", "__init__", "__class__", "__getitem__", "shape", "fn", "self", "", " "]
NAMES += ["a.b", "a/b", "ü", "0"]


def test_a_part_may_have_any_name(key, tmp_path):
    layers = {name: nn.dense(3) for name in NAMES}
    net = nn.graph(lambda f, x: sum(f[name](x) for name in NAMES), **layers)
    params = net.init(key, (1, 4))
    assert sorted(params.weights) == sorted(NAMES)
    x = jnp.ones((2, 4))
    expected = sum(nn.dense(3).apply(nn.Params(params.weights[name], {}), x) for name in NAMES)
    np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-5)
    np.testing.assert_allclose(net.train(params, x)[0], expected, rtol=1e-5)
    assert list(nn.activations(net, params, x)) == NAMES
    checkpoint.save(tmp_path / "net", params)
    loaded = checkpoint.load(tmp_path / "net", like=params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    for combinator in (nn.serial, nn.parallel, nn.residual, nn.split):
        assert nn.output_shape(
            combinator(**dict.fromkeys(NAMES, nn.relu)), (x,) * 15 if combinator is nn.split else x
        )
    assert nn.output_shape(nn.serial(*(nn.named(name, nn.relu) for name in NAMES)), x) == x.shape


def test_a_part_is_an_attribute_whatever_python_has_there(key):
    def flow(f, x):
        return f._own(x) + f.__init__(x) + f.__class__(x)

    net = nn.graph(flow, _own=nn.relu, __init__=nn.relu, __class__=nn.relu)
    np.testing.assert_array_equal(net.apply(net.init(key, X), X), 3 * nn.relu(X))


def test_paths_that_would_be_one_stay_two(key):
    net = nn.serial(nn.serial(b=nn.relu), **{"serial_0/b": nn.tanh, "tanh": nn.tanh})
    seen = nn.activations(net, net.init(key, X), X)
    assert list(seen) == ["serial_0/b", "serial_0/b:1", "tanh"]


def test_two_shortcuts():
    with pytest.raises(ValueError, match=r"residual: two layers are called 'shortcut'"):
        nn.residual(nn.named("shortcut", nn.dense(4)), shortcut=nn.dense(4))


INPUTS = {
    "scalars": (lambda x: (x.sum(), x.mean()), lambda v: v[0] + v[1]),
    "float": (lambda x: 2.0, lambda v: v * jnp.ones(3)),
    "int": (lambda x: 2, lambda v: v * jnp.ones(3, jnp.int32)),
    "bool": (lambda x: True, lambda v: jnp.where(v, jnp.ones(3), jnp.zeros(3))),
    "numpy": (lambda x: np.float32(2), lambda v: v * jnp.ones(3)),
    "nothing beside an array": (lambda x: (x, ()), lambda v: v[0] if v[1] == () else None),
    "nothing": (lambda x: (), lambda v: jnp.ones(3) if v == () else None),
    "None": (lambda x: None, lambda v: jnp.ones(3) if v is None else None),
    "None beside an array": (lambda x: {"a": x, "b": None}, lambda v: v["a"] if v["b"] is None else None),
    "key": (lambda x: jax.random.key(0), lambda v: jax.random.normal(v, (3,))),
    "list of ints": (lambda x: [1, 2], lambda v: v[0] * jnp.ones(3, jnp.int32)),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(
    "wrap", [lambda layer: layer, nn.serial, nn.remat, nn.frozen, lambda layer: nn.ensemble(layer, 2)]
)
def test_a_part_takes_any_pytree(kind, wrap, key):
    """A value is never mistaken for a shape."""
    given, used = INPUTS[kind]
    net = nn.graph(lambda f, x: f.part(given(x)), part=wrap(used))
    y = net.apply(net.init(key, X), X)
    assert y is not None
    assert jnp.shape(y) == nn.output_shape(net, X)


def test_what_a_part_cannot_take(key):
    net = nn.graph(lambda f, x: f.part("text"), part=lambda text: X)
    with pytest.raises(
        TypeError, match=r"lambda: the input must be an array or a pytree of arrays, got 'text'"
    ):
        net.init(key, X)


def test_a_sum_of_branches_is_of_one_shape_and_dtype(key):
    x = jnp.ones((2, 4))
    with pytest.raises(
        ValueError,
        match=r"parallel: merge='sum' adds arrays of one shape and dtype, got float32\[2,3\] and f.*2,1\]",
    ):
        nn.parallel(nn.dense(3), nn.dense(3), nn.dense(1), merge="sum").init(key, x)
    with pytest.raises(ValueError, match=r"one shape and dtype, got float32\[2,4\] and int32\[2,4\]"):
        nn.parallel(nn.relu, lambda x: x.astype(jnp.int32), merge="sum").init(key, x)
    with pytest.raises(ValueError, match=r"one shape and dtype, got \(float32\[2,4\], float32\[2,4\]\) and"):
        nn.parallel(*[lambda x: (x, x)] * 2, merge="sum").init(key, x)
    with pytest.raises(ValueError, match=r"residual: the layers give \(float32\[2,4\], float32\[2,4\]\) but"):
        nn.residual(lambda x: (x, x)).init(key, x)


@pytest.mark.parametrize("wrap", [lambda layer: layer, nn.serial, nn.frozen, nn.remat])
def test_a_key_error_of_ones_own_comes_through(wrap, key):
    def table(x):
        return {"a": 1}["b"]

    def start(key, shape, dtype):
        return {"a": 1}["b"]

    layer = nn.stateless("own", lambda key, x: {"b": jnp.ones(())}, lambda w, x: table(x))
    with pytest.raises(KeyError, match="'b'"):
        nn.serial(wrap(layer)).init(key, X)
    with pytest.raises(KeyError, match="'b'"):
        wrap(nn.dense(3, kernel_init=start)).init(key, X)
    own = nn.stateless("own", lambda key, x: {}, lambda w, x: table(x))
    with pytest.raises(KeyError, match="'b'"):
        own.apply(nn.Params({}, {}), X)
    caught = nn.stateless("own", lambda key, x: {}, lambda w, x: w["scale"] if "scale" in w else table(x))
    with pytest.raises(KeyError, match="'b'"):
        caught.train(nn.Params({}, {}), X)


def test_a_missing_weight_says_so_at_any_depth(key):
    layer = nn.stateless("own", lambda key, x: {}, lambda w, x: x * w["inner"]["scale"])
    with pytest.raises(
        ValueError, match=r"own: params of another net: they have no entry 'scale', only \['x'\]"
    ):
        layer.apply(nn.Params({"inner": {"x": 1.0}}, {}), X)


@pytest.mark.parametrize("kind", INPUTS)
def test_the_summary_of_any_input(kind, key):
    given, used = INPUTS[kind]
    net = nn.graph(lambda f, x: f.part(f.given(x)), given=given, part=used)
    assert [row.path for row in nn.summary(net, X.shape).rows] == ["given", "part"]
