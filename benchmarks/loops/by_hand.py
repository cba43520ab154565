"""JAX by hand: the training step of the README, in a ``lax.scan`` per epoch and in a Python loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxnn as nn
from benchmarks.loops import Data, Loop, Task, batches, order
from benchmarks.loops.ours import LOSS, NETS, OPTIMIZER


def step(net: nn.Layer) -> Callable[..., Any]:
    def run(params: Any, opt_state: Any, x: Any, y: Any, key: Any) -> Any:
        def loss(weights: Any) -> Any:
            logits, state = net.train(params._replace(weights=weights), x, key)
            return LOSS(logits, y).mean(), state

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params.weights)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, params.weights)
        return nn.Params(optax.apply_updates(params.weights, updates), state), opt_state, value

    return run


def start(net: nn.Layer, arrays: Data) -> Any:
    params = net.init(jax.random.key(0), arrays.x[:1])
    return params, OPTIMIZER.init(params.weights)


def scanned(task: Task, arrays: Data) -> Loop:
    net = NETS[task.net]()
    run, key, carry, resident = step(net), jax.random.key(0), start(net, arrays), jax.device_put(arrays)

    def whole(carry: Any, data: Data, order: Any, key: Any) -> Any:
        def one(carry: Any, rows: Any) -> Any:
            *carry, value = run(*carry, data.x[rows], data.y[rows], key)
            return tuple(carry), value

        return jax.lax.scan(one, carry, order)

    program = jax.jit(whole, donate_argnums=0)

    def epoch(number: int) -> float:
        nonlocal carry
        carry, values = program(carry, resident, order(task, number), key)
        return float(values.mean())

    return epoch


def unscanned(task: Task, arrays: Data) -> Loop:
    net = NETS[task.net]()
    run, key, carry = jax.jit(step(net), donate_argnums=(0, 1)), jax.random.key(0), start(net, arrays)

    def epoch(number: int) -> float:
        nonlocal carry
        values = []
        for x, y in batches(task, arrays, number):
            *carry, value = run(*carry, x, y, key)
            values.append(value)
        return float(jnp.stack(values).mean())

    return epoch
