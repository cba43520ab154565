import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.layers.embedding import attend, embedding
from tests.support import assert_close, deep, random_params, rng_array

INTEGERS = [deep("int8"), "uint8", deep("int16"), "int32", deep("uint32"), deep("int64"), "uint64"]


def table(layer, key):
    return layer.init(key, jax.ShapeDtypeStruct((1,), jnp.int32))


def any_table(layer):
    return random_params(layer, np.zeros(1, np.int32))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0, 3)])
def test_each_id_gives_its_row(shape):
    layer = embedding(7, 4)
    params = any_table(layer)
    ids = np.random.default_rng(0).integers(7, size=shape).astype(np.int32)
    y = layer.apply(params, ids)
    assert y.shape == (*shape, 4)
    assert_close(y, np.asarray(params.weights["embedding"])[ids])
    assert_close(layer.train(params, ids), (y, {}))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_of_every_integer_dtype(dtype, x64):
    layer = embedding(300, 2)
    params = any_table(layer)
    ids = np.asarray([0, 5, 127]).astype(dtype)
    assert_close(layer.apply(params, ids), np.asarray(params.weights["embedding"])[[0, 5, 127]])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_out_of_range_give_rows_of_nan(dtype, x64):
    layer = embedding(100, 2)
    params = any_table(layer)
    info = np.iinfo(dtype)
    ids = np.asarray([info.max, info.min, 100, 99], dtype)
    for apply in (layer.apply, jax.jit(layer.apply)):
        bad = np.isnan(apply(params, ids)).all(axis=1)
        assert bad.tolist() == [True, info.min < 0, True, False]


def test_ids_out_of_range_change_no_gradient():
    layer = embedding(3, 2)
    params = any_table(layer)

    def gradient(*ids):
        return jax.grad(lambda w: layer.apply(nn.Params(w, {}), jnp.asarray(ids)).sum())(params.weights)

    assert_close(gradient(-1, 0, 2, 3, 2), gradient(0, 2, 2))


def test_the_gradient_counts_in_float32(key):
    layer = embedding(2, 1, dtype=jnp.bfloat16)
    params = table(layer, key)
    ids = jnp.zeros(1000, jnp.int32)
    grad = jax.grad(lambda w: layer.apply(nn.Params(w, {}), ids).astype(jnp.float32).sum())(params.weights)
    assert grad["embedding"].dtype == jnp.bfloat16
    assert_close(
        grad["embedding"].ravel(), jnp.asarray([1000, 0], jnp.bfloat16)
    )  # counting by ones ends at 256


def test_rows_have_unit_length_on_average(key):
    rows = table(embedding(2000, 16), key).weights["embedding"]
    assert rows.dtype == jnp.float32
    np.testing.assert_allclose(np.var(rows), 1 / 16, rtol=0.05)


def test_initialiser_and_dtype_are_arguments(key):
    layer = embedding(5, 2, embedding_init=jax.nn.initializers.ones, dtype=jnp.float16)
    assert_close(layer.apply(table(layer, key), np.arange(5)), jnp.ones((5, 2), jnp.float16))


# attend


def test_attend_scores_against_every_row():
    params = any_table(embedding(7, 4))
    x = rng_array(2, 3, 4)
    assert_close(attend(params, x), x @ np.asarray(params.weights["embedding"]).T)


def tied():
    return nn.graph(
        lambda f, ids: attend(f.tokens, f.hidden(f.tokens(ids))), tokens=embedding(7, 4), hidden=nn.dense(4)
    )


def test_attend_ties_within_a_graph(key):
    model, ids = tied(), jnp.asarray([[1, 2, 6]])
    params = model.init(key, ids)
    assert jax.tree.map(lambda w: w.shape, params.weights) == {
        "hidden": {"bias": (4,), "kernel": (4, 4)},
        "tokens": {"embedding": (7, 4)},
    }
    hidden = nn.dense(4).apply(
        nn.Params(params.weights["hidden"], {}), params.weights["tokens"]["embedding"][ids]
    )
    expected = attend(nn.Params(params.weights["tokens"], {}), hidden)
    assert_close(model.apply(params, ids), expected)
    assert_close(model.train(params, ids)[0], expected)


def test_a_tied_table_learns_from_both_ends(key):
    model, ids = tied(), jnp.asarray([[1]])
    params = model.init(key, ids)
    grad = jax.grad(lambda w: model.apply(nn.Params(w, {}), ids)[..., 5].sum())(params.weights)
    changed = np.abs(grad["tokens"]["embedding"]).max(axis=1) > 0
    assert changed.tolist() == [False, True, False, False, False, True, False]


def test_attend_reaches_the_table_through_wrappers(key):
    ids = jnp.asarray([[1, 2]])
    plain, params = tied(), tied().init(key, ids)
    for wrapper in (nn.remat, nn.mixed_precision):
        model = nn.graph(
            lambda f, ids: attend(f.tokens, f.hidden(f.tokens(ids))),
            tokens=wrapper(embedding(7, 4)),
            hidden=nn.dense(4),
        )
        assert_close(model.apply(params, ids), plain.apply(params, ids), dtype="bfloat16")


@pytest.mark.parametrize("explicit", [False, True], ids=["auto", "explicit"])
def test_ids_over_eight_devices(explicit, key):
    model, ids = tied(), jnp.arange(24).reshape(8, 3) % 7
    params = model.init(key, ids)

    def loss(weights, ids):
        return jnp.square(model.apply(nn.Params(weights, {}), ids)).sum()

    expected = jax.value_and_grad(loss)(params.weights, ids)
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(ids, jax.NamedSharding(mesh, jax.P("batch")))
        weights = jax.device_put(params.weights, jax.NamedSharding(mesh, jax.P()))
        assert_close(jax.device_get(jax.jit(jax.value_and_grad(loss))(weights, sharded)), expected)


def test_vmap_and_symbolic_batch(key):
    layer, ids = embedding(7, 4), jnp.asarray([[1, 2], [3, 6]])
    stack = jax.vmap(lambda key: table(layer, key))(jax.random.split(key, 2))
    mapped = jax.vmap(layer.apply)(stack, ids)
    for i in range(2):
        assert_close(mapped[i], layer.apply(jax.tree.map(lambda w: w[i], stack), ids[i]))  # noqa: B023
    (n,) = jax.export.symbolic_shape("n")
    params = table(layer, key)
    exported = jax.export.export(jax.jit(lambda ids: layer.apply(params, ids)))(
        jax.ShapeDtypeStruct((n, 2), jnp.int32)
    )
    assert_close(exported.call(ids), layer.apply(params, ids))


# bad input


def test_float_ids_raise(key):
    layer = embedding(7, 4)
    sentence = (
        r"embedding: ids must be integers, got float32 \(a bare shape given to init means float32; give"
    )
    with pytest.raises(TypeError, match=sentence):
        layer.init(key, (1, 3))
    with pytest.raises(TypeError, match=sentence):
        layer.apply(table(layer, key), rng_array(1, 3))
    with pytest.raises(TypeError, match="embedding: ids must be integers, got bool"):
        layer.apply(table(layer, key), np.ones(3, bool))


def test_bad_settings_raise():
    with pytest.raises(ValueError, match="embedding: vocabulary must be at least 1, got 0"):
        embedding(0, 4)
    with pytest.raises(ValueError, match="embedding: features must be at least 1, got -1"):
        embedding(4, -1)
    with pytest.raises(TypeError, match="embedding: dtype must be a floating-point dtype, got"):
        embedding(4, 4, dtype=jnp.int32)


def test_bad_attend_raises():
    params = any_table(embedding(7, 4))
    with pytest.raises(
        ValueError, match=r"attend: the last axis of x must be the embedding's 4 features, got shape"
    ):
        attend(params, rng_array(2, 3))
    with pytest.raises(TypeError, match="attend: embedding is float32 but x is bfloat16"):
        attend(params, jnp.ones((2, 4), jnp.bfloat16))
    with pytest.raises(TypeError, match="attend: x must be floating-point, got int32"):
        attend(params, jnp.ones((2, 4), jnp.int32))
    with pytest.raises(
        TypeError, match="attend: embedding must be the Params of an embedding layer or a part"
    ):
        attend(nn.Params({"kernel": 1}, {}), rng_array(2, 4))
