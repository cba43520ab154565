"""Times training steps of whole nets, and whole epochs as one scan on the device.

python -m benchmarks.training                          all nets; half an hour or more on two cores
python -m benchmarks.training --shapes small           a minute or two
python -m benchmarks.training --only mobilenet --place epoch --contenders jaxnn lax flax

All start from the same weights and see the same batches, under SGD with momentum. The losses of the first two
steps are compared with those in float64 before anything is timed: the second one shows that the gradients
agree. The JAX libraries share one jitted step around their own nets, with its memory donated.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from benchmarks import agreement, contenders, environment, limits, nets, options, record, tables, work
from benchmarks.agreement import Answer
from benchmarks.contenders import Contender, Program, StepTask, reference
from benchmarks.contenders.jax_programs import loss_of
from benchmarks.energy import Meter
from benchmarks.nets import Net
from benchmarks.race import race
from benchmarks.record import Row

PLACES = ("top", "epoch")
#: Relative errors of the first two losses. They are means of means, and the second depends on all gradients.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
STEPS = 8


@lru_cache(maxsize=2)  # the places and dtypes of a net share them
def prepared(net: Net, steps: int) -> tuple[StepTask, dict[str, Answer]]:
    """The task of a net with its batches, and the right losses."""
    task = net.task(steps)
    return task, first_losses(task)


def first_losses(task: StepTask) -> dict[str, Answer]:
    """By place the losses of the first two steps in float64: of one batch twice, or of the first two."""

    def run(weights: Any, x: Any, y: Any) -> Any:
        def loss(weights: Any, x: Any, y: Any) -> Any:
            if task.copies:
                out = jax.vmap(lambda w: reference.run(task.spec, w, x))(weights)
                return jax.vmap(lambda out: loss_of(out, y))(out).sum()
            return loss_of(reference.run(task.spec, weights, x), y)

        before, grads = jax.value_and_grad(loss)(weights, x[0], y[0])
        weights = jax.tree.map(lambda w, g: w - task.rate * g, weights, grads)
        return before, loss(weights, x[0], y[0]), loss(weights, x[1], y[1])

    before, again, following = reference.in_float64(run, task.weights, task.x[:2], task.y[:2])
    return {"top": Answer([np.stack([before, again])]), "epoch": Answer([np.stack([before, following])])}


def measure(
    chosen: Sequence[Net],
    entrants: Sequence[Contender],
    *,
    dtypes: Sequence[str] = ("float32",),
    places: Sequence[str] = PLACES,
    steps: int = STEPS,
    rounds: int = 20,
    seconds: float = 5.0,
    limit: Mapping[str, Mapping[str, float]] | None = None,
    meter: Meter | None = None,
) -> Iterator[list[Row]]:
    """The rows of a net in a place and a dtype."""
    for net in chosen:
        task, expected = prepared(net, steps)
        for place in places:
            for dtype in dtypes:
                now = replace(task, place=place, dtype=dtype)
                template = Row(
                    "training", net.name, net.title, "", "step", place, dtype,
                    tolerance=max(TOLERANCES[dtype], agreement.tolerance(dtype, jax.default_backend())),
                    flops=work.flops(net.spec, net.shape, "both") * max(net.copies, 1),
                    examples=net.shape[0],
                )  # fmt: skip
                yield race(
                    template,
                    entrants,
                    lambda contender, now=now: contender.step(now),
                    expected[place],
                    probe=probe_epoch if place == "epoch" else probe_steps,
                    calls=steps if place == "epoch" else 1,
                    rounds=rounds,
                    seconds=seconds,
                    limit=(limit or {}).get(dtype),
                    meter=meter,
                )


def probe_steps(program: Program) -> list[np.ndarray]:
    """The losses of two steps."""
    return [np.concatenate([program.read(program.call())[0] for _ in range(2)])]


def probe_epoch(program: Program) -> list[np.ndarray]:
    """The losses of an epoch's first two steps."""
    return [program.read(program.call())[0][:2]]


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, seconds=5.0)
    parser.add_argument("--shapes", choices=tuple(nets.MADE), default="real")
    parser.add_argument("--dtype", nargs="+", choices=options.DTYPES, default=["float32"])
    parser.add_argument("--place", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument("--steps", type=options.positive, default=STEPS, help="of an epoch")
    given = parser.parse_args(arguments)
    chosen = nets.select(given.shapes, given.only)
    if not chosen:
        parser.error(f"--only: no net has one of {given.only} in its name")
    entrants = contenders.find(given.contenders)
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    limit = limits.of(given.dtype, given.shapes)
    groups = measure(
        chosen,
        entrants,
        dtypes=given.dtype,
        places=given.place,
        steps=max(given.steps, 2),
        rounds=given.repeats,
        seconds=given.seconds,
        limit=limit,
    )
    return tables.shown_and_saved("training", conditions, limit, groups, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
