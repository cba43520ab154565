"""Properties of every layer, whatever it computes."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.derivatives import check_derivatives
from tests.layers.catalogue import ENTRIES, FEW, FEWEST, each, few
from tests.support import assert_close, deep, equations, plain_jit, rng_array

# By scope, all tests of one layer come after one another, and share what is compiled.
every_layer, few_layers = each(ENTRIES, scope="module"), few(ENTRIES, scope="module")

RANDOM = {"random_bits", "random_seed", "random_split", "random_fold_in", "random_wrap", "threefry2x32"}


def batch(entry, n=2, dtype=jnp.float32, seed=0):
    shape = (n, *entry.shape[1:])
    if entry.integers:
        return jnp.asarray(np.random.default_rng(seed).integers(0, entry.integers, shape), jnp.int32)
    return jnp.asarray(rng_array(*shape, seed=seed, dtype=np.float64), dtype)


@cache
def prepared(entry):
    """The layer, its params, an input, and its compiled inference, which notes each trace in ``traces``."""
    layer = as_layer(entry.make())
    with jax.enable_x64(False):
        x = batch(entry)
        params = layer.init(jax.random.key(0), x)

    @jax.jit
    def jitted(params, x):
        jitted.traces.append(x.shape)
        return layer.apply(params, x)

    jitted.traces = []
    return layer, params, x, jitted


def converted(entry, x):
    """The layer's params in the dtypes that ``init`` gives for ``x``; drawing anew takes long to compile."""
    layer, params, _, _ = prepared(entry)
    specs = jax.eval_shape(layer.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf, spec: np.asarray(leaf, spec.dtype), params, specs)


def test_the_catalogue_has_every_layer():
    """Each public layer and combinator is in some entry, except those that aren't a layer of one array,
    put an axis before the batch, or compute in another dtype than the input's."""
    used = {name for entry in ENTRIES for name in entry.make.__code__.co_names}
    public = set(nn.layers.__all__) | set(nn.combinators.__all__)
    assert public - used == {"attend", "split", "ensemble", "mixed_precision"}
    assert {entry.name for entry in ENTRIES} >= FEW >= FEWEST


@few(ENTRIES, FEWEST, scope="module")
def test_jit_equals_eager(entry):
    """The eager call gets NumPy arrays."""
    layer, params, x, jitted = prepared(entry)
    assert_close(jitted(params, x), layer.apply(jax.tree.map(np.asarray, params), np.asarray(x)))


@every_layer
def test_the_shape_is_what_eval_shape_says(entry):
    layer, params, x, jitted = prepared(entry)
    assert nn.output_shape(layer, x) == jitted(params, x).shape
    specs = jax.eval_shape(layer.init, jax.random.key(0), x)
    chex.assert_trees_all_equal_shapes_and_dtypes(specs, params)
    bigger = layer.init(jax.random.key(0), batch(entry, 7))
    chex.assert_trees_all_equal(bigger, params)


@few_layers
def test_rows_on_their_own_and_batches_of_any_size(entry):
    """Inference on a batch equals inference on its rows; a batch of one; an empty batch."""
    _, params, _, jitted = prepared(entry)
    x = np.asarray(batch(entry, 3, seed=5))
    whole = np.asarray(jitted(params, x))
    for i in range(3):
        assert_close(jitted(params, x[i : i + 1]), whole[i : i + 1])
    assert jitted(params, x[:0]).shape == (0, *whole.shape[1:])


@every_layer
def test_apply_holds_no_random_primitive(entry):
    layer, params, x, _ = prepared(entry)
    jaxpr = jax.make_jaxpr(layer.apply)(params, x)
    assert not RANDOM & {eqn.primitive.name for eqn in equations(jaxpr.jaxpr)}
    assert jaxpr.consts == [] or not any(jnp.issubdtype(c.dtype, jax.dtypes.prng_key) for c in jaxpr.consts)


@every_layer
def test_the_key_of_train_may_be_named(entry):
    layer, params, x, _ = prepared(entry)
    key = jax.random.key(0)
    named = jax.eval_shape(lambda params, x, key: layer.train(params, x, key=key), params, x, key)
    chex.assert_trees_all_equal_shapes_and_dtypes(named, jax.eval_shape(layer.train, params, x, key))


@few_layers
def test_vmap_equals_loop(entry):
    """Over the input, and over the params (an ensemble)."""
    layer, params, x, jitted = prepared(entry)
    xs = np.stack([x, batch(entry, seed=1)])
    out = np.asarray(jax.jit(jax.vmap(layer.apply, in_axes=(None, 0)))(params, xs))
    for i in range(2):
        assert_close(out[i], jitted(params, xs[i]))
    if not jax.tree.leaves(params):
        return
    keys = jax.random.split(jax.random.key(1), 2)
    many = jax.device_get(plain_jit(jax.vmap(lambda key: layer.init(key, x)))(keys))
    out = np.asarray(jax.jit(jax.vmap(layer.apply, in_axes=(0, None)))(many, x))
    for i in range(2):
        single = jax.tree.map(lambda leaf: leaf[i], many)  # noqa: B023
        assert_close(single, layer.init(keys[i], x))
        assert_close(out[i], jitted(single, x))


@few([entry for entry in ENTRIES if not entry.integers], scope="module")
@pytest.mark.parametrize("dtype", ["bfloat16", deep("float16"), deep("float64")])
def test_dtypes(entry, dtype):
    """Weights, and output, have the dtype of the input; the values are those of float64."""
    with jax.enable_x64(True):
        layer, dtype = prepared(entry)[0], jnp.dtype(dtype)
        x = batch(entry, dtype=dtype)
        params = converted(entry, x)
        assert {leaf.dtype for leaf in jax.tree.leaves(params.weights)} <= {dtype}

        @jax.jit
        def results(params, x):
            return layer.apply(params, x), layer.train(params, x, jax.random.key(1))

        y, (trained, state) = results(params, x)
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x))
        assert y.dtype == trained.dtype == dtype
        assert_close(y, np.asarray(plain_jit(layer.apply)(*wide)), roundings=16)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, params.state)


@every_layer
def test_integers_are_refused_or_kept(entry):
    """Never cast silently: a sentence that says how to cast, or the same dtype out."""
    layer, params, x, jitted = prepared(entry)
    if entry.integers:
        assert jitted(params, x.astype(jnp.uint8)).dtype == jax.tree.leaves(params)[0].dtype
        with pytest.raises(TypeError, match="integers"):
            layer.apply(params, x.astype(jnp.float32))
    elif entry.keeps_integers:
        assert layer.apply(params, x.astype(jnp.int32)).dtype == jnp.int32
    else:
        with pytest.raises(TypeError, match=r"floating-point.*got int32"):
            layer.apply(params, x.astype(jnp.int32))


def trained(entry):
    """The gradients for the weights, the output and the state of a step of training, as a function."""
    layer, params, x, _ = prepared(entry)
    key = jax.random.key(2)

    def loss(weights):
        y, state = layer.train(params._replace(weights=weights), x, key)
        return jnp.sum(jnp.square(y)), (y, state)

    return jax.grad(loss, has_aux=True)


@every_layer
def test_train_keeps_the_structure(entry):
    """The same output shape as ``apply``, a state of the same structure, gradients for every weight."""
    layer, params, x, _ = prepared(entry)
    grads, (y, state) = jax.eval_shape(trained(entry), params.weights)
    assert y.shape == nn.output_shape(layer, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, params.state)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params.weights)


@few_layers
def test_training_gives_finite_values(entry):
    _, params, _, _ = prepared(entry)
    results = jax.jit(trained(entry))(params.weights)
    chex.assert_trees_all_equal_shapes_and_dtypes(results, jax.eval_shape(trained(entry), params.weights))
    chex.assert_tree_all_finite(results)


@few_layers
def test_gradients_against_finite_differences(entry, x64):
    layer, x = prepared(entry)[0], batch(entry, dtype=jnp.float64)
    weights, state = converted(entry, x)
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
    if entry.integers:
        function, args = lambda weights: layer.apply(nn.Params(weights, state), x), (weights,)
    else:
        function, args = lambda weights, x: layer.apply(nn.Params(weights, state), x), (weights, x)
    check_derivatives(function, args, order=1, forward_mode=False)


@every_layer
def test_one_trace_a_shape(entry):
    _, params, x, jitted = prepared(entry)
    jitted(params, x)
    before = len(jitted.traces)
    for seed in range(1, 4):
        jitted(params, batch(entry, seed=seed))
    assert len(jitted.traces) == before > 0


@every_layer
def test_summary_has_it(entry):
    layer, params, x, _ = prepared(entry)
    table = nn.summary(layer, x)
    assert table.weights == sum(leaf.size for leaf in jax.tree.leaves(params.weights))
    assert table.rows
