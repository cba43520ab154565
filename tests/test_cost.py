"""The cost of a training step, against numbers by hand and against the compiler's."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxnn as nn
from tests.support import deep

FLOAT = 4


def test_a_dense_net_by_hand():
    """Kept: the output of each tanh, by which both its derivative and the next kernel's are computed."""
    net = nn.serial(nn.dense(16), nn.tanh, nn.dense(8), nn.tanh, nn.dense(2))
    cost = nn.cost(net, (32, 4), optimizer=optax.sgd(0.1, momentum=0.9))
    weights = FLOAT * (4 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2)
    assert (cost.weights, cost.gradients, cost.optimizer, cost.state) == (weights, weights, weights, 0)
    assert cost.input == FLOAT * 32 * 4
    values = FLOAT * 32 * (16 + 8)
    assert values <= cost.activations <= 2 * values
    products = 2 * 32 * (4 * 16 + 16 * 8 + 8 * 2)
    assert products < cost.forward < 1.3 * products
    assert 2 * products - 2 * 32 * 4 * 16 < cost.backward < 2.3 * products
    assert cost.memory == 3 * weights + cost.input + cost.activations


def test_what_is_not_trained_and_what_has_a_state():
    cost = nn.cost(nn.serial(nn.frozen(nn.dense(16)), nn.batch_norm(), nn.dense(2)), (8, 4))
    assert cost.state == FLOAT * (4 * 16 + 16 + 2 * 16)
    assert cost.weights == FLOAT * (2 * 16 + 16 * 2 + 2)
    assert cost.optimizer == 0


def block():
    return nn.serial(nn.dense(32), nn.tanh, nn.dense(32), nn.relu, nn.dense(32))


def test_remat_keeps_the_inputs_of_its_layers_and_computes_them_again():
    plain = nn.cost(nn.serial(*[block() for _ in range(3)]), (64, 32))
    saved = nn.cost(nn.serial(*[nn.remat(block()) for _ in range(3)]), (64, 32))
    assert saved.activations == 2 * FLOAT * 64 * 32, "but for the first, which is the input"
    assert plain.activations > 4 * saved.activations
    assert saved.forward == plain.forward
    again = (saved.backward - plain.backward) / plain.forward
    assert 0.6 < again < 0.75, "all but the last layer of each block, whose output nothing needs"


NETS = {
    "dense": (lambda: nn.serial(nn.dense(128), nn.relu, nn.dense(128), nn.relu, nn.dense(10)), (64, 32)),
    "convolutional": (
        lambda: nn.serial(
            nn.conv(8, 3, padding="SAME"), nn.batch_norm(), nn.relu, nn.max_pool(2), nn.flatten,
            nn.dropout(0.2), nn.dense(10),
        ),
        (16, 12, 12, 3),
    ),
    "recurrent": (lambda: nn.serial(nn.lstm(16, outputs="last"), nn.dense(10)), (8, 20, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", [deep(name) if name == "recurrent" else name for name in NETS])
def test_the_compiler_needs_about_as_much(name):
    make, shape = NETS[name]
    net, optimizer = make(), optax.sgd(0.1, momentum=0.9)
    cost = nn.cost(net, shape, optimizer=optimizer)
    state = nn.init_state(net, optimizer, jax.random.key(0), shape)
    step = nn.make_step(net, optimizer, lambda p, t: (p**2).mean(axis=-1))
    memory = step.lower(state, jnp.ones(shape), None).compile().memory_analysis()
    arguments = cost.weights + cost.state + cost.optimizer + cost.input
    assert memory.argument_size_in_bytes == pytest.approx(arguments, rel=0.02, abs=64)
    assert 1 / 3 < (cost.gradients + cost.activations) / memory.temp_size_in_bytes < 3


def test_it_prints():
    cost = nn.cost(nn.dense(3), (2, 4))
    assert "activations" in str(cost)
    assert "<table>" in cost._repr_html_()
