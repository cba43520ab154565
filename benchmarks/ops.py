"""Times single operations at the shapes of real nets.

python -m benchmarks.ops                                        all of it; an hour or more on two cores
python -m benchmarks.ops --shapes small                         a minute or so
python -m benchmarks.ops --shapes large                         the real ones, with batches for an accelerator
python -m benchmarks.ops --only transposed --mode both --place scan --contenders jaxnn lax

Each contender computes the output (and, forward+backward, the gradients for one fixed random cotangent), is
compared with a float64 reference, and only then timed. Inside a scan the time is that of one step.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import (
    abreast,
    agreement,
    contenders,
    environment,
    limits,
    options,
    record,
    specs,
    tables,
    work,
)
from benchmarks.agreement import Answer
from benchmarks.cases import SIZES, Case, repeated, select
from benchmarks.contenders import Contender, OpTask, Program, reference
from benchmarks.energy import Meter
from benchmarks.race import Heat, races
from benchmarks.record import Row

MODES = ("forward", "both")
PLACES = ("top", "scan")


def answers(case: Case, dtype: str) -> tuple[OpTask, dict[str, Answer]]:
    """The task with its arrays already rounded to ``dtype``, and the right output for each mode."""
    return task_of(case, dtype), {mode: answer(case, dtype, mode, True) for mode in MODES}


@abreast.Once  # the passes and places of a case share it
def task_of(case: Case, dtype: str) -> OpTask:
    """The task with its arrays already rounded to ``dtype``."""
    x, weights, cotangent = jax.tree.map(lambda array: rounded(array, dtype), case.draw())
    return OpTask(case.spec, x, weights, cotangent, dtype, steps=case.steps)


def answer(case: Case, dtype: str, mode: str, gradients: bool) -> Answer:
    """The right output; in the mode "both", where ``gradients`` must be, also the gradients."""
    arrays = in_float64(case, dtype, gradients)
    rate = case.spec.rate if isinstance(case.spec, specs.Dropout) else 0.0
    return Answer(arrays[:1] if mode == "forward" else arrays, rate)


@abreast.Once
def in_float64(case: Case, dtype: str, gradients: bool) -> list[np.ndarray]:
    """The output, and the gradients if asked for: of the examples that the batch repeats, and so of all."""
    task = task_of(case, dtype)
    floats = not np.issubdtype(task.x.dtype, np.integer)

    def forward(weights: Any, x: Any, cotangent: Any) -> Any:
        return [reference.run(case.spec, weights, x)]

    def both(weights: Any, x: Any, cotangent: Any) -> Any:
        if floats:
            y, pull = jax.vjp(lambda x, weights: reference.run(case.spec, weights, x), x, weights)
        else:
            y, pull = jax.vjp(lambda weights: reference.run(case.spec, weights, x), weights)
        return [y, *jax.tree.leaves(pull(cotangent))]

    x, cotangent = (array[: len(array) // case.repeats] for array in (task.x, task.cotangent))
    found = reference.in_float64(both if gradients else forward, task.weights, x, cotangent)
    # The output and the gradient of x are repeated as x is; those of the weights are sums over the batch.
    return [repeated(a, case.repeats) if i <= floats else case.repeats * a for i, a in enumerate(found)]


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 with the values that ``dtype`` can hold; integers as they are."""
    if np.issubdtype(array.dtype, np.integer) or dtype == "float32":
        return array
    return array.astype(jnp.dtype(dtype)).astype(np.float32)


def measure(
    cases: Sequence[Case],
    entrants: Sequence[Contender],
    *,
    dtypes: Sequence[str] = ("float32",),
    modes: Sequence[str] = MODES,
    places: Sequence[str] = PLACES,
    rounds: int = 20,
    seconds: float = 2.0,
    limit: Mapping[str, Mapping[str, float]] | None = None,
    meter: Meter | None = None,
) -> Iterator[list[Row]]:
    """The rows of one group after the other: a case in a mode, a place and a dtype."""
    made = heats(cases, dtypes, modes, places, limit or {})
    yield from races(made, entrants, rounds=rounds, seconds=seconds, meter=meter)


def heats(
    cases: Iterable[Case],
    dtypes: Sequence[str],
    modes: Sequence[str],
    places: Sequence[str],
    limit: Mapping[str, Mapping[str, float]],
) -> Iterator[Heat]:
    """What ``measure`` measures."""
    gradients = "both" in modes
    for case, dtype, mode, place in product(cases, dtypes, modes, places):
        template = Row(
            "ops", case.family, case.title, "", mode, place, dtype,
            tolerance=agreement.tolerance(dtype, jax.default_backend()),
            flops=work.flops(case.spec, case.shape, mode),
            bytes=work.moved(case.spec, case.shape, mode, dtype),
        )  # fmt: skip

        def make(
            contender: Contender, case: Case = case, dtype: str = dtype, mode: str = mode, place: str = place
        ) -> Program:
            return contender.op(replace(task_of(case, dtype), mode=mode, place=place))

        yield Heat(
            template, make, partial(answer, case, dtype, mode, gradients),
            calls=case.steps if place == "scan" else 1, limit=limit.get(dtype),
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--shapes", choices=(*SIZES, "all"), default="all", help="all: small and real (default)"
    )
    parser.add_argument("--dtype", nargs="+", choices=options.DTYPES, default=list(options.DTYPES))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--place", nargs="+", choices=PLACES, default=list(PLACES))
    given = parser.parse_args(arguments)
    cases = select(given.shapes, given.only)
    if not cases:
        parser.error(f"--only: no case of these shapes has one of {given.only}")
    entrants = contenders.find(given.contenders)
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    limit = limits.of(given.dtype, given.shapes)
    print("\n".join(limits.text(limit)))
    groups = measure(
        cases,
        entrants,
        dtypes=given.dtype,
        modes=given.mode,
        places=given.place,
        rounds=given.repeats,
        seconds=given.seconds,
        limit=limit,
    )
    return tables.shown_and_saved("ops", conditions, limit, groups, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
