"""One training step over many devices equals that on one, and sends what it must, no more."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.distribution import (
    by_path,
    collectives,
    fully_sharded,
    gather,
    mesh,
    place,
    place_batch,
    replicated,
)
from tests.distribution.nets import (
    CLASSES,
    LOSS,
    NETS,
    OPTIMIZER,
    ROWS,
    batch_of,
    compiled,
    fresh,
    on_one_device,
)
from tests.support import assert_close, deep, plain_jit, rng_array

RULES = {
    "replicated": replicated,
    "fully sharded": lambda mesh: fully_sharded(mesh, smallest=16),
}


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def is_split(array):
    return not array.sharding.is_fully_replicated


def held(tree, device):
    """How many bytes of the arrays are on one device."""
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
    return sum(shard.data.nbytes for shard in shards if shard.device == device)


@pytest.mark.parametrize(
    ("name", "rule", "explicit"),
    [
        ("batch norm", "fully sharded", True),
        *(deep(name, "fully sharded", True) for name in NETS if name != "batch norm"),
        *(deep(name, "fully sharded", False) for name in NETS),
        *(deep(name, "replicated", explicit) for name in NETS for explicit in (False, True)),
    ],
)
def test_two_steps_over_eight_devices_equal_those_on_one(name, rule, explicit):
    sharding = RULES[rule](mesh(explicit=explicit))
    state, step = fresh(name, sharding)
    x, y = place_batch(batch_of(name), sharding)
    split = [leaf for leaf in jax.tree.leaves(state.params.weights) if is_split(leaf)]
    assert bool(split) == (rule == "fully sharded")

    program = compiled(step, state, x, y)
    check_sent(program, state, split)
    for _ in range(2):
        state, scores = program(state, x, y)
    assert_close(gather((state.params, state.opt_state, scores)), on_one_device(name), terms=4096)


def check_sent(program, state, split):
    """Split weights are gathered, gradients and statistics summed, each once; nothing else is sent."""
    sent = collectives(program)
    assert {one.kind for one in sent} <= {"all-gather", "all-reduce", "reduce-scatter"}
    gathered = sorted(size for one in sent if one.kind == "all-gather" for size in one.sizes)
    assert gathered == sorted(leaf.size for leaf in split)
    summed = sum(one.bytes for one in sent if one.kind != "all-gather")
    # Beside the gradients: the loss, the norm that is clipped, and the sums of batch norm.
    statistics = 8 * nbytes(state.params.state) + 4 * (4 + len(jax.tree.leaves(state.params.weights)))
    assert nbytes(state.params.weights) <= summed <= nbytes(state.params.weights) + statistics


def test_fully_sharded_each_device_holds_an_eighth_of_weights_and_optimiser():
    net, optimizer = nn.serial(nn.dense(64), nn.relu, head=nn.dense(32)), optax.adam(1e-3)
    sharding = fully_sharded(mesh(), smallest=1)
    state = nn.init_state(net, optimizer, jax.random.key(0), (1, 16), sharding=sharding)
    step = nn.make_step(net, optimizer, optax.squared_error, sharding=sharding)
    weights = 4 * (16 * 64 + 64 + 64 * 32 + 32)
    for _ in range(2):  # as it begins, and as a step leaves it
        for device in jax.devices():
            assert held(state.params.weights, device) == weights // 8
            assert held(state.opt_state, device) == 2 * weights // 8 + 4  # two moments, and a count
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            state, _ = step(state, rng_array(8, 16), rng_array(8, 32))


def test_arrays_from_anywhere_are_put_in_place_and_a_given_state_is_kept():
    sharding = replicated(mesh({"data": 4, "model": 2}), batch="data")
    state, step = fresh("plain")
    _, sharded = fresh("plain", sharding)
    state, _ = step(state, *batch_of("plain"))
    before = jax.device_get(state.params)
    moved, scores = sharded(state, *batch_of("plain"))
    assert_close(gather(scores), on_one_device("plain")[2])
    assert moved.params.weights["head"]["kernel"].sharding == sharding.whole
    assert_close(jax.device_get(state.params), before)  # what was put in place was a copy


def test_a_mask_and_pieces_of_a_batch():
    sharding = fully_sharded(mesh({"data": 4}, devices=jax.devices()[:4]), smallest=16)
    net, shape = NETS["plain"]
    mask = np.arange(ROWS) < 11
    found = []
    for rule in (None, sharding):
        state = nn.init_state(net, OPTIMIZER, jax.random.key(0), (1, *shape), sharding=rule)
        step = nn.make_step(net, OPTIMIZER, LOSS, accumulate=2, sharding=rule)
        state, scores = step(state, *batch_of("plain"), mask)
        found.append(gather((state.params, scores)))
    assert_close(*found)


@pytest.mark.parametrize("explicit", [deep(False), True])
@pytest.mark.parametrize(
    "spec", [deep(jax.P("data")), jax.P("data", "model"), deep(jax.P(None, ("data", "model")))]
)
def test_masks_of_dropout_do_not_depend_on_how_the_input_is_split(explicit, spec):
    devices = mesh({"data": 2, "model": 4}, explicit=explicit)
    train = jax.jit(nn.dropout(0.5).train)
    x, nothing = rng_array(4, 16), nn.Params({}, {})
    placed = jax.device_put(x, jax.NamedSharding(devices, spec))
    found, _ = train(nothing, placed, jax.random.key(3))
    np.testing.assert_array_equal(found, train(nothing, x, jax.random.key(3))[0])


def test_tensor_parallel_layers_send_one_sum_per_example():
    net = nn.serial(up=nn.dense(32), tanh=nn.tanh, down=nn.dense(CLASSES))
    devices = mesh({"data": 2, "model": 4})
    up, down = jax.P(None, "model"), jax.P("model", None)
    sharding = by_path(devices, {"up/kernel": up, "up/bias": jax.P("model"), "down/kernel": down})
    found = []
    for rule in (None, sharding):
        state = nn.init_state(net, OPTIMIZER, jax.random.key(0), (1, 16), sharding=rule)
        step = nn.make_step(net, OPTIMIZER, LOSS, sharding=rule)
        if rule is not None:
            assert state.params.weights["up"]["kernel"].sharding.spec == up
            momentum = optax.tree_utils.tree_get(state.opt_state, "trace")
            assert momentum["down"]["kernel"].sharding.spec == down
            program = step.lower(state, *place_batch(batch_of("plain"), rule)).compile()
            assert {one.kind for one in collectives(program)} == {"all-reduce"}
        for _ in range(2):
            state, scores = step(state, *batch_of("plain"))
        found.append(gather((state.params, scores)))
    assert_close(*found)


@pytest.mark.deep
def test_channels_of_convolutions_may_be_split():
    net = nn.serial(nn.conv(8, 3), nn.relu, nn.conv(8, 2))
    rules = {"conv_0/kernel": jax.P(None, None, None, "model"), "conv_1/kernel": jax.P(None, None, "model")}
    sharding = by_path(mesh({"data": 2, "model": 4}), rules)
    x = rng_array(4, 4, 4, 4)
    params = net.init(jax.random.key(0), x)

    @plain_jit
    def run(weights, x):
        return jax.grad(lambda weights: jnp.sin(net.apply(nn.Params(weights, {}), x)).sum())(weights)

    found = run(place(params, sharding).weights, place_batch(x, sharding))
    assert_close(gather(found), jax.device_get(run(params.weights, x)))


def test_an_initial_value_that_is_looked_at_is_put_in_place_afterwards():
    def init(key, x):
        assert float(jax.random.uniform(key)) < 1
        return {"scale": np.ones(16, np.float32)}

    net = nn.stateless("own", init, lambda weights, x: x * weights["scale"])
    sharding = fully_sharded(mesh(), smallest=1)
    state = nn.init_state(net, optax.sgd(0.1), jax.random.key(0), (1, 16), sharding=sharding)
    assert state.params.weights["scale"].sharding.spec == jax.P("data")


def test_a_batch_that_the_devices_do_not_divide():
    _, step = fresh("plain", replicated(mesh()))
    state, _ = fresh("plain", replicated(mesh()))
    sentence = "step: a batch must have rows that the 8 devices along 'data' divide, got 12; a batch that"
    with pytest.raises(ValueError, match=sentence):
        step(state, *batch_of("plain", 12))
    net, _ = NETS["plain"]
    step = nn.make_step(net, OPTIMIZER, LOSS, accumulate=3, sharding=replicated(mesh()))
    with pytest.raises(ValueError, match="along 'data' and accumulate=3 divide, got 16"):
        step(state, *batch_of("plain"))


@pytest.mark.parametrize("make", [nn.make_step, nn.init_state])
def test_what_is_not_a_rule(make):
    net, _ = NETS["plain"]
    given = (LOSS,) if make is nn.make_step else (jax.random.key(0), (1, 16))
    sentence = (
        f"{make.__name__}: sharding must be a rule of nn.distribution, such as fully_sharded.mesh., got"
    )
    with pytest.raises(TypeError, match=sentence):
        make(net, OPTIMIZER, *given, sharding=mesh())
