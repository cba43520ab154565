"""The arguments of training are checked before any work: each by its name, in one sentence."""

import os
from inspect import signature

import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from tests.support import random_params

KEY = jax.random.key(0)
X, Y = np.ones((4, 3), np.float32), np.array([0, 1, 0, 1])
NET = nn.dense(2)
PARAMS = random_params(NET, X)
SHARDING = nn.distribution.replicated(nn.distribution.mesh(devices=jax.devices()[:1]))


def never(*_):
    raise AssertionError("work was done before the arguments were looked at")


GOOD = {
    nn.fit: {
        "net": NET, "optimizer": optax.sgd(0.1), "loss": never, "data": (X, Y), "key": KEY, "epochs": 1,
        "batch_size": 2, "params": PARAMS, "validation": (X, Y), "metrics": {"metric": never},
        "progress": False,
        "steps_per_epoch": None, "accumulate": 1, "average": 0.9, "best": nn.training.Best("loss"),
        "on_step": print, "on_epoch": [print], "on_device": True,
        "find_nan": False, "checkpoint": None, "sharding": SHARDING,
    },
    nn.init_state: {
        "net": NET, "optimizer": optax.sgd(0.1), "key": KEY, "shape": X, "params": PARAMS,
        "sharding": SHARDING,
    },
    nn.make_step: {
        "net": NET, "optimizer": optax.sgd(0.1), "loss": never, "metrics": {"metric": never}, "accumulate": 1,
        "sharding": SHARDING,
    },
    nn.training.averaged: {"optimizer": optax.sgd(0.1), "decay": 0.9},
    nn.training.scaled_loss: {"optimizer": optax.sgd(0.1), "initial": 8.0, "period": 10},
    nn.training.labels: {"rules": {"*": "all"}},
    nn.training.average_of: {
        "state": nn.init_state(NET, nn.training.averaged(optax.sgd(0.1), 0.9), KEY, X),
    },
    nn.training.with_inputs: {"function": never},
    nn.training.per_step: {"function": never},
    nn.training.Best: {"score": "loss", "higher": False, "patience": 2, "margin": 0.0},
    nn.training.prefetch: {"batches": [], "ahead": 1, "put": never},
    nn.training.JSONLines: {"path": os.devnull, "name": "step"},
    nn.training.CSV: {"path": os.devnull, "name": "step"},
    nn.evaluate: {
        "net": NET, "params": PARAMS, "data": (X, Y), "metrics": {"metric": never}, "batch_size": 2,
        "sharding": SHARDING,
    },
    nn.diagnose: {
        "net": NET, "params": PARAMS, "x": X, "target": Y, "loss": never, "optimizer": optax.sgd(0.1),
        "key": KEY,
    },
    nn.data.minibatches: {"data": (X, Y), "batch_size": 2, "key": KEY},
    nn.accuracy: {"logits": np.eye(4, dtype=np.float32), "labels": Y},
}  # fmt: skip
OPTIONAL = {
    *((nn.fit, name) for name in (
        "params", "validation", "steps_per_epoch", "average", "best", "on_step", "on_epoch", "on_device",
        "checkpoint",
    )),
    *((function, "sharding") for function in (nn.fit, nn.init_state, nn.make_step, nn.evaluate)),
    (nn.fit, "metrics"), (nn.make_step, "metrics"),
    (nn.init_state, "params"), (nn.init_state, "shape"), (nn.diagnose, "optimizer"), (nn.diagnose, "key"),
    (nn.diagnose, "target"), (nn.data.minibatches, "key"),
    (nn.training.Best, "patience"), (nn.training.prefetch, "put"),
}  # fmt: skip

PAIRS = {
    "None": None, "an array": X, "one part": (X,), "three parts": (X, Y, Y), "a dict": {"x": X, "y": Y},
    "no examples": (X[:0], Y[:0]), "lengths": (X, Y[:3]), "lists": (X.tolist(), Y.tolist()),
    "texts": ("ab", "cd"), "texts in arrays": (np.array(["a"] * 4), Y), "no inputs": (None, Y),
    "scalars": (np.float32(1), np.float32(1)), "masked": (np.ma.masked_array(X, X > 0), Y),
    "objects": (X, np.array([None] * 4)), "a function": never,
}  # fmt: skip
FUNCTIONS = {"None": None, "a number": 1.0, "a text": "mse", "a dict": {}}
WHOLE = {
    "None": None, "a float": 2.0, "a text": "2", "a bool": True, "a list": [2], "NaN": np.nan, "negative": -1,
    "an array": np.array([2]),
}  # fmt: skip
BAD = {
    "net": FUNCTIONS,
    "optimizer": {
        **FUNCTIONS, "a schedule": optax.cosine_decay_schedule(0.1, 10), "one not made yet": optax.sgd,
    },
    "loss": FUNCTIONS,
    "data": PAIRS,
    "validation": {kind: pair for kind, pair in PAIRS.items() if kind != "a function"},
    "key": {
        "None": None, "an int": 0, "a float": 0.5, "a text": "seed", "keys": jax.random.split(KEY),
        "words": np.zeros(3, np.uint32), "ints": np.zeros(2, np.int32),
    },
    "epochs": WHOLE,
    "batch_size": {**WHOLE, "zero": 0},
    "params": {
        "None": None, "a dict": PARAMS.weights, "a tuple": tuple(PARAMS), "a number": 1,
    },
    "metrics": {
        "None": None, "a function": never, "a list": [never], "a text": "accuracy", "no list": [],
        "of texts": {"accuracy": "yes"}, "of None": {"accuracy": None}, "named by numbers": {1: never},
    },
    "accumulate": {**WHOLE, "zero": 0},
    "decay": {"None": None, "one": 1.0, "negative": -0.1, "NaN": np.nan, "a text": "0.9", "a bool": True},
    "initial": {"None": None, "zero": 0.0, "negative": -1.0, "infinite": np.inf, "a text": "8"},
    "period": {**WHOLE, "zero": 0},
    "rules": {
        "None": None, "a list": ["*"], "a text": "*", "none": {}, "by numbers": {1: "all"},
    },
    "state": {
        "None": None, "params": PARAMS, "a number": 1,
        "no average": nn.init_state(NET, optax.sgd(0.1), KEY, X),
    },
    "function": FUNCTIONS,
    "steps_per_epoch": {**WHOLE, "for arrays": 3},
    "average": {"None": None, "one": 1.0, "negative": -0.1, "NaN": np.nan, "a text": "0.9", "a bool": True},
    "best": {
        "None": None, "a name": "val_loss", "another score": nn.training.Best("val_accuracy"), "a number": 3,
    },
    "on_step": {"None": None, "a number": 1, "a text": "print", "of texts": ["print"], "a dict": {}},
    "on_epoch": {"None": None, "a number": 1, "a text": "print", "of None": [None], "a dict": {}},
    "checkpoint": {"None": None, "a number": 1, "a function": never},
    "sharding": {"None": None, "a mesh": SHARDING.mesh, "a number": 8, "a text": "data"},
    "find_nan": {"None": None, "a number": 1, "a text": "yes"},
    "on_device": {"None": None, "a number": 1, "a text": "yes"},
    "score": {"None": None, "a number": 1},
    "higher": {"None": None, "a number": 1, "a text": "yes"},
    "patience": {**WHOLE, "zero": 0},
    "margin": {"None": None, "negative": -1.0, "infinite": np.inf, "a text": "0", "NaN": np.nan},
    "batches": {"None": None, "a number": 1, "a function": never},
    "ahead": {**WHOLE, "zero": 0},
    "put": {"None": None, "a number": 1},
    "path": {"None": None, "a number": 1, "a list": []},
    "name": {"None": None, "a number": 1},
    "progress": {"None": None, "another word": "loud", "a number": 2, "a function": never},
    "shape": {"a text": "28", "a number": 3, "a function": never},
    "x": {"a text": "x", "None": None, "texts": np.array(["a"]), "no example": X[:0], "a function": never},
    "target": {"a text": "x", "a function": never},
    "logits": {
        "None": None, "a text": "x", "a list": [[0.0, 1.0]], "a number": 1.0, "one class": np.ones((4, 1)),
        "complex": np.eye(4, dtype=complex), "no class": np.ones((4, 0)), "other examples": np.eye(5),
    },
    "labels": {
        "None": None, "a text": "x", "a list": [0, 1], "floats": np.ones(4), "fewer": Y[:3],
        "one-hot": np.eye(4, dtype=int), "a column": np.ones((4, 1), int),
    },
}  # fmt: skip
MORE = {
    (nn.fit, "batch_size", "more than there are"): 5,
    (nn.data.minibatches, "batch_size", "more than there are"): 5,
    (nn.fit, "metrics", "the loss's name"): {"loss": nn.accuracy},
    (nn.fit, "metrics", "a name of the validation"): {"val_loss": nn.accuracy},
    (nn.fit, "metrics", "another such name"): {"val_accuracy": nn.accuracy},
    (nn.fit, "metrics", "the name of the count"): {"epoch": nn.accuracy},
    (nn.make_step, "metrics", "the loss's name"): {"loss": nn.accuracy},
}
OTHER_PARAMS = {
    "of another width": random_params(nn.dense(3), X),
    "without a bias": random_params(nn.dense(2, bias=False), X),
    "of another net": random_params(nn.serial(NET, nn.relu), X),
    "of no net": nn.Params({}, {}),
    "numbers": jax.tree.map(lambda w: w.tolist(), PARAMS),
    "integers": jax.tree.map(lambda w: w.astype(int), PARAMS),
}
MORE |= {
    (function, "params", kind): params
    for function in (nn.fit, nn.init_state, nn.diagnose)
    for kind, params in OTHER_PARAMS.items()
}
MORE[nn.diagnose, "loss", "without a hash"] = type("Loss", (list,), {"__call__": never})()
MORE[nn.fit, "params", "NaN"] = jax.tree.map(lambda w: w * np.nan, PARAMS)
MORE[nn.fit, "params", "infinite"] = jax.tree.map(lambda w: w + np.inf, PARAMS)


#: Minibatches are made of any pytree, so these are not pairs, but data all the same.
ANY_TREE = ("an array", "one part", "three parts", "a dict", "no inputs")


def is_good(function, name, kind):
    if function is nn.data.minibatches and name == "data":
        return kind in ANY_TREE
    if function is nn.fit and name == "data":
        return kind == "a function"  # of the epoch, which gives batches
    return kind == "None" and (function, name) in OPTIONAL


def cases():
    for function in GOOD:
        for name in signature(function).parameters:
            for kind, value in BAD[name].items():
                if not is_good(function, name, kind):
                    yield pytest.param(function, name, value, id=f"{function.__name__}-{name}-{kind}")
    for (function, name, kind), value in MORE.items():
        yield pytest.param(function, name, value, id=f"{function.__name__}-{name}-{kind}")


@pytest.mark.parametrize(("function", "name", "value"), list(cases()))
def test_a_bad_argument_is_named_before_any_work(function, name, value):
    # A pair of arrays is described by its arrays, and accuracy compares its two arguments.
    named = "(logits|labels)" if function is nn.accuracy else name
    with pytest.raises((TypeError, ValueError), match=rf"^{function.__name__}: (.*\b)?{named}\b"):
        function(**GOOD[function] | {name: value})


def test_an_optional_argument_may_be_left_out():
    """The good values are good: what comes to work is the loss or the metric."""
    for function, name in sorted(OPTIONAL, key=str):
        arguments = GOOD[function] | {name: None}
        given = [*arguments.values(), *(arguments.get("metrics") or {}).values()]
        if any(value is never for value in given) and function is not nn.make_step:
            with pytest.raises(AssertionError, match="work was done"):
                function(**arguments)
        else:
            function(**arguments)


@pytest.mark.parametrize("value", [optax.sgd, optax.constant_schedule(0.1)])
def test_what_is_nearly_an_optimizer(value):
    with pytest.raises(TypeError, match=r"called first, a schedule goes into one: optax.sgd\(schedule\)"):
        nn.make_step(NET, value, never)
