"""Trains a net on all devices of all hosts; the same script on a laptop, a machine of GPUs and a cluster.

python -m examples.train_distributed                       this machine, all of its devices
python -m examples.train_distributed --cluster             under Slurm, Open MPI, Kubernetes, on Cloud TPU
python -m examples.train_distributed --coordinator 10.0.0.1:1234 --processes 4 --process 0    by hand

Weights and the optimiser's state are split over the devices, and each process reads its own rows of every
batch. Every few steps the state goes into one file, from which the script goes on when it is started again:
after a host was lost too, which ends all processes within the heartbeat's time. docs/distribution.md says how
to start it where.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import optax

import jaxnn as nn
from examples.datasets import Part, load
from jaxnn.distribution import fully_sharded, gather, mesh, own_rows, place

BATCH = 64


def network() -> nn.Layer:
    """A small convolutional net: (N, 8, 8, 1) → (N, 10)."""
    return nn.serial(
        nn.conv(16, 3, padding="SAME", bias=False), nn.batch_norm(), nn.relu, nn.max_pool(2),
        nn.flatten, nn.dropout(0.2), head=nn.dense(10),
    )  # fmt: skip


def join(options: argparse.Namespace) -> None:
    """Joins the other processes, if there are any; before anything asks JAX for its devices."""
    if options.cluster:  # the environment says who is who
        jax.distributed.initialize(heartbeat_timeout_seconds=options.heartbeat)
    elif options.processes > 1:
        jax.distributed.initialize(
            options.coordinator,
            options.processes,
            options.process,
            heartbeat_timeout_seconds=options.heartbeat,
        )


def train(
    data: Part, steps: int, file: Path, every: int, watch: Callable[[int, float], None] = lambda *_: None
) -> nn.TrainState:
    """So many steps, from where the file was left; the state after them.

    Args:
      data: the same in every process, perhaps in files that NumPy maps: each reads its own rows alone.
      steps: how many there are in all.
      file: the checkpoint, in a folder that all processes see.
      every: after so many steps it is written anew.
      watch: called with the number of each step and its loss.
    """
    sharding = fully_sharded(mesh(), smallest=64)
    net, optimizer = network(), optax.sgd(0.05, momentum=0.9)
    state = nn.init_state(net, optimizer, jax.random.key(0), (1, 8, 8, 1), sharding=sharding)
    if file.exists():
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        state = place(nn.checkpoint.load(file, like=shapes), sharding)
    step = nn.make_step(net, optimizer, optax.softmax_cross_entropy_with_integer_labels, sharding=sharding)
    mine = own_rows(sharding, BATCH)
    for number in range(int(state.step) + 1, steps + 1):
        # Drawn by the step's number: a run that goes on sees the batches that it would have seen.
        drawn = jax.random.randint(jax.random.fold_in(jax.random.key(1), number), BATCH, 0, len(data.labels))
        rows = jax.device_get(drawn)[mine]
        state, scores = step(state, data.images[rows], data.labels[rows])
        watch(number, float(scores["loss"]))
        if number % every == 0 or number == steps:
            whole = gather(state)  # by all processes together
            if jax.process_index() == 0:
                nn.checkpoint.save(file, whole)
    return state


def main(arguments: list[str] | None = None) -> None:
    """The whole job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cluster", action="store_true", help="find the other processes by the environment")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 runs")
    parser.add_argument("--processes", type=int, default=1, help="how many there are")
    parser.add_argument("--process", type=int, default=0, help="which of them this is, from 0")
    parser.add_argument("--heartbeat", type=int, default=30, help="seconds after which a silent one is lost")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="steps between two checkpoints")
    parser.add_argument("--checkpoint", type=Path, default=Path("out/distributed.npz"))
    options = parser.parse_args(arguments)
    join(options)

    first = jax.process_index() == 0

    def show(number: int, loss: float) -> None:
        if first and number % 50 == 0:
            print(f"step {number}  loss {loss:.4f}", flush=True)

    if first:
        print(f"{jax.device_count()} devices in {jax.process_count()} processes", flush=True)
    digits = load("digits")
    state = train(digits.train, options.steps, options.checkpoint, options.every, show)
    params = gather(state.params)
    if first:
        accuracy = nn.evaluate(network(), params, digits.test, {"accuracy": nn.accuracy})["accuracy"]
        print(f"test accuracy {accuracy:.2%}", flush=True)


if __name__ == "__main__":
    main()
