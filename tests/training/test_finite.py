"""Values that are not finite end a run: the error names the step, and no such params are returned."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training import epoch
from jaxnn.training.finite import TOGETHER, breakage

X, Y = np.ones((8, 1), np.float32), np.zeros((8, 1), np.float32)
STEPS, EPOCHS = 4, 2  #: in batches of two


def fit(net, optimizer, loss, **settings):
    run = {"key": jax.random.key(0), "epochs": EPOCHS, "batch_size": 2, "progress": False, **settings}
    return nn.fit(net, optimizer, loss, (X, Y), **run)


def at(step):
    return rf"at step {step} \(epoch {1 + (step - 1) // STEPS}\); a lower learning rate"


def rate(step, value):
    """A learning rate that has this value in one step, counted from 1, and is small in the others."""
    return lambda count: jnp.where(count == step - 1, value, 1e-3)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8])
def test_an_update_that_is_not_finite_names_its_step(step):
    """The first, one in the middle, the last of an epoch, the first of the next, the last of the run."""
    with pytest.raises(FloatingPointError, match=f"the update makes params NaN or infinite {at(step)}"):
        fit(nn.dense(1), optax.sgd(rate(step, jnp.nan)), optax.squared_error)


@pytest.mark.parametrize(("value", "word"), [(np.inf, "infinite"), (-np.inf, "infinite"), (np.nan, "NaN")])
@pytest.mark.parametrize("step", [2, 5, 8])
def test_a_loss_that_is_not_finite_names_its_step(step, value, word):
    """The weights are finite, and an infinite loss comes before the NaN that it leads to."""

    def loss(prediction, target):
        return jnp.where(abs(prediction) > 1e6, value, optax.squared_error(prediction, target))

    with pytest.raises(FloatingPointError, match=f"the loss is {word} {at(step)}"):
        fit(nn.dense(1), optax.sgd(rate(step - 1, 1e9)), loss)


def test_a_gradient_that_is_not_finite_though_the_loss_is():
    """√|y − y| is 0, and its derivative 0 · ∞."""

    def loss(prediction, target):
        return jnp.sqrt(abs(prediction - jax.lax.stop_gradient(prediction)) * 0 + target)

    with pytest.raises(FloatingPointError, match=f"the loss is finite, but the update makes .* {at(1)}"):
        fit(nn.dense(1), optax.sgd(0.1), loss, epochs=1, batch_size=8)


def counter(start, change):
    """A layer that gives its input, with a state that changes in every training step."""
    return nn.Layer(
        "counter",
        lambda key, shape: nn.Params({}, {"value": jnp.full((), start)}),
        lambda params, x: x,
        lambda params, x, key=None: (x, {"value": change(params.state["value"])}),
    )


def test_a_state_that_is_not_finite():
    overflowing = nn.serial(counter(1.0, lambda value: value * 1e20), nn.dense(1))
    with pytest.raises(FloatingPointError, match=f"the update makes params NaN or infinite {at(2)}"):
        fit(overflowing, optax.sgd(0.1), optax.squared_error)
    for start in (jnp.inf, jnp.nan):  # as a running minimum starts, or a value that is yet to come
        least = nn.serial(counter(start, lambda value: jnp.zeros_like(value)), nn.dense(1))
        assert fit(least, optax.sgd(0.1), optax.squared_error).params.state["counter_0"]["value"] == 0


def test_no_optimizer_step_no_fault():
    """An optimiser that leaves out such gradients leaves the params finite: the run goes on."""

    def loss(prediction, target):
        return jnp.sqrt(abs(prediction - jax.lax.stop_gradient(prediction)) * 0 + target)

    result = fit(nn.dense(1), optax.apply_if_finite(optax.sgd(0.1), 100), loss)
    assert len(result.history["loss"]) == EPOCHS
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def test_an_interrupt_returns_no_such_params_either():
    def loss(prediction, target):
        os.kill(os.getpid(), signal.SIGINT)  # while the first step is traced
        return optax.squared_error(prediction, target)

    with pytest.raises(FloatingPointError, match=f"the update makes params NaN or infinite {at(1)}"):
        fit(nn.dense(1), optax.sgd(jnp.nan), loss)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64, jnp.complex64])
@pytest.mark.parametrize("together", [0, TOGETHER])
def test_the_largest_numbers_are_finite(dtype, together):
    with jax.enable_x64(dtype == jnp.float64):
        largest = jnp.finfo(dtype).max
        weights = {"a": jnp.full(3, largest, dtype), "none": jnp.zeros((0, 2), dtype)}
        weights["large"] = jnp.full((2, 3, TOGETHER), -largest, dtype)
        params = nn.Params({**weights, "whole": jnp.arange(3)}, {"least": jnp.array(jnp.inf, dtype)})
        broken = breakage(params, together)
        assert not broken(params)
        for bad in (jnp.inf, -jnp.inf, jnp.nan):
            assert broken(params._replace(weights={**weights, "a": jnp.array([0, bad, 1], dtype)}))
            large = weights["large"].at[1, 2, 5].set(bad)
            assert broken(params._replace(weights={**weights, "large": large}))


def test_large_arrays_are_searched_too():
    params = nn.Params({"large": jnp.zeros((2, TOGETHER)), "small": jnp.zeros(2)}, {})
    broken = breakage(params)
    assert not broken(params)
    for name, array in params.weights.items():
        assert broken(params._replace(weights={**params.weights, name: array.at[-1].set(jnp.nan)}))


def test_the_scores_wait_on_the_device(monkeypatch):
    """One fetch in fifty steps and one at the end of the epoch: in between nothing waits for the device.

    Where many steps are one dispatch, one per dispatch.
    """
    looks, get = [], epoch.fetched
    monkeypatch.setattr(epoch, "fetched", lambda tree: looks.append(1) or get(tree))
    x = np.ones((120, 1), np.float32)
    run = {"key": jax.random.key(0), "epochs": 1, "batch_size": 1, "progress": False}
    on_device = [(batch, batch) for batch in jnp.split(jnp.asarray(x), 120)]
    nn.fit(
        nn.dense(1), optax.sgd(0.1), optax.squared_error, on_device, key=run["key"], epochs=1, progress=False
    )
    assert len(looks) == 3
    for settings in ({}, {"on_device": False}):
        looks.clear()
        nn.fit(nn.dense(1), optax.sgd(0.1), optax.squared_error, (x, x), **run, **settings)
        assert 1 <= len(looks) < 60


def bent(where):
    """A function whose value, or only the derivative, is not finite at its input's first step below 0."""

    @jax.custom_jvp
    def f(x):
        return jnp.where(where == "value", jnp.sqrt(-1 - x**2), x)

    @f.defjvp
    def _(primals, tangents):
        return f(*primals), tangents[0] * (jnp.nan if where == "gradient" else 1.0)

    return f


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "value",
            r"the loss is NaN at step 1 \(epoch 1\); second: 100.0 % of its values are not finite, the f",
        ),
        (
            "gradient",
            r"at step 1 \(epoch 1\); first: its gradient is not finite; on the way back it is the first; a l",
        ),
    ],
)
def test_the_layer_is_named_and_whether_it_was_the_value_or_the_gradient(where, message, on_device):
    net = nn.serial(first=nn.dense(2), second=nn.named("second", bent(where)), third=nn.dense(1))
    with pytest.raises(FloatingPointError, match=message):
        fit(net, optax.sgd(0.1), optax.squared_error, find_nan=True, on_device=on_device)


def test_the_step_that_breaks_is_looked_into_and_not_the_first():
    """The weights, a million times too large after step 2, overflow in step 3."""
    net = nn.serial(nn.dense(4), nn.serial(jnp.exp, inner=nn.dense(1)))
    with pytest.raises(
        FloatingPointError, match=r"at step 3 \(epoch 1\); serial_0/exp_0: .* are not finite, the f"
    ):
        fit(net, optax.sgd(rate(2, -1e6)), optax.squared_error, find_nan=True)


def test_an_update_that_alone_is_not_finite():
    cause = (
        "all values and gradients of this step are finite: it is the optimiser's update that is not; a lower"
    )
    with pytest.raises(FloatingPointError, match=rf"at step 3 \(epoch 1\); {cause}"):
        fit(nn.dense(1), optax.sgd(rate(3, jnp.nan)), optax.squared_error, find_nan=True)


def test_looking_changes_nothing():
    plain, looked = (
        fit(nn.dense(1), optax.sgd(0.1), optax.squared_error, find_nan=find) for find in (False, True)
    )
    assert looked.history == plain.history


def test_labels_that_are_none_of_the_classes_are_named():
    def run(find_nan):
        loss = optax.softmax_cross_entropy_with_integer_labels
        data = np.ones((4, 3), np.float32), np.array([1, 2, 3, 4])
        run = {"key": jax.random.key(0), "epochs": 1, "batch_size": 4, "progress": False}
        return nn.fit(nn.dense(4), optax.sgd(0.1), loss, data, find_nan=find_nan, **run)

    with pytest.raises(
        FloatingPointError, match=r"the loss is NaN at step 1 .*; find_nan=True tells where it starts$"
    ):
        run(False)
    with pytest.raises(
        FloatingPointError, match=r"labels that are none of the classes; a lower learning rate.*help$"
    ):
        run(True)
