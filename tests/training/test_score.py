"""What a loss or a metric may return for a batch, and what the mean is taken over."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training.score import score

N = 4
FITTING = {
    "one value per example": ((N,), (N,)),
    "a column of them": ((N,), (N, 1)),
    "of targets that are a column": ((N, 1), (N,)),
    "both columns": ((N, 1), (N, 1)),
    "one per time step": ((N, 5), (N, 5)),
    "as many time steps as examples": ((N, N), (N, N)),
    "one per sequence": ((N, 5), (N,)),
    "over the classes at the end": ((N, 5, 3), (N, 5)),
    "over the classes in the middle": ((N, 3, 5), (N, 5)),
    "of the inner part of a picture": ((N, 8, 8, 1), (N, 6, 7, 1)),
    "a scalar": ((N, 5), ()),
    "of a pytree": ({"a": (N,), "b": (N, 5)}, (N, 5)),
    "of no target": (None, (N, 7)),
}
CONTRARY = {
    "a column less a row": ((N,), (N, N)),
    "a row less a column": ((N, 1), (N, N)),
    "a column less a column of columns": ((N, 1, 1), (N, N, 1)),
    "sequences less a column of them": ((N, 5), (N, 5, 5)),
    "as many time steps as examples": ((N, N), (N, N, N)),
    "more than there is of a picture": ((N, 6, 7, 1), (N, 8, 8, 1)),
    "one value per class": ((N,), (N, 3)),
    "one value per time step": ((N, 5), (5,)),
    "another batch": ((N,), (3,)),
    "a batch of one": ((N,), (1,)),
    "a row": ((N,), (1, N)),
    "of a pytree": ({"a": (N,), "b": (N, 5)}, (N, N)),
}


def arrays(shapes):
    return jax.tree.map(jnp.zeros, shapes, is_leaf=lambda node: isinstance(node, tuple))


@pytest.mark.parametrize("name", FITTING)
def test_values_of_the_shape_of_the_examples(name):
    target, values = FITTING[name]
    scores = score({"loss": lambda p, t: jnp.full(values, 2.0)}, None, arrays(target))
    assert scores["loss"] == 2
    assert scores["loss"].shape == ()


@pytest.mark.parametrize("name", CONTRARY)
def test_values_of_another_shape(name):
    target, values = CONTRARY[name]
    with pytest.raises(ValueError, match=r"metric: must return one value per example, \(N,\) with N = 4, or"):
        score({"metric": lambda p, t: jnp.zeros(values)}, jnp.zeros((N, 1)), arrays(target))


def broadcast(prediction, target):
    with jax.numpy_rank_promotion("allow"):
        return (prediction - target) ** 2


@pytest.mark.parametrize("wrong", ["prediction", "target"])
@pytest.mark.parametrize("by", ["fit", "step", "evaluate", "diagnose", "metric"])
def test_the_commonest_mistake_is_told(by, wrong, key):
    """Predictions (N, 1) minus targets (N,), or the reverse, are (N, N), and the mean of that is no loss."""
    net, optimizer = nn.dense(1), optax.sgd(0.1)
    x, y = np.ones((N, 3), np.float32), np.arange(4, dtype=np.float32)
    if wrong == "target":
        net, y = nn.serial(net, lambda y: y[:, 0]), y[:, None]
    params = net.init(key, x)
    run = {"key": key, "epochs": 1, "batch_size": 4, "progress": False}
    fine = lambda p, t: jnp.zeros(N) + p.sum()  # noqa: E731
    do = {
        "fit": lambda: nn.fit(net, optimizer, broadcast, (x, y), **run),
        "metric": lambda: nn.fit(net, optimizer, fine, (x, y), metrics={"loss of mine": broadcast}, **run),
        "step": lambda: nn.make_step(net, optimizer, broadcast)(nn.init_state(net, optimizer, key, x), x, y),
        "evaluate": lambda: nn.evaluate(net, params, (x, y), {"loss": broadcast}),
        "diagnose": lambda: nn.diagnose(net, params, x, y, broadcast),
    }[by]
    shapes = r"float32 \(4, 1\) and target float32 \(4,\)"
    if wrong == "target":
        shapes = r"float32 \(4,\) and target float32 \(4, 1\)"
    with pytest.raises(
        ValueError, match=rf"got shape \(4, 4\) from prediction {shapes}; if the two were broadc"
    ):
        do()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must return one array, one value per example, got None"),
        ("0.5", "must return one array, one value per example, got '0.5'"),
        (
            (jnp.zeros(N), jnp.zeros(N)),
            "must return one array, one value per example, got a tuple of 2 arrays",
        ),
        ([0.0] * N, "must return one array, one value per example, got a list of 4 arrays"),
        (jnp.zeros(N, complex), "must return floating-point values, which have a gradient, got complex64"),
        (jnp.zeros(N, int), "must return floating-point values, which have a gradient, got int32"),
        (jnp.zeros(N, bool), "must return floating-point values, which have a gradient, got bool"),
        (jnp.zeros((N, 0)), r"must return at least one value per example, got shape \(4, 0\)"),
    ],
)
def test_values_of_another_kind(value, message):
    target = jnp.zeros((N, 0)) if np.shape(value) == (N, 0) else jnp.zeros(N)
    with pytest.raises((TypeError, ValueError), match=f"loss: {message}"):
        score({"loss": lambda p, t: value}, None, target, objective="loss")


def test_metrics_may_count():
    scores = score({"a": lambda p, t: t == 1, "b": lambda p, t: t, "c": lambda p, t: 3}, None, jnp.arange(4))
    assert {name: value.item() for name, value in scores.items()} == {"a": 0.25, "b": 1.5, "c": 3.0}


@pytest.mark.parametrize(
    "mask",
    [np.ones(N, np.float32), np.ones(N, int), [True] * N, np.ones((N, 1), bool), np.array(True), "all", None],
)
def test_masks_of_another_kind(mask):
    if mask is None:
        mask, message = (
            np.ones(N + 1, bool),
            r"loss: mask must have one value per example, shape \(4,\), got \(5,\)",
        )
    else:
        message = r"mask: must be booleans, one per example, shape \(N,\), got"
    with pytest.raises((TypeError, ValueError), match=message):
        score({"loss": lambda p, t: t}, None, jnp.zeros(N), mask)


def test_no_row_that_counts_gives_zero_and_a_zero_gradient(key):
    net, optimizer = nn.dense(1), optax.sgd(0.1)
    x, y = np.ones((N, 3), np.float32), np.ones((N, 1), np.float32)
    step = nn.make_step(net, optimizer, optax.squared_error, metrics={"error": lambda p, t: abs(p - t)})
    state = nn.init_state(net, optimizer, key, x)
    before = jax.tree.map(np.array, state.params)
    state, scores = step(state, x, y, np.zeros(N, bool))
    assert {name: value.item() for name, value in scores.items()} == {"loss": 0.0, "error": 0.0}
    jax.tree.map(np.testing.assert_array_equal, state.params, before)
    assert score({"loss": lambda p, t: t}, None, jnp.zeros(0))["loss"] == 0, "nor does an empty batch"


def test_a_loss_that_sees_the_inputs_and_several_outputs(key):
    """A variational autoencoder: two outputs, no target, and the inputs in the loss and in a metric."""

    def sample(weights, code, key):
        mean, log_var = code
        return mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)

    sampling = nn.stochastic("sampling", lambda key, x: {}, lambda weights, x: x[0], sample)
    code = nn.parallel(mean=nn.dense(2), log_var=nn.dense(2))
    net = nn.graph(
        lambda f, x: (lambda code: (f.decoder(f.sampling(code)), *code))(f.encoder(x)),
        encoder=code, sampling=sampling, decoder=nn.dense(3),
    )  # fmt: skip

    def bound(out, target, x):
        assert target is None
        again, mean, log_var = out
        divergence = (jnp.exp(log_var) + mean**2 - 1 - log_var).sum(axis=1) / 2
        return ((again - x) ** 2).sum(axis=1) + 1e-3 * divergence

    error = nn.training.with_inputs(lambda out, target, x: ((out[0] - x) ** 2).sum(axis=1))
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    result = nn.fit(
        net, optax.rmsprop(0.01), nn.training.with_inputs(bound), (x, None), key=key, epochs=20, batch_size=8,
        validation=(x, None), metrics={"error": error}, progress=False,
    )  # fmt: skip
    assert result.history["val_error"][-1] < result.history["val_error"][0] / 2
    found = nn.evaluate(net, result.params, (x, None), {"error": error}, batch_size=7)["error"]
    assert found == pytest.approx(result.history["val_error"][-1])
    assert nn.diagnose(net, result.params, x, None, nn.training.with_inputs(bound), key=key).rows


def test_weights_of_examples_come_with_the_target(key):
    def weighted(prediction, target):
        labels, weights = target
        return weights * optax.softmax_cross_entropy_with_integer_labels(prediction, labels)

    x, labels, weights = np.eye(3, dtype=np.float32), np.arange(3), np.float32([1, 0, 2])
    net, optimizer = nn.dense(3), optax.sgd(0.1)
    state = nn.init_state(net, optimizer, key, x)
    rows = optax.softmax_cross_entropy_with_integer_labels(net.apply(state.params, x), labels)
    _, scores = nn.make_step(net, optimizer, weighted)(state, x, (labels, weights))
    assert scores["loss"] == pytest.approx(float((rows * weights).mean()), rel=1e-6)


def test_an_error_of_a_loss_says_what_it_was_given():
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 1), np.int32)
    with pytest.raises(ValueError, match=r"in loss, given prediction float32\[2,2\] and target int32\[2,1\]"):
        nn.fit(
            nn.dense(2), optax.sgd(0.1), optax.softmax_cross_entropy_with_integer_labels, (x, y),
            key=jax.random.key(0), epochs=1, batch_size=2, progress=False,
        )  # fmt: skip
