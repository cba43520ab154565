"""Times training steps of whole nets, and whole epochs as one scan on the device.

python -m benchmarks.training                          all nets; half an hour or more on two cores
python -m benchmarks.training --shapes small           a minute or two
python -m benchmarks.training --shapes large           with batches for an accelerator
python -m benchmarks.training --only mobilenet --place epoch --contenders jaxnn lax flax

All start from the same weights and see the same batches, under SGD with momentum. The losses of the first two
steps are compared with those in float64 before anything is timed: the second one shows that the gradients
agree. The JAX libraries share one jitted step around their own nets, with its memory donated.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import numpy as np

from benchmarks import (
    abreast,
    agreement,
    contenders,
    environment,
    limits,
    nets,
    options,
    record,
    tables,
    work,
)
from benchmarks.agreement import Answer
from benchmarks.contenders import Contender, Program, StepTask, reference
from benchmarks.contenders.jax_programs import loss_of
from benchmarks.energy import Meter
from benchmarks.nets import Net
from benchmarks.race import Heat, races
from benchmarks.record import Row

PLACES = ("top", "epoch")
#: Relative errors of the first two losses. They are means of means, and the second depends on all gradients.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
STEPS = 8


@abreast.Once  # the places and dtypes of a net share it
def task_of(net: Net, steps: int) -> StepTask:
    """The task of a net, with its batches."""
    return net.task(steps)


@abreast.Once
def losses_of(net: Net, steps: int) -> dict[str, Answer]:
    """The right losses by place: of the examples that a batch repeats, and so of the batch."""
    return first_losses(task_of(net, steps), net.shape[0] // net.repeats)


def first_losses(task: StepTask, examples: int | None = None) -> dict[str, Answer]:
    """By place the losses of the first two steps in float64: of one batch twice, or of the first two.

    ``examples``: how many of a batch stand for all of it.
    """

    def run(weights: Any, x: Any, y: Any) -> Any:
        def loss(weights: Any, x: Any, y: Any) -> Any:
            if task.copies:
                out = jax.vmap(lambda w: reference.run(task.spec, w, x))(weights)
                return jax.vmap(lambda out: loss_of(out, y))(out).sum()
            return loss_of(reference.run(task.spec, weights, x), y)

        before, grads = jax.value_and_grad(loss)(weights, x[0], y[0])
        weights = jax.tree.map(lambda w, g: w - task.rate * g, weights, grads)
        return before, loss(weights, x[0], y[0]), loss(weights, x[1], y[1])

    x, y = (array[:2, :examples] for array in (task.x, task.y))
    before, again, following = reference.in_float64(run, task.weights, x, y)
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
    made = heats(chosen, dtypes, places, steps, limit or {})
    yield from races(made, entrants, rounds=rounds, seconds=seconds, meter=meter)


def heats(
    chosen: Iterable[Net],
    dtypes: Sequence[str],
    places: Sequence[str],
    steps: int,
    limit: Mapping[str, Mapping[str, float]],
) -> Iterator[Heat]:
    """What ``measure`` measures."""
    for net, place, dtype in product(chosen, places, dtypes):
        template = Row(
            "training", net.name, net.title, "", "step", place, dtype,
            tolerance=max(TOLERANCES[dtype], agreement.tolerance(dtype, jax.default_backend())),
            flops=work.flops(net.spec, net.shape, "both") * max(net.copies, 1),
            examples=net.shape[0],
        )  # fmt: skip

        def make(contender: Contender, net: Net = net, place: str = place, dtype: str = dtype) -> Program:
            return contender.step(replace(task_of(net, steps), place=place, dtype=dtype))

        yield Heat(
            template, make, lambda net=net, place=place: losses_of(net, steps)[place],
            probe=probe_epoch if place == "epoch" else probe_steps,
            calls=steps if place == "epoch" else 1, limit=limit.get(dtype),
        )  # fmt: skip


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
