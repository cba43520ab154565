"""Every layer can be sent to another process, and copied, and is the same there."""

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import cloudpickle
import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn
from jaxnn.lifting import as_layer
from tests.layers.catalogue import ENTRIES, FEW
from tests.layers.test_catalogue import batch
from tests.support import assert_close, deep

#: What the catalogue lacks: layers of any depth, more wrappers, a layer of one's own.
MORE = {
    "split": (lambda: nn.split(nn.dense(2), nn.relu), ((2, 3), (2, 4))),
    "ensemble": (lambda: nn.ensemble(nn.serial(nn.dense(3), nn.dropout(0.5)), 2), (2, 6)),
    "mixed_precision": (lambda: nn.mixed_precision(nn.serial(nn.dense(3), nn.frozen(nn.dense(2)))), (2, 6)),
    "nested": (lambda: nn.remat(nn.frozen(nn.repeat(nn.residual(nn.dense(6), jnp.tanh), 2))), (2, 6)),
    "own": (lambda: nn.stateless("own", lambda key, x: {"w": jnp.ones(())}, lambda w, x: w["w"] * x), (2, 6)),
}

#: A process that shares nothing with this one but the code.
CHILD = """
import pickle, sys
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
from tests.test_pickling import program
layers, inputs, value = pickle.load(sys.stdin.buffer)
texts = {name: program(layers[name], x) for name, x in inputs.items()}
net, params, x, key = value
pickle.dump((texts, jax.tree.map(jax.device_get, net.train(params, x, key))), sys.stdout.buffer)
"""


def everything():
    made = {entry.name: (as_layer(entry.make()), batch(entry)) for entry in ENTRIES}
    for name, (make, shape) in MORE.items():
        made[name] = make(), jax.tree.map(lambda spec: jnp.ones(spec.shape), nn.shapes.as_spec(shape))
    return made


LAYERS = everything()
every_layer = pytest.mark.parametrize("name", LAYERS)


def program(layer, x):
    """What ``layer`` computes, as text: if that is the same, so are the results."""
    key = jax.random.key(0)

    def whole(key, x):
        params = layer.init(key, x)
        return params, layer.apply(params, x), layer.train(params, x, key)

    return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(whole)(key, x)))


def test_layers_of_another_process():
    """All in one process: their programs, and the numbers of one net."""
    layers = {name: layer for name, (layer, _) in LAYERS.items()}
    inputs = {name: jax.tree.map(jax.device_get, x) for name, (_, x) in LAYERS.items()}
    net = nn.serial(nn.conv(3, 3), nn.batch_norm(), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(2))
    x, key = jnp.ones((2, 6, 6, 1)), jax.random.PRNGKey(1)
    params = jax.tree.map(jax.device_get, net.init(key, x))
    sent = cloudpickle.dumps((layers, inputs, (net, params, jax.device_get(x), jax.device_get(key))))
    run = [sys.executable, "-c", CHILD]
    done = subprocess.run(run, input=sent, capture_output=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr.decode()
    programs, result = pickle.loads(done.stdout)
    assert_close(result, net.train(params, x, key))
    for name, (layer, x) in LAYERS.items():
        assert programs[name] == program(layer, x), name


@every_layer
def test_what_is_sent_is_settings_and_code(name):
    """Not JAX's own classes, which would be others on arrival; annotations are the way they come in."""
    assert b"ArrayMeta" not in cloudpickle.dumps(LAYERS[name][0])


@pytest.mark.parametrize("name", [name if name in {*FEW, *MORE} else deep(name) for name in LAYERS])
def test_a_copy_is_the_same(name):
    layer, x = LAYERS[name]
    assert layer == layer
    assert hash(layer) == hash(layer)
    assert program(copy.deepcopy(layer), x) == program(layer, x)
