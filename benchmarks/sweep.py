"""Times shapes of your own, of known nets, or drawn at random, against lax or any contender.

python -m benchmarks.sweep shapes.toml                  the cases of a file; see ``benchmarks/shapes.py``
python -m benchmarks.sweep --sets resnet mobilenet      the layers of known nets
python -m benchmarks.sweep --random 10 --seed 3 --families conv pool --minutes 10
python -m benchmarks.sweep --random 10 --regret         every form beside the chosen one
python -m benchmarks.sweep --random 10 --regret --tuned          beside the one that kernels.tune finds

Printed at the end: by family and pass the geometric mean of the others' times over jaxnn's, the least of
them, and in how many cases it is below 0.9. With ``--regret``, how much longer the chosen forms take than the
best, in the mean and at worst (``benchmarks.forms`` of the same shapes); with ``--tuned`` the forms are those
that ``jaxnn.kernels.tune`` finds on this machine. Random shapes depend on the family, their number and the
seed alone, so that two machines or two versions of JAX see the same ones.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import contenders, environment, forms, limits, ops, options, shapes, tables
from benchmarks.contenders import Contender
from benchmarks.race import OURS
from benchmarks.record import Row, Run
from benchmarks.shapes import Chosen

#: Below this ratio another is counted as ahead.
AHEAD = 0.9


def measure(
    chosen: Iterable[Chosen],
    entrants: Sequence[Contender],
    *,
    modes: Sequence[str] = ops.MODES,
    rounds: int = 9,
    seconds: float = 0.5,
    limit: dict[str, dict[str, float]] | None = None,
    budget: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[Row]]:
    """The rows of one case after the other; none is begun once ``budget`` seconds are over."""
    start = clock()
    for case, dtypes in chosen:
        if clock() - start >= budget:
            return
        yield from ops.measure(
            [case], entrants, dtypes=dtypes, modes=modes, places=["top"],
            rounds=rounds, seconds=seconds, limit=limit,
        )  # fmt: skip


def summary(rows: Sequence[Row]) -> str:
    """By family, pass and dtype: the others' times over jaxnn's, and where they are ahead."""
    names = dict.fromkeys(row.contender for row in rows if row.contender != OURS and row.ratio)
    lines, everything = [], "all"
    kinds = dict.fromkeys((row.family, row.mode, row.dtype) for row in rows if row.ratio)
    kinds |= dict.fromkeys((everything, mode, dtype) for _, mode, dtype in list(kinds))
    for family, mode, dtype in kinds:
        for name in names:
            ratios = [
                row.ratio for row in rows
                if row.ratio and row.contender == name and (row.mode, row.dtype) == (mode, dtype)
                and family in (everything, row.family)
            ]  # fmt: skip
            if ratios:
                behind = sum(ratio < AHEAD for ratio in ratios)
                words = (family, tables.WORDS.get(mode, mode), dtype, name, str(len(ratios)))
                figures = (f"{tables.geometric_mean(ratios):.2f}", f"{min(ratios):.2f}", str(behind))
                lines.append([*words, *figures])
    head = ["family", "pass", "dtype", "who", "cases", "its time ÷ jaxnn's", "least", f"below {AHEAD}"]
    return tables.markdown(head, lines)


def main(arguments: Sequence[str] | None = None) -> Run:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, repeats=9, seconds=0.5)
    parser.prog = "python -m benchmarks.sweep"
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="TOML or CSV")
    parser.add_argument("--sets", nargs="+", choices=shapes.SETS, default=[], metavar="NAME",
                        help=f"the layers of known nets: {', '.join(shapes.SETS)}")  # fmt: skip
    parser.add_argument("--dtype", nargs="+", choices=options.DTYPES, default=["float32"],
                        help="of sets and random shapes (default: float32)")  # fmt: skip
    parser.add_argument("--mode", nargs="+", choices=ops.MODES, default=list(ops.MODES))
    parser.add_argument("--platform", help="a PJRT platform (default: JAX's choice)")
    parser.add_argument("--regret", action="store_true", help="every form beside the chosen one")
    parser.add_argument("--tuned", action="store_true", help="with --regret: chosen by kernels.tune")
    shapes.add_random(parser)
    given = parser.parse_args(arguments)
    if given.tuned and not given.regret:
        parser.error("--tuned: forms are chosen for --regret only")
    try:
        chosen = [found for path in given.files for found in shapes.read(path)]
    except ValueError as error:
        parser.error(str(error))
    made = [case for name in given.sets for case in shapes.SETS[name]()]
    made += shapes.drawn(given.families, given.random, given.seed) if given.random else []
    chosen += [(case, tuple(given.dtype)) for case in made]
    words = [word.lower() for word in given.only]
    chosen = [
        (case, d)
        for case, d in chosen
        if not words or any(w in f"{case.family} {case.name}".lower() for w in words)
    ]
    if not chosen:
        parser.error("name a FILE, --sets or --random, with a case that --only leaves")
    environment.select(given.platform)
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    dtypes = list(dict.fromkeys(dtype for _, dtypes in chosen for dtype in dtypes))
    if given.regret:
        run = tables.shown_and_saved("forms", conditions, {}, every_form(chosen, dtypes, given), given.out)
        print(f"\n{forms.regret(run.rows)}")
        return run
    limit = limits.of(dtypes, "real")
    print("\n".join(limits.text(limit)))
    entrants = contenders.find(given.contenders or [OURS, "lax"])
    groups = measure(
        chosen, entrants, modes=given.mode, rounds=given.repeats, seconds=given.seconds, limit=limit,
        budget=60 * given.minutes,
    )  # fmt: skip
    run = tables.shown_and_saved("ops", conditions, limit, groups, given.out)
    print(f"\n{summary(run.rows)}")
    return run


def every_form(
    chosen: Sequence[Chosen], dtypes: Sequence[str], given: argparse.Namespace
) -> Iterator[list[Row]]:
    """The rows of ``benchmarks.forms`` for the same cases."""
    for dtype in dtypes:
        yield from forms.measure(
            [case for case, those in chosen if dtype in those],
            dtype=dtype,
            rounds=given.repeats,
            seconds=given.seconds,
            budget=60 * given.minutes / len(dtypes),
            tuned=given.tuned,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
