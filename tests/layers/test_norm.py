import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from jaxnn.ops import norm as ops
from jaxnn.params import Params
from tests.support import assert_close, known_answers, rng_array


def test_batch_norm_starts_from_mean_0_and_variance_1(key):
    weights, state = batch_norm().init(key, (1, 5, 3))
    assert_close(weights, {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)})
    assert_close(state, {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)})


def test_momentum_is_the_weight_of_the_old_value_and_the_running_variance_is_unbiased(key):
    x = rng_array(4, 3, 2)
    layer = batch_norm(momentum=0.75)
    _, state = layer.train(layer.init(key, x.shape), x)
    exact = x.astype(np.float64)
    expected = {"mean": 0.25 * exact.mean((0, 1)), "var": 0.75 + 0.25 * exact.var((0, 1), ddof=1)}
    assert_close(state, jax.tree.map(np.float32, expected))


def test_momentum_is_nine_tenths_unless_given(key):
    x = rng_array(4, 2)
    _, state = batch_norm().train(batch_norm().init(key, x.shape), x)
    exact = x.astype(np.float64)
    expected = {"mean": 0.1 * exact.mean(0), "var": 0.9 + 0.1 * exact.var(0, ddof=1)}
    assert_close(state, jax.tree.map(np.float32, expected))


@pytest.mark.parametrize(
    "layer",
    [batch_norm(), layer_norm(), rms_norm(), group_norm(1), instance_norm()],
    ids=lambda layer: layer.name,
)
def test_epsilon_is_1e_5_in_every_layer(layer, key):
    # Signs alternate along every axis: any values that share statistics have mean 0 and variance 1e-6.
    x = np.float32(0.001) * (-1.0) ** np.indices((2, 4, 4)).sum(0).astype(np.float32)
    y, _ = layer.train(layer.init(key, x.shape), x)
    assert_close(y, x / np.float32(np.sqrt(1e-6 + 1e-5)))


def test_a_batch_sharded_under_jit_has_the_statistics_of_the_whole(key):
    x = np.arange(16, dtype=np.float32)[:, None] + rng_array(16, 2)
    layer = batch_norm()
    params = layer.init(key, x.shape)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    assert_close(jax.jit(layer.train)(params, sharded), layer.train(params, x))


def test_training_normalises_by_the_biased_variance(key):
    x = rng_array(4, 3, 2)
    layer = batch_norm()
    y, _ = layer.train(layer.init(key, x.shape), x)
    assert_close(y, (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("rank", range(4))
def test_batch_norm_is_that_of_torch(mode, rank):
    answers = known_answers("norm")
    case = {name: answers[f"batch_norm/{mode}/{rank}/{name}"] for name in ("x", "y", "scale", "bias")}
    running = {name: answers[f"batch_norm/{mode}/{rank}/{name}"] for name in ("mean", "var")}
    after = {name: answers[f"batch_norm/{mode}/{rank}/{name}_after"] for name in ("mean", "var")}
    layer = batch_norm(momentum=float(answers["momentum"]), epsilon=float(answers["epsilon"]))
    params = Params({"scale": case["scale"], "bias": case["bias"]}, running)
    if mode == "eval":
        assert_close(layer.apply(params, case["x"]), case["y"])
    else:
        y, state = layer.train(params, case["x"])
        assert_close((y, state), (case["y"], after))


def test_apply_uses_the_running_statistics(key):
    x = rng_array(4, 3)
    layer = batch_norm()
    weights, _ = layer.init(key, x.shape)
    state = {"mean": jnp.arange(3.0), "var": jnp.array([1.0, 4.0, 9.0])}
    expected = (x - np.arange(3)) / np.sqrt(np.array([1, 4, 9]) + 1e-5)
    assert_close(layer.apply(Params(weights, state), x), expected.astype(np.float32))


def test_apply_treats_rows_alone_and_an_empty_batch_works(key):
    layer = batch_norm()
    params = layer.init(key, (1, 5, 3))
    x = rng_array(4, 5, 3)
    assert_close(layer.apply(params, x)[:1], layer.apply(params, x[:1]))
    assert layer.apply(params, x[:0]).shape == (0, 5, 3)


def test_statistics_stay_in_float32_for_narrow_input(key):
    for dtype in (jnp.float16, jnp.bfloat16):
        layer = batch_norm()
        params = layer.init(key, jax.ShapeDtypeStruct((1, 3), dtype))
        x = jnp.asarray(300 + 50 * rng_array(1000, 3), dtype)
        y, state = layer.train(params, x)
        assert params.weights["scale"].dtype == y.dtype == layer.apply(params, x).dtype == dtype
        assert state["mean"].dtype == state["var"].dtype == jnp.float32
        assert_close(state["var"], 0.9 + 0.1 * np.asarray(x, np.float64).var(0, ddof=1), terms=1000)


def test_a_thousand_steps_far_from_zero_keep_their_deviation(key):
    """Running statistics of batches with mean 1e4 and deviation 0.01 in float32."""
    layer = batch_norm()
    x = jnp.asarray(1e4 + 0.01 * rng_array(64, 3, dtype=np.float64), jnp.float32)
    weights, state = layer.init(key, x.shape)

    def step(state, _):
        return layer.train(Params(weights, state), x)[1], None

    state, _ = jax.lax.scan(step, state, length=1000)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(state["var"], exact.var(0, ddof=1), rtol=1e-3)
    assert_close(state["mean"], exact.mean(0), terms=0, roundings=8)


def test_axis_name_gives_every_part_the_state_of_all(key):
    x = 100 + rng_array(4, 3, 5, 2)
    layer, plain = batch_norm(axis_name="parts"), batch_norm()
    params = plain.init(key, x.shape[1:])
    y, state = jax.vmap(layer.train, in_axes=(None, 0), out_axes=(0, None), axis_name="parts")(params, x)
    expected = plain.train(params, x.reshape(12, 5, 2))
    assert_close((y.reshape(12, 5, 2), state), expected)


def test_scale_and_bias_can_be_left_out(key):
    layer = batch_norm(scale=False, bias=False)
    params = layer.init(key, (1, 3))
    assert params.weights == {}
    x = rng_array(5, 3)
    assert_close(layer.train(params, x)[0], ops.batch_norm_train(x)[0])
    assert list(layer_norm(bias=False).init(key, (1, 3)).weights) == ["scale"]
    assert rms_norm(scale=False).init(key, (1, 3)).weights == {}


def test_no_gradient_comes_through_the_running_statistics(key):
    layer = batch_norm()
    params = layer.init(key, (1, 3))
    gradient = jax.grad(lambda x: jnp.sum(layer.train(params, x)[1]["var"]))(jnp.asarray(rng_array(5, 3)))
    assert (gradient == 0).all()


LAYERS = {
    "layer_norm": (layer_norm(), ops.layer_norm, (6,)),
    "layer_norm-image": (
        layer_norm(axes=(1, 2)),
        lambda x, *a: ops.layer_norm(x, *a, axes=(1, 2)),
        (4, 6),
    ),
    "rms_norm": (rms_norm(), ops.rms_norm, (6,)),
    "group_norm": (group_norm(3), lambda x, *a: ops.group_norm(x, 3, *a), (6,)),
    "instance_norm": (instance_norm(), ops.instance_norm, (6,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_is_the_op_with_its_weights(name, key):
    layer, op, sizes = LAYERS[name]
    x = rng_array(2, 4, 6)
    weights = layer.init(key, x.shape).weights
    assert {part: array.shape for part, array in weights.items()} == dict.fromkeys(weights, sizes)
    drawn = {part: rng_array(*sizes, seed=i) for i, part in enumerate(weights)}
    ordered = [drawn[part] for part in ("scale", "bias") if part in drawn]
    assert_close(layer.apply(Params(drawn, {}), x), op(x, *ordered))
    assert_close(layer.train(Params(drawn, {}), x), (op(x, *ordered), {}))


def test_initialisers_are_used_and_names_have_keys_of_their_own(key):
    draw = jax.nn.initializers.normal()
    weights = group_norm(1, scale_init=draw, bias_init=draw).init(key, (1, 4)).weights
    assert not np.allclose(weights["scale"], weights["bias"])


BAD = {
    "momentum": (lambda key: batch_norm(momentum=1.5), r"^batch_norm: momentum must be in \[0, 1\], got 1.5"),
    "epsilon": (lambda key: layer_norm(epsilon=0), r"^layer_norm: epsilon must be positive, got 0"),
    "groups": (lambda key: group_norm(0), r"^group_norm: groups must be at least 1, got 0"),
    "one value per channel": (
        lambda key: batch_norm().train(batch_norm().init(key, (1, 3)), jnp.ones((1, 3))),
        r"^batch_norm: training needs at least two values per channel, got 1 from x of shape \(1, 3\)",
    ),
    "batch axis": (
        lambda key: layer_norm(axes=(0, 1)).init(key, (2, 3)),
        r"^layer_norm: axes must not hold the batch axis, axis 0, got \(0, 1\) for x \(2, 3\)",
    ),
    "other channels": (
        lambda key: batch_norm().apply(batch_norm().init(key, (1, 3)), jnp.ones((2, 4))),
        r"^batch_norm: mean must have shape \(4,\) for x \(2, 4\), got shape \(3,\)",
    ),
    "params of another net": (
        lambda key: batch_norm().apply(layer_norm().init(key, (1, 3)), jnp.ones((2, 3))),
        r"^batch_norm: params of another net: they have no entry 'mean'",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_gets_a_sentence(bad, key):
    call, sentence = BAD[bad]
    with pytest.raises(ValueError, match=sentence):
        call(key)
