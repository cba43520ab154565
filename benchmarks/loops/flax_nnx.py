"""Flax NNX: the same nets; its step as its guide to performance advises, and in a ``lax.scan``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.loops import CLASSES, MOMENTUM, RATE, Data, Loop, Task, batches, order
from benchmarks.loops.ours import LOSS


class MLP(nnx.Module):
    """Three dense layers."""

    def __init__(self, rngs: nnx.Rngs):
        sizes = ((784, 50), (50, 100), (100, CLASSES))
        self.parts = nnx.List([nnx.Linear(*size, rngs=rngs) for size in sizes])

    def __call__(self, x: Any) -> Any:
        *hidden, last = self.parts
        for part in hidden:
            x = nnx.relu(part(x))
        return last(x)


class CNN(nnx.Module):
    """Two convolutions and a dense layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.fine, self.coarse = nnx.Conv(1, 8, (3, 3), rngs=rngs), nnx.Conv(8, 16, (3, 3), rngs=rngs)
        self.norm, self.head = nnx.BatchNorm(8, momentum=0.9, rngs=rngs), nnx.Linear(144, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.max_pool(nnx.relu(self.norm(self.fine(x))), (2, 2), strides=(2, 2))
        x = nnx.max_pool(nnx.relu(self.coarse(x)), (2, 2), strides=(2, 2))
        return self.head(x.reshape(len(x), -1))


class LSTM(nnx.Module):
    """The last output of an LSTM, and a dense layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.body = nnx.RNN(nnx.OptimizedLSTMCell(16, 32, rngs=rngs))
        self.head = nnx.Linear(32, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.body(x)[:, -1])


NETS = {"MLP": MLP, "CNN": CNN, "LSTM": LSTM}


def fresh(task: Task) -> tuple[nnx.Module, nnx.Optimizer]:
    model = NETS[task.net](nnx.Rngs(0))
    return model, nnx.Optimizer(model, optax.sgd(RATE, momentum=MOMENTUM), wrt=nnx.Param)


def step(model: Any, optimizer: nnx.Optimizer, x: Any, y: Any) -> Any:
    def loss(model: Any) -> Any:
        return LOSS(model(x), y).mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


def scanned(task: Task, arrays: Data) -> Loop:
    graph, state = nnx.split(fresh(task))
    resident = jax.device_put(arrays)

    def whole(state: Any, data: Data, order: Any) -> Any:
        def one(state: Any, rows: Any) -> Any:
            model, optimizer = nnx.merge(graph, state)
            value = step(model, optimizer, data.x[rows], data.y[rows])
            return nnx.state((model, optimizer)), value

        return jax.lax.scan(one, state, order)

    program = jax.jit(whole, donate_argnums=0)

    def epoch(number: int) -> float:
        nonlocal state
        state, values = program(state, resident, order(task, number))
        return float(values.mean())

    return epoch


def unscanned(task: Task, arrays: Data) -> Loop:
    run = nnx.cached_partial(nnx.jit(step), *fresh(task))

    def epoch(number: int) -> float:
        values = [run(x, y) for x, y in batches(task, arrays, number)]
        return float(jnp.stack(values).mean())

    return epoch
