"""Nets that really have a disease, each found; healthy ones, of which nothing is said."""

from functools import partial
from math import isnan
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.ops.dense import dense
from tests.support import assert_close, deep, rng_array

normal, constant = jax.nn.initializers.normal, jax.nn.initializers.constant
X, TARGET = rng_array(64, 6), rng_array(64, 3, seed=1)


def diagnosis(net, x=X, target=TARGET, *, params=None, **settings):
    params = nn.as_layer(net).init(jax.random.key(0), x) if params is None else params
    return nn.diagnose(net, params, x, target, optax.squared_error, **settings)


def stack(depth, function, init, features=32):
    layers = (layer for _ in range(depth) for layer in (nn.dense(features, kernel_init=init), function))
    return nn.serial(*layers, head=nn.dense(3))


def images(n, channels=1):
    return rng_array(n, 6, 6, channels)


HEALTHY = {
    "dense": (stack(2, nn.relu, jax.nn.initializers.he_normal()), X),
    "conv": (
        nn.serial(
            nn.conv(8, 3, padding="SAME"), nn.batch_norm(), nn.relu, nn.max_pool(2),
            nn.residual(nn.conv(8, 3, padding="SAME"), nn.relu), nn.flatten, nn.dropout(0.3), nn.dense(3),
        ),
        images(32),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["dense", deep("conv")])
def test_of_a_healthy_net_nothing_is_said(name):
    net, x = HEALTHY[name]
    report = diagnosis(net, x, TARGET[: len(x)], optimizer=optax.sgd(0.01), key=jax.random.key(2))
    assert report.warnings == ()
    assert str(report).endswith("Nothing looks wrong.")


def test_the_numbers(key):
    net = nn.serial(nn.dense(5), nn.relu, head=nn.dense(3))
    params = net.init(key, X)
    report = diagnosis(net, params=params, optimizer=optax.sgd(0.1))
    weights = params.weights

    def head_loss(y):
        return optax.squared_error(dense(y, **weights["head"]), TARGET).mean()

    def loss(weights):
        return optax.squared_error(net.apply(params._replace(weights=weights), X), TARGET).mean()

    hidden = np.asarray(dense(X, **weights["dense_0"]))
    y = np.maximum(hidden, 0)
    gradients = jax.jit(jax.grad(loss))(weights)
    norms = {name: optax.tree.norm(gradients[name]) for name in gradients}
    first, second, last = report.rows
    assert [row.path for row in report.rows] == ["dense_0", "relu_0", "head"]
    close = partial(assert_close, dtype=np.float32)
    close(report.loss, loss(weights))
    close([first.mean, first.deviation, second.mean], [hidden.mean(), hidden.std(), y.mean()])
    close([second.zeros, second.saturated], [np.mean(hidden <= 0)] * 2)
    close(second.gradient, np.linalg.norm(jax.jit(jax.grad(head_loss))(y)))
    close([first.weight_gradient, last.weight_gradient], [norms["dense_0"], norms["head"]])
    close(last.weight, optax.tree.norm(weights["head"]))
    close(last.update_ratio, 0.1 * norms["head"] / optax.tree.norm(weights["head"]))
    assert (first.saturated, first.dead, second.weight, second.update_ratio) == (None,) * 4
    assert second.dead == 0


def test_without_an_optimizer_the_step_is_that_of_plain_descent():
    net = nn.dense(3)
    given = diagnosis(net, optimizer=optax.sgd(0.01)).rows[0].update_ratio
    assert_close(diagnosis(net).rows[0].update_ratio, given, dtype=np.float32, scale=given)


def test_dead_units():
    bias = jnp.where(jnp.arange(8) < 5, -50.0, 0.0)
    net = nn.serial(
        nn.conv(8, 3, bias_init=lambda *_: bias), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(3)
    )
    report = diagnosis(net, images(32), TARGET[:32])
    assert report.warnings == ("relu_0: 62.5 % of its units are zero for every example.",)
    assert [row.dead for row in report.rows] == [None, 0.625, None, None, None]


def test_black_margins_are_no_dead_units():
    x = np.pad(images(32), ((0, 0), (3, 3), (3, 3), (0, 0)))
    net = nn.serial(nn.conv(4, 1), nn.relu, nn.flatten, nn.relu, nn.dense(3))
    report = diagnosis(net, x, TARGET[:32])
    assert report.rows[3].dead == 0
    assert report.warnings == ()


def test_a_few_examples_show_no_dead_unit():
    report = diagnosis(stack(1, nn.relu, normal(1.0)), X[:4], TARGET[:4])
    assert report.rows[1].dead is None
    assert report.warnings == ()


def scaled(net, factor, x=X):
    """Params as initialised, scaled by ``factor``."""
    return jax.tree.map(lambda w: factor * w, net.init(jax.random.key(0), x))


@pytest.mark.parametrize("function", [jnp.tanh, deep(nn.sigmoid), deep(nn.soft_sign)])
def test_saturation(function):
    net = stack(1, function, normal(1.0))
    report = diagnosis(net, params=scaled(net, 200))
    assert report.rows[1].saturated > 0.9
    share = 100 * report.rows[1].saturated
    assert report.warnings[0] == f"{report.rows[1].path}: {share:.1f} % of its values are saturated."
    assert diagnosis(net, params=scaled(net, 0.1)).rows[1].saturated == 0


def test_saturation_asks_how_steep_a_function_gets():
    net = nn.parallel(
        lambda x: x / 1e5, lambda x: jnp.tanh(99 * x) / 1e5, nn.leaky_relu, nn.softmax, merge="sum"
    )
    saturated = [row.saturated for row in diagnosis(net, target=X).rows]
    assert saturated[0] == saturated[2] == 0
    assert saturated[1] > 0.9
    assert saturated[3] is None


def test_step_lets_no_gradient_through():
    report = diagnosis(stack(1, nn.step, normal(1.0)))
    assert report.rows[1].saturated == 1
    assert "dense_0: its weights get no gradient." in report.warnings


def test_a_vanishing_gradient():
    report = diagnosis(stack(8, nn.sigmoid, jax.nn.initializers.glorot_normal(), features=8))
    assert report.warnings[0].startswith("The gradient vanishes with depth: its norm is ")
    assert report.warnings[0].endswith(" at dense_0.")


def test_one_net_with_weights_of_many_sizes():
    """The same net is healthy, explodes and vanishes, down to a gradient that is 0 when it is squared."""
    net = stack(6, nn.leaky_relu, jax.nn.initializers.he_normal(), features=16)
    assert diagnosis(net).warnings == ()
    assert "The gradient explodes with depth" in diagnosis(net, params=scaled(net, 8)).warnings[0]
    tiny = diagnosis(net, params=scaled(net, 1e-5))
    assert 0 < tiny.rows[0].gradient < 1e-23
    assert "The gradient vanishes with depth" in tiny.warnings[0]
    assert not any("no gradient" in sentence for sentence in tiny.warnings)


@pytest.mark.parametrize(("rate", "word"), [(100.0, "large"), (1e-7, "small")])
def test_updates_far_from_a_thousandth_of_the_weights(rate, word):
    (sentence,) = diagnosis(nn.serial(nn.dense(8), jnp.tanh, nn.dense(3)), optimizer=optax.sgd(rate)).warnings
    assert sentence.startswith(f"dense_0, dense_1: the update is too {word}, ")


def test_a_value_that_is_not_finite_is_told_where_it_comes_up():
    net = nn.serial(nn.dense(4), jnp.log, nn.dense(4), nn.relu, nn.dense(3))
    (sentence,) = diagnosis(net).warnings
    assert sentence.startswith("log_0: ")
    assert sentence.endswith("of its values are not finite, the first in the net.")


def test_other_things_that_are_not_finite():
    net = nn.serial(nn.dense(4), nn.dense(3))
    params = net.init(jax.random.key(0), X)
    assert diagnosis(net, X * np.nan).warnings == ("The input holds values that are not finite.",)
    params.weights["dense_1"]["bias"] = params.weights["dense_1"]["bias"] / 0
    broken = diagnosis(net, params=params)
    assert broken.warnings == ("dense_1: its weights hold values that are not finite.",)
    lost = diagnosis(net, target=TARGET * np.nan)
    assert lost.warnings == (
        "The loss is nan, though the net gives finite values: the targets may hold NaN, or labels that are "
        "none of the classes.",
    )
    assert isnan(lost.loss)
    root = nn.serial(nn.dense(4), nn.relu, lambda x: jnp.sqrt(x), nn.dense(3))
    (sentence,) = diagnosis(root).warnings
    assert sentence == "relu_0: its gradient is not finite; on the way back it is the first."


def test_frozen_weights_get_no_gradient_and_no_sentence():
    net = nn.serial(nn.frozen(nn.dense(4)), nn.named("early", nn.relu), nn.dense(3))
    report = diagnosis(net, optimizer=optax.sgd(0.01))
    assert report.warnings == ()
    assert (report.rows[0].weight, report.rows[0].weight_gradient, report.rows[0].update_ratio) == (None,) * 3
    assert report.rows[0].gradient > 0


def test_training_is_what_is_looked_at(key):
    net = nn.serial(nn.batch_norm(), nn.dropout(0.5), nn.dense(3))
    report = diagnosis(net, 100 + 9 * X, key=key)
    np.testing.assert_allclose([report.rows[0].mean, report.rows[0].deviation], [0, 1], atol=1e-3)
    np.testing.assert_allclose(report.rows[1].zeros, 0.5, atol=0.1)
    with pytest.raises(ValueError, match="dropout: train needs a key"):
        diagnosis(net)


def test_combinators():
    inner = nn.serial(nn.dense(6), jnp.tanh)
    net = nn.serial(
        nn.repeat(inner, 2), nn.residual(nn.remat(inner)), nn.mixed_precision(inner),
        nn.graph(lambda f, x: f.half(f.half(x)), half=nn.dense(6)), head=nn.dense(3),
    )  # fmt: skip
    report = diagnosis(net)
    assert [row.path for row in report.rows] == [
        "repeat_0/0/dense_0", "repeat_0/0/tanh_0", "repeat_0/1/dense_0", "repeat_0/1/tanh_0",
        "residual_0/serial_0/dense_0", "residual_0/serial_0/tanh_0", "serial_0/dense_0", "serial_0/tanh_0",
        "graph_0/half", "graph_0/half:1", "head",
    ]  # fmt: skip
    assert all(row.gradient > 0 for row in report.rows)
    assert report.rows[-3].weight_gradient == report.rows[-2].weight_gradient
    assert report.warnings == ()


def test_integers_and_several_outputs():
    tokens = np.random.default_rng(0).integers(0, 7, (64, 2))
    pair = nn.as_layer(lambda x: (x[:, 0], x[:, 1]))
    net = nn.serial(lambda x: x + 1, nn.embedding(9, 3), pair, lambda xs: xs[0] - xs[1])
    report = diagnosis(net, tokens)
    assert (report.rows[0].mean, report.rows[0].gradient) == (None, None)
    assert report.rows[1].weight_gradient > 0
    assert_close(report.rows[2].gradient, 2**0.5 * report.rows[3].gradient, dtype=np.float32)
    assert report.warnings == ()


def test_it_prints():
    report = diagnosis(
        nn.serial(nn.named("<i>", nn.dense(4, kernel_init=constant(0.0))), nn.relu, nn.dense(3))
    )
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "layer", "mean", "deviation", "zeros", "dead", "saturated", "gradient", "∇", "weights", "update",
    ]  # fmt: skip
    assert lines[-1] == report.warnings[-1] == "<i>: its weights get no gradient."
    html = ElementTree.fromstring(report._repr_html_())
    assert [item.text for item in html.iter("li")] == list(report.warnings)
    assert len(list(html.iter("tr"))) == 4
