"""Every optimiser of optax trains in ``make_step``, with whatever it takes beside the gradient."""

from inspect import isfunction, signature

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import jaxnn as nn
from tests.support import deep

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
Y = X @ np.float32([[1], [-2], [3]])
NET = nn.serial(nn.dense(4), nn.tanh, nn.dense(1))

OPTIMIZERS = {
    **{
        name: getattr(optax, name)(0.01)
        for name in (
            "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
            "amsgrad", "fromage", "lamb", "lars", "lion", "novograd", "optimistic_adam_v2",
            "optimistic_gradient_descent", "radam", "rmsprop", "rprop", "sgd",
            "sign_sgd", "signum", "sm3", "yogi",
        )
    },
    **{
        name: getattr(contrib, name)(0.01)
        for name in (
            "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw", "dog", "dowg", "galore", "madgrad",
            "momo", "momo_adam", "muon", "prodigy", "schedule_free_adamw", "schedule_free_sgd",
            "simplified_ademamix", "sophia",
        )
    },
    "polyak_sgd": optax.polyak_sgd(0.1),
    "lbfgs": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8)),
    "a backtracking that stores": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8, store_grad=True)
    ),
    "plateau": optax.chain(optax.adam(0.01), contrib.reduce_on_plateau(patience=2)),
    "sam": contrib.sam(optax.sgd(0.05), optax.chain(contrib.normalize(), optax.sgd(0.01))),
    "opaque sam": contrib.sam(
        optax.sgd(0.05), optax.chain(contrib.normalize(), optax.sgd(0.01)), opaque_mode=True
    ),
    "mechanize": contrib.mechanize(optax.sgd(0.1)),
    "noisy_sgd": optax.noisy_sgd(0.01, key=0),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.01, 20))),
    "multi_steps": optax.MultiSteps(optax.adam(0.01), 2),
    "apply_if_finite": optax.apply_if_finite(optax.sgd(0.01), 3),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(0.01),
    "partition": optax.partition(
        {"slow": optax.adam(1e-3), "fast": optax.sgd(0.1)},
        nn.training.labels({"dense_1/*": "fast", "*": "slow"}),
    ),
    "masked decay": optax.adamw(0.01, mask=nn.training.mask("*bias", but=True)),
    "averaged": nn.training.averaged(optax.polyak_sgd(0.1), 0.9),
    "scaled_loss": nn.training.scaled_loss(optax.polyak_sgd(0.1)),
}  # fmt: skip

#: Made for something else: another name of one above, or gradients of single examples.
OTHERS = {"optimistic_adam", "dpsgd"}

STEPS = 4  #: some change nothing in the first


def test_no_optimizer_is_left_out():
    """Of all that optax makes from a learning rate, and is no part of another."""
    made = {
        name
        for module in (optax, contrib)
        for name, function in vars(module).items()
        if isfunction(function) and "learning_rate" in signature(function).parameters
    }
    parts = {name for name in made if name.startswith(("scale_by_", "_")) or name == "schedule_free"}
    assert made - parts - OTHERS <= OPTIMIZERS.keys()


#: Of each thing that an optimiser may take or be, one or two: the gradient alone; the value, or a function
#: that gives it; a state of weights, of steps, of another optimiser; some weights alone; those of jaxnn.
TYPICAL = {
    "sgd", "adam", "muon", "polyak_sgd", "plateau", "lbfgs", "backtracking", "sam", "opaque sam",
    "multi_steps", "schedule_free_adamw", "partition", "averaged", "scaled_loss",
}  # fmt: skip


@pytest.mark.parametrize("name", [name if name in TYPICAL else deep(name) for name in OPTIMIZERS])
def test_it_trains(name, key):
    """Under the promotion rules that JAX has by default: what optax promotes is its own affair."""
    optimizer = OPTIMIZERS[name]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        step = nn.make_step(NET, optimizer, optax.squared_error)
        state = nn.init_state(NET, optimizer, key, X)
        before = jax.device_get(state.params)
        for _ in range(STEPS):
            state, scores = step(state, X, Y)
    assert np.isfinite(scores["loss"])
    assert not jnp.array_equal(before.weights["dense_0"]["kernel"], state.params.weights["dense_0"]["kernel"])
    chex.assert_trees_all_equal_dtypes(before, state.params)
