"""Times every form that an operation could take, beside the one that is chosen.

python -m benchmarks.forms                             all operations at the shapes of ``benchmarks.ops``
python -m benchmarks.forms --shapes small --only lenet grouped
python -m benchmarks.forms --random 20 --seed 1 --families conv pool --minutes 3     shapes drawn at random
python -m benchmarks.forms --shapes small --tuned      the regret of forms chosen by measurement
python -m benchmarks.forms --table                     the lists of forms, as docs/kernels shows them

An operation is a pass of a layer: a convolution, the gradient of its input or of its kernel, the gradient of
a matrix, a sum, the extreme of each window. Every form that fits gets the same random operands, is compared
with the plain form, and only then timed. Sums and the moments of norms are timed within their layer, forward
and with the gradients: their forms differ in what XLA fuses with them. The ratio is its time over that of the
chosen form: below 1 another is better. On an accelerator a form that takes more than 20 times as long is
called once. **Regret** is how much longer the chosen form takes than the best: in the mean and at worst, of
each operation and of all. The smallest of several noisy medians tends to be too small, so one half of the
rounds says which form is best and the other half how long it takes. With ``--tuned`` the chosen forms are
those that ``jaxnn.kernels.tune`` finds before, by its own clock.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import abreast, agreement, cases, environment, options, record, shapes, specs, tables, timing
from benchmarks.cases import Case
from benchmarks.contenders import ours
from benchmarks.contenders.jax_programs import rounded
from benchmarks.form_table import table
from benchmarks.race import first_line
from benchmarks.record import Row
from jaxnn.kernels.choice import Form
from jaxnn.kernels.explain import choice, explain, here, operations
from jaxnn.kernels.lowering.primitive import KERNELS
from jaxnn.kernels.prefer import prefer
from jaxnn.kernels.tune import WITHIN_OTHERS, Race, random_operands

#: Samples are short and many: what is asked is which form is faster, and by how much in the median.
SHORTEST, PAUSE = 0.002, 0.0005
#: On an accelerator a form that takes more than this many times as long as the chosen one is not timed
#: further: there a form made for CPUs can take a thousand times as long.
TIMES = 20

Call = Callable[[], Any]


def measure(
    chosen: Sequence[Case],
    *,
    dtype: str = "float32",
    rounds: int = 14,
    seconds: float = 0.3,
    budget: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    tuned: bool = False,
) -> Iterator[list[Row]]:
    """The rows of one operation after the other; those with one form that fits are left out.

    The chosen form is that of the list, or if ``tuned`` what ``kernels.tune`` finds. No case, and no
    operation of one, is begun once ``budget`` seconds are over.
    """
    seen, start = set(), clock()
    for case in chosen:
        if clock() - start >= budget:
            return
        for operation in passes(case, dtype):
            problem = choice(operation, here()).problem
            if problem in seen:
                continue
            seen.add(problem)
            if clock() - start >= budget:
                return
            for mode in ("forward", "both") if operation.primitive.name in WITHIN_OTHERS else ("",):
                if rows := raced(case, operation, rounds, seconds, dtype, mode, tuned):
                    yield rows


def passes(case: Case, dtype: str = "float32") -> list[Any]:
    """The operations of a layer with its gradients, and those of its forward pass alone; some are equal."""
    if isinstance(case.spec, specs.Embedding):
        return []
    programs, weights = of_layer(case, dtype)
    x = jax.ShapeDtypeStruct(case.shape, jnp.dtype(dtype))
    both, forward = (jax.make_jaxpr(programs[name])(weights, x).jaxpr for name in ("both", "forward"))
    return [*operations(both), *operations(forward)]


def of_layer(case: Case, dtype: str) -> tuple[dict[str, Callable[..., Any]], Any]:
    """Functions of a layer's weights and its input, and such weights."""
    model = ours.build(case.spec, case.shape, jnp.dtype(dtype))
    weights = model.pack(rounded(specs.draw_weights(case.spec, case.shape, np.random.default_rng(0)), dtype))

    def forward(weights: Any, x: Any) -> Any:
        return model.apply(weights, model.state, x, jax.random.key(0))[0]

    def both(weights: Any, x: Any) -> Any:
        y, back = jax.vjp(forward, weights, x)
        return back(y)

    return {"forward": forward, "both": both}, weights


def raced(
    case: Case,
    operation: Any,
    rounds: int,
    seconds: float,
    dtype: str = "float32",
    within: str = "",
    tuned: bool = False,
) -> list[Row]:
    """One row per form that fits: of the operation alone, or ``within`` its layer, "forward" or "both"."""
    kernel, platform = KERNELS[operation.primitive.name], here()
    types = tuple(v.aval for v in operation.invars)
    if not all(jnp.issubdtype(t.dtype, jnp.floating) for t in types):
        return []  # integers say which value of a window is its extreme: another operation finds them
    listed = choice(operation, platform)
    if not listed.others:
        return []
    found = [Race(operation, listed, seconds).fastest()] if tuned and not within else []
    with prefer(found):
        taken, problem = kernel.chosen(platform, types, operation.params, 1)
    # The plain form is the last, and the others are compared with it.
    forms = sorted((form for form in kernel.on(platform) if form.fits(problem)), key=is_plain)
    operands = random_operands(types)
    calls: dict[str, Call] = {}
    rows: list[Row] = []
    expected = None
    template = Row(
        "forms",
        operation.primitive.name.removeprefix("jaxnn_"),
        case.title,
        "",
        within or "forward",
        "top",
        dtype,
    )

    def make(form: Form) -> Call | None:
        if within:
            return compiled_within(case, operation, form.name, within, dtype)
        return compiled(form, problem, operands)

    results = abreast.results([partial(called, make, form) for form in reversed(forms)])
    for form, (call, got, reason) in zip(reversed(forms), results, strict=True):
        row = replace(template, contender=form.name, note="chosen" if form is taken else "")
        if reason:
            rows.append(replace(row, status="failed", note=reason))
            continue
        if call is None or got is None:
            return []
        expected = got if expected is None else expected
        error = float(np.abs(got - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30))
        row = replace(row, error=error)
        if error > agreement.tolerance(dtype, platform):
            rows.append(replace(row, status="wrong", note=f"error {error:.0e}"))
        else:
            calls[form.name] = call
            rows.append(row)
    samples = timing.alternate(
        calls, rounds=rounds, seconds=seconds, shortest=SHORTEST, pause=PAUSE,
        beside=taken.name, times=TIMES if environment.accelerator() else float("inf"),
    )  # fmt: skip
    chosen = samples.get(taken.name)
    rows = [timed(row, samples[row.contender], chosen) if row.contender in samples else row for row in rows]
    if chosen is not None:
        lost = regret_of(taken.name, samples)
        rows = [replace(row, regret=lost) if row.contender == taken.name else row for row in rows]
    return rows[::-1]


def is_plain(form: Form) -> bool:
    return form.name == "lax"


def called(make: Callable[[Form], Call | None], form: Form) -> tuple[Call | None, np.ndarray | None, str]:
    """A form's call, the floating-point values of its result as one vector, and the error it raised."""
    try:
        call = make(form)
        if call is None:
            return None, None, ""
        results = [a for a in jax.tree.leaves(call()) if jnp.issubdtype(a.dtype, jnp.floating)]
        return call, np.concatenate([np.ravel(np.asarray(result, np.float64)) for result in results]), ""
    except Exception as reason:  # one form, asked for or not, must not end the run
        return None, None, first_line(reason)


def compiled(form: Form, problem: Any, operands: Sequence[jax.Array]) -> Call:
    """A call of the form."""
    function = jax.jit(lambda *operands: form.compute(problem, *operands)).lower(*operands).compile()
    return timing.calling(lambda: function(*operands), jax.block_until_ready)


def compiled_within(case: Case, operation: Any, name: str, program: str, dtype: str) -> Call | None:
    """A call of a program of the layer in which all operations like this one take the form ``name``; None if
    the program has no such operation.
    """
    wanted, (programs, weights) = choice(operation, here())._replace(form=name), of_layer(case, dtype)
    x = jnp.asarray(np.random.default_rng(0).normal(0.5, 1.0, case.shape), dtype)
    if all(found.problem != wanted.problem for found in explain(programs[program], weights, x)):
        return None
    with prefer([wanted]):
        function = jax.jit(programs[program]).lower(weights, x).compile()
    return timing.calling(lambda: function(weights, x), jax.block_until_ready)


def timed(row: Row, sample: timing.Sample, chosen: timing.Sample | None) -> Row:
    """The row with its times, and over those of the chosen form unless that is wrong."""
    low, middle, high = sample.quartiles()
    row = replace(row, n=sample.n, q1=low, median=middle, q3=high)
    if chosen is None:
        return row
    low, middle, high = timing.ratio(sample, chosen)
    return replace(row, ratio_q1=low, ratio=middle, ratio_q3=high)


def regret_of(chosen: str, samples: Mapping[str, timing.Sample]) -> float:
    """The time of the chosen form over that of the best, less 1.

    The best form is the one with the smallest median over every second round; both are then timed by their
    medians over the other rounds. The result is the mean of this ratio and that with the two halves swapped.
    """
    ratios = []
    for first, second in ((0, 1), (1, 0)):
        found, judged = (
            {name: median(sample.seconds[half::2] or sample.seconds) for name, sample in samples.items()}
            for half in (first, second)
        )
        ratios.append(judged[chosen] / judged[min(found, key=found.__getitem__)])
    return sum(ratios) / 2 - 1


def regret(rows: Sequence[Row]) -> str:
    """How much longer the chosen forms take than the best, in the mean and at worst, by operation and in
    all; Markdown.
    """
    chosen = [row for row in rows if row.regret is not None]
    if not chosen:
        return "no operation had a choice"
    lines = []
    for family in (*dict.fromkeys(row.family for row in chosen), ""):
        lost = {row: row.regret or 0.0 for row in chosen if family in ("", row.family)}
        worst = max(lost, key=lost.__getitem__)
        mean, most = sum(lost.values()) / len(lost), lost[worst]
        others = [row for row in rows if row.group == worst.group and row.ratio is not None]
        best = min(others, key=lambda row: row.ratio or 0.0, default=worst)
        where = f"{worst.family}, {worst.case}: {best.contender} is faster" if best != worst else ""
        lines.append([family.replace("_", " ") or "all", str(len(lost)), f"{mean:.0%}", f"{most:.0%}", where])
    return tables.markdown(
        ["operation", "problems", "longer than the best, mean", "at worst", "where"], lines
    )


def main(arguments: Sequence[str] | None = None) -> record.Run | None:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, seconds=0.3, repeats=14)
    parser.add_argument("--shapes", choices=("all", *cases.SIZES), default="all")
    parser.add_argument("--table", action="store_true", help="print the lists of forms and nothing else")
    parser.add_argument("--dtype", choices=options.DTYPES, default="float32")
    parser.add_argument("--tuned", action="store_true", help="the chosen forms are those of kernels.tune")
    shapes.add_random(parser)
    given = parser.parse_args(arguments)
    if given.table:
        print(table())
        return None
    if given.random:
        chosen = shapes.drawn(given.families, given.random, given.seed)
    else:
        chosen = cases.select(given.shapes, given.only)
    if not chosen:
        parser.error(f"--only: no case has one of {given.only} in its family or name")
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    groups = measure(
        chosen, dtype=given.dtype, rounds=given.repeats, seconds=given.seconds, budget=60 * given.minutes,
        tuned=given.tuned,
    )  # fmt: skip
    run = tables.shown_and_saved("forms", conditions, {}, groups, given.out)
    print(regret(run.rows))
    return run


if __name__ == "__main__":
    main(sys.argv[1:])
