"""Times single operations at the shapes of real nets.

python -m benchmarks.ops                                        all of it; an hour or more on two cores
python -m benchmarks.ops --shapes small                         a minute or so
python -m benchmarks.ops --only transposed --mode both --place scan --contenders jaxnn lax

Each contender computes the output (and, forward+backward, the gradients for one fixed random cotangent), is
compared with a float64 reference, and only then timed. Inside a scan the time is that of one step.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import agreement, contenders, environment, limits, options, record, specs, tables, work
from benchmarks.agreement import Answer
from benchmarks.cases import Case, select
from benchmarks.contenders import Contender, OpTask, reference
from benchmarks.energy import Meter
from benchmarks.race import race
from benchmarks.record import Row

MODES = ("forward", "both")
PLACES = ("top", "scan")


@lru_cache(maxsize=2)  # the passes and places of a case share them
def answers(case: Case, dtype: str) -> tuple[OpTask, dict[str, Answer]]:
    """The task with its arrays already rounded to ``dtype``, and the right output for each mode."""
    x, weights, cotangent = jax.tree.map(lambda array: rounded(array, dtype), case.draw())

    def forward(weights: Any, x: Any) -> Any:
        return reference.run(case.spec, weights, x)

    def both(weights: Any, x: Any, cotangent: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.integer):
            y, pull = jax.vjp(lambda weights: forward(weights, x), weights)
            return [y, *jax.tree.leaves(pull(cotangent))]
        y, pull = jax.vjp(lambda x, weights: forward(weights, x), x, weights)
        return [y, *jax.tree.leaves(pull(cotangent))]

    arrays = reference.in_float64(both, weights, x, cotangent)
    rate = case.spec.rate if isinstance(case.spec, specs.Dropout) else 0.0
    task = OpTask(case.spec, x, weights, cotangent, dtype)
    return task, {"forward": Answer(arrays[:1], rate), "both": Answer(arrays, rate)}


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 with the values that ``dtype`` can hold; integers as they are."""
    if np.issubdtype(array.dtype, np.integer):
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
    platform = jax.default_backend()
    for case in cases:
        for dtype in dtypes:
            task, expected = answers(case, dtype)
            for mode in modes:
                for place in places:
                    now = replace(task, mode=mode, place=place)
                    template = Row(
                        "ops", case.family, case.title, "", mode, place, dtype,
                        tolerance=agreement.tolerance(dtype, platform),
                        flops=work.flops(case.spec, case.shape, mode),
                        bytes=work.moved(case.spec, case.shape, mode, dtype),
                    )  # fmt: skip
                    yield race(
                        template,
                        entrants,
                        lambda contender, now=now: contender.op(now),
                        expected[mode],
                        calls=task.steps if place == "scan" else 1,
                        rounds=rounds,
                        seconds=seconds,
                        limit=(limit or {}).get(dtype),
                        meter=meter,
                    )


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__)
    parser.add_argument("--shapes", choices=("tiny", "small", "real", "all"), default="all")
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
