"""Weights by path: freezing, two learning rates, decay on some."""

import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import assert_close, random_params

NET = nn.serial(stem=nn.dense(4), norm=nn.layer_norm(), head=nn.dense(2))
X, Y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
WEIGHTS = random_params(NET, X).weights


def moved(optimizer):
    """By path, how far one step moves an array."""
    state = nn.init_state(NET, optimizer, jax.random.key(0), X)
    before = jax.device_get(state.params.weights)
    state, _ = nn.make_step(NET, optimizer, optax.squared_error)(state, X, Y)
    return jax.tree.map(lambda a, b: b - a, before, jax.device_get(state.params.weights))


def test_the_first_pattern_that_matches_gives_the_label():
    labels = nn.training.labels({"head/bias": "a", "head/*": "b", "*/[sk]*": "c", "*": "d"})(WEIGHTS)
    assert labels == {
        "head": {"bias": "a", "kernel": "b"},
        "norm": {"bias": "d", "scale": "c"},
        "stem": {"bias": "d", "kernel": "c"},
    }


def test_freezing_and_two_learning_rates():
    rates = {"slow": optax.sgd(0.01), "fast": optax.sgd(0.1), "frozen": optax.set_to_zero()}
    rules = {"stem/*": "frozen", "head/*": "fast", "*": "slow"}
    step, plain = moved(optax.partition(rates, nn.training.labels(rules))), moved(optax.sgd(0.1))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(step["stem"]))
    assert_close(step["head"], plain["head"])
    assert_close(step["norm"], jax.tree.map(lambda leaf: leaf / 10, plain["norm"]))


def test_weight_decay_off_biases_and_norms_is_one_line():
    decayed = optax.add_decayed_weights(0.5, mask=nn.training.mask("*bias", "*scale", but=True))
    step, plain = moved(optax.chain(decayed, optax.sgd(0.1))), moved(optax.sgd(0.1))
    assert_close(step["norm"], plain["norm"])
    start = jax.device_get(nn.init_state(NET, optax.sgd(0.1), jax.random.key(0), X).params.weights)
    for name in ("stem", "head"):
        assert_close(step[name]["bias"], plain[name]["bias"])
        kernel = plain[name]["kernel"] - 0.05 * np.asarray(start[name]["kernel"])
        assert_close(step[name]["kernel"], kernel)


def test_a_mask_of_the_arrays_named():
    assert nn.training.mask("stem/kernel")(WEIGHTS)["stem"] == {"bias": False, "kernel": True}


def test_patterns_that_match_nothing_and_arrays_that_none_matches():
    with pytest.raises(
        ValueError, match=r"labels: 'haed/\*' must match the path of an array, got the paths head"
    ):
        nn.training.labels({"haed/*": "fast", "*": "slow"})(WEIGHTS)
    with pytest.raises(ValueError, match=r"mask: '\*biases' must match the path of an array, got the paths"):
        nn.training.mask("*biases")(WEIGHTS)
    with pytest.raises(
        ValueError, match="labels: rules must have a pattern for every array, got none for norm/b"
    ):
        nn.training.labels({"head/*": "fast", "stem/*": "slow"})(WEIGHTS)


@pytest.mark.parametrize("patterns", [(), (1,), (None, "*")])
def test_patterns_of_another_kind(patterns):
    with pytest.raises(
        (TypeError, ValueError), match=r"^mask: patterns must be (at least one|a string), got"
    ):
        nn.training.mask(*patterns)
    with pytest.raises(TypeError, match=r"^mask: but must be True or False, got 1"):
        nn.training.mask("*", but=1)


def test_a_net_without_weights():
    assert nn.training.labels({"*": "all"})({}) == {}
    assert nn.training.mask("*bias")({}) == {}
