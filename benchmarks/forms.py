"""Times every form that an operation could take, beside the one that is chosen.

python -m benchmarks.forms                             all operations at the shapes of ``benchmarks.ops``
python -m benchmarks.forms --shapes small --only lenet grouped
python -m benchmarks.forms --table                     the lists of forms, as docs/kernels shows them

An operation is a pass of a layer: a convolution, the gradient of its input or of its kernel, the gradient of
a matrix, a sum, the extreme of each window. Every form that fits gets the same random operands, is compared
with the plain form, and only then timed. The ratio is its time over that of the chosen form: below 1 another
is better.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, environment, options, record, specs, tables, timing
from benchmarks.cases import Case
from benchmarks.contenders import ours
from benchmarks.record import Row
from jaxnn.kernels.choice import Form, always
from jaxnn.kernels.explain import operations
from jaxnn.kernels.lowering.primitive import DEFAULT, KERNELS

#: Largest error over the largest value, between two forms in float32 on a CPU and elsewhere.
TOLERANCES = {"cpu": 1e-4}


def measure(chosen: Sequence[Case], *, rounds: int = 9, seconds: float = 1.0) -> Iterator[list[Row]]:
    """The rows of one operation after the other; those with one form that fits are left out."""
    seen = set()
    for case in chosen:
        for operation in passes(case):
            params = tuple(sorted(operation.params.items(), key=str))
            key = (operation.primitive.name, tuple(str(v.aval) for v in operation.invars), str(params))
            if key in seen:
                continue
            seen.add(key)
            if rows := raced(case, operation, rounds, seconds):
                yield rows


def passes(case: Case) -> list[Any]:
    """The operations of a layer, forward and backward."""
    model = ours.build(case.spec, case.shape, jnp.dtype("float32"))
    weights = model.pack(specs.draw_weights(case.spec, case.shape, np.random.default_rng(0)))

    def both(weights: Any, x: Any) -> Any:
        y, back = jax.vjp(lambda w, x: model.apply(w, model.state, x, jax.random.key(0))[0], weights, x)
        return back(y)

    if isinstance(case.spec, specs.Embedding):
        return []
    x = jax.ShapeDtypeStruct(case.shape, jnp.float32)
    return list(operations(jax.make_jaxpr(both)(weights, x).jaxpr))


def raced(case: Case, operation: Any, rounds: int, seconds: float) -> list[Row]:
    """One row per form that fits."""
    kernel, platform = KERNELS[operation.primitive.name], jax.default_backend()
    types = tuple(v.aval for v in operation.invars)
    taken, problem = kernel.chosen(kernel.on(platform), types, operation.params, 1)
    forms = [form for form in kernel.on(platform) if form.fits(problem)]
    if len(forms) < 2:
        return []
    rng = np.random.default_rng(0)
    operands = [jnp.asarray(rng.standard_normal(t.shape), t.dtype) for t in types]
    calls, rows, expected = {}, [], None
    template = Row(
        "forms", operation.primitive.name.removeprefix("jaxnn_"), case.title, "", "forward", "top", "float32"
    )
    for form in reversed(forms):  # the plain form is the last, and the others are compared with it
        call = compiled(form, problem, operands)
        results = jax.tree.leaves(call())
        got = np.concatenate([np.ravel(np.asarray(result, np.float64)) for result in results])
        expected = got if expected is None else expected
        error = float(np.abs(got - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30))
        row = replace(template, contender=form.name, error=error, note="chosen" if form is taken else "")
        if error > TOLERANCES.get(platform, 2e-2):
            rows.append(replace(row, status="wrong", note=f"error {error:.0e}"))
        else:
            calls[form.name] = call
            rows.append(row)
    samples = timing.alternate(calls, rounds=rounds, seconds=seconds)
    return [timed(row, samples, taken.name) if row.contender in samples else row for row in reversed(rows)]


def compiled(form: Form, problem: Any, operands: Sequence[jax.Array]) -> Any:
    """A call of the form, waited for."""
    function = jax.jit(lambda *operands: form.compute(problem, *operands))
    function(*operands)
    return lambda: jax.block_until_ready(function(*operands))


def timed(row: Row, samples: dict[str, timing.Sample], taken: str) -> Row:
    sample = samples[row.contender]
    q1, median, q3 = sample.quartiles()
    low, middle, high = timing.ratio(sample, samples[taken])
    return replace(row, n=sample.n, q1=q1, median=median, q3=q3, ratio_q1=low, ratio=middle, ratio_q3=high)


def regret(rows: Sequence[Row]) -> str:
    """How much slower the chosen forms are than the best, in the mean and at worst."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.ratio is not None:
            key = row.family, row.case
            best[key] = min(best.get(key, 1.0), row.ratio)
    if not best:
        return "no operation had a choice"
    loss = {key: 1 / ratio - 1 for key, ratio in best.items()}
    worst = max(loss, key=lambda key: loss[key])
    mean = sum(loss.values()) / len(loss)
    return (
        f"{len(loss)} operations: the chosen form is {mean:.0%} slower than the best in the mean, "
        f"{loss[worst]:.0%} at worst ({worst[0]}, {worst[1]})"
    )


def table() -> str:
    """All lists of forms, in the order in which they are tried, as Markdown."""
    lines = []
    for kernel in KERNELS.values():
        name = kernel.primitive.name.removeprefix("jaxnn_")
        if name.endswith("_transpose") or max(map(len, kernel.forms.values())) < 2:
            continue
        taken = {platform: taken_when(forms) for platform, forms in kernel.forms.items()}
        for form in kernel.forms["cpu"]:
            words = taken["cpu"][form.name], taken[DEFAULT].get(form.name, "–")
            lines.append(
                f"| {name.replace('_', ' ')} | `{form.name}` | {form.needs or '–'} | {' | '.join(words)} |"
            )
    head = ["| operation | form | fits | is taken on CPUs | elsewhere |", "|---|---|---|---|---|"]
    return "\n".join([*head, *lines])


def taken_when(forms: Sequence[Form]) -> dict[str, str]:
    """When each form of a list is taken, in words."""
    words, reached = {}, True
    for form in forms:
        usual = "always" if form is forms[0] else "otherwise"
        words[form.name] = form.when or usual if reached else "if asked for"
        # The forms of a convolution for one and for several groups leave nothing to the last.
        everywhere = form.name == "canonical" or form.fits is always
        reached = reached and not (everywhere and form.pays is always)
    return words


def main(arguments: Sequence[str] | None = None) -> record.Run | None:
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, seconds=1.0, repeats=9)
    parser.add_argument("--shapes", choices=("all", *cases.SIZES), default="all")
    parser.add_argument("--table", action="store_true", help="print the lists of forms and nothing else")
    given = parser.parse_args(arguments)
    if given.table:
        print(table())
        return None
    chosen = cases.select(given.shapes, given.only)
    if not chosen:
        parser.error(f"--only: no case has one of {given.only} in its family or name")
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    run = tables.shown_and_saved(
        "forms", conditions, {}, measure(chosen, rounds=given.repeats, seconds=given.seconds), given.out
    )
    print(regret(run.rows))
    return run


if __name__ == "__main__":
    main(sys.argv[1:])
