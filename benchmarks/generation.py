"""Times generation: ids that a small GPT adds to a prompt one by one, each from the cache of those before it.

python -m benchmarks.generation                      at batch 1 and 8: a minute on two cores
python -m benchmarks.generation --contenders jaxnn

Each contender runs the same weights as one compiled loop that takes the largest logit. Compared first: each
id must be the likeliest by the logits of the whole sequence, in float64. A call adds all ids; reported is the
time of one step, and ids per second. jaxnn is ``nn.generate``; Flax NNX decodes with
``nnx.MultiHeadAttention(decode=True)``, its prompt one id at a time, which its time leaves out. Equinox and
Haiku have no cache.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from benchmarks import environment, options, record, tables
from benchmarks.agreement import Answer, Wrong
from benchmarks.contenders import Program, Unsupported
from benchmarks.contenders.reference import in_float64
from benchmarks.race import race
from benchmarks.record import Row


@dataclass(frozen=True)
class Task:
    """A net and a prompt: ``steps`` ids are added to ``batch`` prompts of ``prompt`` ids."""

    batch: int
    vocabulary: int = 256
    features: int = 256
    heads: int = 4
    depth: int = 4
    prompt: int = 16
    steps: int = 200

    @property
    def title(self) -> str:
        return (
            f"GPT of {self.depth} blocks, {self.heads} heads of {self.features // self.heads}, "
            f"{self.steps} ids after {self.prompt}, batch {self.batch}"
        )

    def net(self) -> nn.Layer:
        return nn.models.gpt(
            self.vocabulary,
            features=self.features,
            heads=self.heads,
            depth=self.depth,
            room=self.prompt + self.steps,
        )

    def draw(self) -> tuple[nn.Params, jax.Array]:
        """Params and prompts; the embedding is large, so that rounding does not choose an id."""
        rng = np.random.default_rng(0)
        ids = jnp.asarray(rng.integers(0, self.vocabulary, (self.batch, self.prompt)), jnp.int32)
        params = self.net().init(jax.random.key(0), ids)
        params.weights["embedding"]["embedding"] *= 20
        return params, ids


SIZES = {
    "tiny": [Task(2, vocabulary=11, features=8, heads=2, depth=2, prompt=3, steps=4)],
    "real": [Task(1), Task(1, steps=1000), Task(1, features=64, heads=2), Task(8)],
}


def differences(task: Task, program: Program) -> list[np.ndarray]:
    """Where an id is not the likeliest after those before it, in float64 and as of the whole sequence: 0s."""
    net, (params, prompt) = task.net(), task.draw()
    ids = program.read(program.call())[0].astype(np.int32)
    if ids.shape != (task.batch, task.steps):
        raise Wrong(f"ids of shape {ids.shape} instead of {(task.batch, task.steps)}")
    whole = np.concatenate([np.asarray(prompt), ids], axis=1)
    logits = in_float64(net.apply, params, whole)[:, task.prompt - 1 : -1]
    return [(np.argmax(logits, axis=-1) != ids).astype(np.float64)]


def ours(task: Task) -> Program:
    """``nn.generate``."""
    net, (params, ids) = task.net(), task.draw()

    def call() -> Any:
        return jax.block_until_ready(nn.generate(net, params, ids, steps=task.steps, temperature=0))

    return Program(call, lambda result: [np.asarray(result, np.float64)])


def flax(task: Task) -> Program:
    """The same net of Flax NNX's modules, and one scan over its steps."""
    if find_spec("flax") is None:
        raise Unsupported("not installed")
    from benchmarks.contenders.flax_gpt import decoder

    params, ids = task.draw()
    start, step = decoder(task, params, ids)

    @jax.jit
    def run(carry: Any) -> Any:
        return jax.lax.scan(lambda carry, _: step(carry), carry, None, length=task.steps)[1]

    return Program(lambda: jax.block_until_ready(run(start)), lambda ids: [np.asarray(ids, np.float64).T])


CONTENDERS: dict[str, Callable[[Task], Program]] = {"jaxnn": ours, "flax": flax}


@dataclass(frozen=True)
class Entrant:
    """A name and what makes its program."""

    name: str
    make: Callable[[Task], Program]


def measure(
    tasks: Sequence[Task], names: Sequence[str], *, rounds: int, seconds: float
) -> Iterator[list[Row]]:
    """The rows of each task."""
    entrants: Any = [Entrant(name, CONTENDERS[name]) for name in names]
    for task in tasks:
        template = Row("generation", "generation", task.title, "", "id", tolerance=0.0, examples=task.batch)
        yield race(
            template,
            entrants,
            lambda entrant, task=task: entrant.make(task),
            Answer([np.zeros((task.batch, task.steps))]),
            probe=partial(differences, task),
            calls=task.steps,
            rounds=rounds,
            seconds=seconds,
        )


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__)
    parser.add_argument("--shapes", choices=list(SIZES), default="real")
    given = parser.parse_args(arguments)
    names = [name for name in CONTENDERS if given.contenders is None or name in given.contenders]
    if not names:
        parser.error(f"--contenders: one of {', '.join(CONTENDERS)} must be there")
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    groups = measure(SIZES[given.shapes], names, rounds=given.repeats, seconds=given.seconds)
    return tables.shown_and_saved("generation", conditions, {}, groups, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
