"""Training as a whole: the steps of ``fit`` beside loops written by hand.

python -m benchmarks.fit                steps per second; a few minutes

The table times epochs of a small MLP, CNN and LSTM in turn, ``--rounds`` times: the training step of
the README in a Python loop over batches of NumPy arrays, the same in one ``lax.scan`` per epoch, and ``fit``
with data on the device, from the host, and as a stream of batches with a thread that reads ahead; and what
share of its time a loop over ``nn.training.prefetch`` waits for batches. What is compiled in the first epoch
does not count.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
OPTIMIZER = optax.sgd(0.01, momentum=0.9)
SEED = 0
CASES: dict[str, tuple[nn.Layer, tuple[int, ...], int, int]] = {
    "MLP 784-50-100-10, batch 100": (
        nn.serial(nn.dense(50), nn.relu, nn.dense(100), nn.relu, nn.dense(10)), (784,), 100, 200,
    ),
    "CNN 8-16 channels of 14×14, batch 50": (
        nn.serial(
            nn.conv(8, 3, padding="SAME"), nn.batch_norm(), nn.relu, nn.max_pool(2),
            nn.conv(16, 3, padding="SAME"), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(10),
        ), (14, 14, 1), 50, 60,
    ),
    "LSTM of 32 over 24 steps, batch 32": (
        nn.serial(nn.lstm(32, outputs="last"), nn.dense(10)), (24, 16), 32, 60,
    ),
}  # fmt: skip

Arrays = tuple[np.ndarray, np.ndarray]


def data(shape: tuple[int, ...], n: int) -> Arrays:
    random = np.random.default_rng(0)
    return random.standard_normal((n, *shape)).astype(np.float32), random.integers(0, 10, n).astype(np.int32)


def shuffled(arrays: Arrays, size: int, seed: int) -> Iterator[Arrays]:
    x, y = arrays
    order = np.random.default_rng(seed).permutation(len(y))
    for start in range(0, len(y), size):
        rows = order[start : start + size]
        yield x[rows], y[rows]


def by_hand(net: nn.Layer) -> Callable[..., Any]:
    """The step of the README."""

    def step(params: Any, opt_state: Any, x: Any, y: Any, key: Any) -> Any:
        def loss(weights: Any) -> Any:
            logits, state = net.train(params._replace(weights=weights), x, key)
            return cross_entropy(logits, y).mean(), state

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params.weights)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, params.weights)
        return nn.Params(optax.apply_updates(params.weights, updates), state), opt_state, value

    return step


def epochs_by_hand(net: nn.Layer, arrays: Arrays, size: int, rounds: int, *, scan: bool) -> list[float]:
    """Seconds of each epoch but the first."""
    step, key = by_hand(net), jax.random.key(SEED)
    jitted = jax.jit(step, donate_argnums=(0, 1))

    def scanned(params: Any, opt_state: Any, x: Any, y: Any, order: Any, key: Any) -> Any:
        def one(carry: Any, rows: Any) -> Any:
            *carry, value = step(*carry, x[rows], y[rows], key)
            return tuple(carry), value

        return jax.lax.scan(one, (params, opt_state), order)

    whole = jax.jit(scanned, donate_argnums=(0, 1))
    params = net.init(jax.random.key(SEED), arrays[0][:1])
    carry: Any = (params, OPTIMIZER.init(params.weights))
    resident, seconds = jax.device_put(arrays), []
    for epoch in range(rounds + 1):
        start = time.perf_counter()
        if scan:
            order = np.random.default_rng(epoch).permutation(len(arrays[1])).reshape(-1, size)
            carry, values = whole(*carry, *resident, order, key)
            float(values.mean())
        else:
            values = []
            for x, y in shuffled(arrays, size, epoch):
                *carry, value = jitted(*carry, x, y, key)
                values.append(value)
            float(jnp.stack(values).mean())
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def epochs_of_fit(net: nn.Layer, arrays: Any, rounds: int, **settings: Any) -> list[float]:
    """Seconds of each epoch but the first two: in these it finds out how many steps to dispatch at once."""
    ends: list[float] = []
    nn.fit(
        net, OPTIMIZER, cross_entropy, arrays, key=jax.random.key(SEED), epochs=rounds + 2, progress=False,
        on_epoch=lambda *_: ends.append(time.perf_counter()), **settings,
    )  # fmt: skip
    return [end - begin for begin, end in pairwise(ends[1:])]


def waited(net: nn.Layer, arrays: Arrays, size: int) -> float:
    """The share of an epoch's time that a loop over ``prefetch`` waits for batches."""
    step = nn.make_step(net, OPTIMIZER, cross_entropy)
    state = nn.init_state(net, OPTIMIZER, jax.random.key(SEED), arrays[0][:1])
    share = 0.0
    for epoch in range(2):
        reader = nn.training.prefetch(shuffled(arrays, size, epoch))
        start = time.perf_counter()
        for x, y in reader:
            state, scores = step(state, x, y)
            jax.block_until_ready(scores)
        share = reader.waited / (time.perf_counter() - start)
    return share


def ways(net: nn.Layer, arrays: Arrays, size: int) -> dict[str, Callable[[], list[float]]]:
    """By name, the seconds of a few epochs."""

    def stream(epoch: int) -> Iterator[Arrays]:
        return shuffled(arrays, size, epoch)

    return {
        "loop by hand": lambda: epochs_by_hand(net, arrays, size, 2, scan=False),
        "scan by hand": lambda: epochs_by_hand(net, arrays, size, 2, scan=True),
        "fit, on the device": lambda: epochs_of_fit(net, arrays, 2, batch_size=size),
        "fit, from the host": lambda: epochs_of_fit(net, arrays, 2, batch_size=size, on_device=False),
        "fit, stream": lambda: epochs_of_fit(net, stream, 2),
    }


def steps_per_second(rounds: int) -> None:
    print("Steps per second, medians; and the share of its time that a loop over prefetch waits.", end="\n\n")
    for i, (title, (net, shape, size, steps)) in enumerate(CASES.items()):
        arrays = data(shape, size * steps)
        contenders = ways(net, arrays, size)
        if i == 0:
            print("| net |", " | ".join(contenders), "| waited |")
            print("|---|" + "---:|" * (len(contenders) + 1))
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, way in contenders.items():
                found[name].extend(way())
        rates = " | ".join(f"{steps / median(seconds):,.0f}" for seconds in found.values())
        print(f"| {title} | {rates} | {waited(net, arrays, size):.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often the ways to train take turns")
    steps_per_second(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
