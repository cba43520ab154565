"""Meshes, and which device a rule gives what."""

import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.distribution import by_path, fully_sharded, gather, mesh, place, place_batch, replicated
from tests.support import random_params

NET = nn.serial(nn.dense(16), nn.batch_norm(), head=nn.dense(10))
LABELS = nn.training.labels({"head/*": "a", "*": "b"})
PARAMS = random_params(NET, np.ones((1, 24), np.float32))


def specs(sharding, tree=PARAMS):
    return jax.tree.map(lambda one: one.spec, sharding.of(tree))


def test_a_mesh_over_all_devices_and_over_some():
    assert dict(mesh().shape) == {"data": 8}
    assert dict(mesh({"data": -1, "model": 2}).shape) == {"data": 4, "model": 2}
    assert dict(mesh({"a": 1, "b": 2}, devices=jax.devices()[:2]).shape) == {"a": 1, "b": 2}
    assert mesh().axis_types == (jax.sharding.AxisType.Auto,)
    assert mesh(explicit=True).axis_types == (jax.sharding.AxisType.Explicit,)


@pytest.mark.parametrize(
    ("sizes", "error", "text"),
    [
        (3, TypeError, "mesh: sizes must be a dictionary of sizes by axis, one or more, got 3"),
        ({}, TypeError, "mesh: sizes must be a dictionary of sizes by axis, one or more, got {}"),
        ({1: 8}, TypeError, "mesh: sizes must be"),
        ({"data": 2.5}, TypeError, "mesh: sizes must be an integer, got 2.5"),
        ({"data": 3}, ValueError, "perhaps -1, with the product 8, the number of devices, got {'data': 3}"),
        ({"data": 0}, ValueError, "product 8"),
        ({"data": -1, "model": -1}, ValueError, "product 8"),
        ({"data": -1, "model": 3}, ValueError, "product 8"),
    ],
)
def test_sizes_that_are_not(sizes, error, text):
    with pytest.raises(error, match=text):
        mesh(sizes)


def test_devices_that_are_not():
    with pytest.raises(TypeError, match="mesh: devices must be a sequence of JAX devices, such as"):
        mesh(devices=["cpu"])
    with pytest.raises(ValueError, match="mesh: devices must be at least one"):
        mesh(devices=[])
    with pytest.raises(TypeError, match="mesh: explicit must be"):
        mesh(explicit=1)


def test_replicated_every_device_has_all():
    sharding = replicated(mesh({"data": 4, "model": 2}))
    assert set(jax.tree.leaves(specs(sharding))) == {jax.P()}
    assert (sharding.batch, sharding.pieces) == (("data", "model"), 8)
    assert replicated(mesh({"data": 4, "model": 2}), batch="data").pieces == 4


def test_fully_sharded_the_largest_axis_that_the_devices_divide():
    found = specs(fully_sharded(mesh(), smallest=1)).weights
    assert found["dense_0"]["kernel"] == jax.P("data")  # 24 × 16
    assert found["head"] == {"kernel": jax.P("data"), "bias": jax.P()}  # 16 × 10, 10
    found = specs(fully_sharded(mesh(), smallest=200)).weights
    assert (found["dense_0"]["kernel"], found["head"]["kernel"]) == (jax.P("data"), jax.P())


def test_fully_sharded_over_one_axis_of_two():
    devices = mesh({"hosts": 2, "data": 4})
    found = specs(fully_sharded(devices, axes="data", smallest=1)).weights
    assert found["dense_0"]["kernel"] == jax.P("data")
    found = specs(fully_sharded(devices, smallest=1)).weights
    assert found["dense_0"]["kernel"] == jax.P(("hosts", "data"))


def test_by_path_the_first_pattern_that_matches_and_otherwise():
    devices = mesh({"data": 4, "model": 2})
    rules = {"head/kernel": jax.P("model"), "*/kernel": jax.P(None, "model")}
    found = specs(by_path(devices, rules)).weights
    assert found["head"] == {"kernel": jax.P("model"), "bias": jax.P()}
    assert found["dense_0"]["kernel"] == jax.P(None, "model")
    other = fully_sharded(devices, axes="data", smallest=1)
    found = specs(by_path(devices, {"head/kernel": jax.P("model")}, otherwise=other)).weights
    assert found["dense_0"]["kernel"] == jax.P("data")
    assert by_path(devices, rules).batch == ("data",)


def test_a_pattern_matches_the_state_of_a_net_too():
    net = nn.frozen(NET)
    found = by_path(mesh(), {"*dense_0/kernel": jax.P("data")}).of(net.init(jax.random.key(0), (1, 24)))
    assert jax.P("data") in [one.spec for one in jax.tree.leaves(found.state)]


@pytest.mark.parametrize(
    ("optimizer", "factored"),
    [
        (optax.adam(1e-3), False),
        (nn.training.averaged(optax.sgd(0.1, momentum=0.9), 0.9), False),
        (optax.partition({"a": optax.adam(0.1), "b": optax.sgd(0.1)}, LABELS), False),
        (optax.lbfgs(memory_size=3), False),
        (optax.adafactor(1e-3, min_dim_size_to_factor=8), True),
    ],
    ids=["adam", "averaged", "partition", "lbfgs", "adafactor"],
)
def test_the_state_of_an_optimiser_is_split_as_its_weights_are(optimizer, factored):
    sharding = by_path(mesh(), {"head/kernel": jax.P("data", None)})
    state = jax.eval_shape(lambda: nn.init_state(NET, optimizer, jax.random.key(0), params=PARAMS))
    leaves = zip(jax.tree.leaves(state.opt_state), jax.tree.leaves(sharding.of(state).opt_state), strict=True)
    split = {(16, 10): jax.P("data", None), (3, 16, 10): jax.P(None, "data", None)}
    found = {leaf.shape: one.spec for leaf, one in leaves}
    assert found == {shape: split.get(shape, jax.P()) for shape in found}
    assert not factored or (16, 10) not in found


def test_two_weights_of_the_same_end_of_a_path_keep_their_own():
    net = nn.serial(head=nn.dense(16), inner=nn.serial(head=nn.dense(16)))
    sharding = by_path(mesh(), {"head/kernel": jax.P("data")})
    state = nn.init_state(net, optax.adam(0.1), jax.random.key(0), (1, 16))
    moments = sharding.of(state).opt_state[0].mu
    assert moments["head"]["kernel"].spec == jax.P("data")
    assert moments["inner"]["head"]["kernel"].spec == jax.P()


def test_placed_and_gathered_again():
    sharding = fully_sharded(mesh(), smallest=1)
    state = nn.init_state(NET, optax.adam(0.1), jax.random.key(0), params=PARAMS)
    placed = place(state, sharding)
    assert placed.params.weights["head"]["kernel"].addressable_shards[0].data.shape == (2, 10)
    assert place(placed, sharding).params.weights["head"]["kernel"] is placed.params.weights["head"]["kernel"]
    back = gather(placed)
    assert jax.tree.all(
        jax.tree.map(np.array_equal, back._replace(key=0), jax.device_get(state)._replace(key=0))
    )
    assert (jax.random.key_data(back.key) == jax.random.key_data(state.key)).all()
    assert type(back.params.weights["head"]["kernel"]) is np.ndarray


def test_a_batch_is_split_by_its_rows():
    x, y = place_batch((np.ones((16, 3), np.float32), np.arange(16)), replicated(mesh()))
    assert x.addressable_shards[3].data.shape == (2, 3)
    assert y.addressable_shards[3].data.tolist() == [6, 7]
    assert place_batch(x, replicated(mesh())) is x


AUTO, BOTH = mesh({"data": 4, "model": 2}), jax.sharding.AxisType


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: replicated(3), TypeError, "replicated: mesh must be a mesh, as nn.distribution.mesh or"),
        (
            lambda: replicated(jax.make_mesh((4, 2), ("a", "b"), axis_types=(BOTH.Auto, BOTH.Explicit))),
            ValueError,
            "replicated: mesh must be of axes that are all Auto or all Explicit, got",
        ),
        (
            lambda: replicated(AUTO, batch="rows"),
            ValueError,
            "replicated: batch must be axes of the mesh, of 'data', 'model', each once, got 'rows'",
        ),
        (lambda: replicated(AUTO, batch=3), TypeError, "replicated: batch must be axes of the mesh"),
        (lambda: replicated(AUTO, batch=()), ValueError, "replicated: batch must be at least one of the"),
        (lambda: fully_sharded(AUTO, axes=("data", "data")), ValueError, "fully_sharded: axes must be"),
        (lambda: fully_sharded(AUTO, smallest=0), ValueError, "smallest must be at least 1, got 0"),
        (lambda: by_path(AUTO, ["*"]), TypeError, "by_path: rules must be a dictionary of jax.P"),
        (
            lambda: by_path(AUTO, {"*": "model"}),
            TypeError,
            r"by_path: rules must be a jax.P for '\*', got 'model'",
        ),
        (lambda: by_path(AUTO, {"*": jax.P("rows")}), ValueError, "by_path: rules must be axes of the mesh"),
        (
            lambda: by_path(AUTO, {"*": jax.P()}, otherwise=3),
            TypeError,
            "by_path: otherwise must be None or another rule, such as fully_sharded, got 3",
        ),
        (
            lambda: by_path(AUTO, {"*": jax.P()}, otherwise=replicated(mesh())),
            ValueError,
            "by_path: otherwise must be a rule of the same mesh",
        ),
        (
            lambda: by_path(AUTO, {"tail/*": jax.P()}).of(PARAMS),
            ValueError,
            "by_path: 'tail/.' must match the path of an array, got the paths .*head/bias",
        ),
        (
            lambda: by_path(AUTO, {"head/*": jax.P(None, "model")}).of(PARAMS),
            ValueError,
            r"by_path: 'head/.' must have at most 1 entries for head/bias \(10,\), got",
        ),
        (
            lambda: by_path(AUTO, {"head/kernel": jax.P(None, "data")}).of(PARAMS),
            ValueError,
            r"by_path: 'head/kernel' must split axes whose size the devices divide, got axis 1 of "
            r"head/kernel \(16, 10\) over 4 devices by",
        ),
        (
            lambda: place(PARAMS.weights, replicated(AUTO)),
            TypeError,
            "place: tree must be Params, as init gives, or a TrainState, as init_state gives, got",
        ),
        (
            lambda: place(PARAMS, AUTO),
            TypeError,
            "place: sharding must be a rule of nn.distribution, such as fully_sharded.mesh., got",
        ),
        (
            lambda: place_batch(np.ones((12, 3)), replicated(AUTO)),
            ValueError,
            "place_batch: batch must have rows that the 8 devices along 'data', 'model' divide, got 12",
        ),
        (
            lambda: place_batch([[1.0]], replicated(AUTO)),
            TypeError,
            "place_batch: batch must hold arrays of NumPy or JAX, got 1.0",
        ),
        (
            lambda: place_batch(np.ones(()), replicated(AUTO)),
            ValueError,
            r"place_batch: batch must hold arrays of one row per example, got shape \(\)",
        ),
        (
            lambda: nn.distribution.collectives("text"),
            TypeError,
            "collectives: compiled must be a compiled program, as jax.jit.f..lower.*, got 'text'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_gets_a_sentence(call, error, text):
    with pytest.raises(error, match=text):
        call()
