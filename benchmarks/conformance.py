"""What a backend computes: every operation, dtype and pass, ours and the form of JAX alone, against float64.

python -m benchmarks.conformance                                   this machine; some minutes
python -m benchmarks.conformance --platform METAL --dtype float32 float16
python -m benchmarks.conformance --only conv pool --passes value "input gradient"

A cell is one operation in one dtype and one pass; each is compiled and run in a process of its own kind,
which may crash or hang without ending the rest. It is **right** if the largest error is within a bound of
last places, counted at the largest value of the array; else **wrong**. Others are **error** (an exception),
**crash**, **too slow**. The bound grows with the number of terms that are summed, and with the depth of the
pass.

Passes: value; gradients of the input and of the weights, for one random cotangent; second derivative (of the
gradient of the input, along one random direction); ``vmap`` over three examples of all arrays, and a ``scan``
over them, both of value and gradient. float32 is multiplied at the highest precision unless ``--precision``
says else.

Exits with 1 if anything of jaxnn's is not right.
"""

import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import catalogue, environment, journal, options, page, record, tables
from benchmarks.catalogue import Op
from benchmarks.everything import OUT
from benchmarks.journal import Journal, blank
from benchmarks.page import PASSES
from benchmarks.plan import Unit
from benchmarks.record import Row, Run
from benchmarks.worker import Crashed, Failed, TooSlow, Worker, answer, not_started

FORMS = ("jaxnn", "lax")
FLOATS = ("float32", "bfloat16", "float16", "float64")
INTEGERS = ("int32", "int8", "uint8")
#: Last places allowed for one rounded operation; the sum of n terms in any order gets so many more.
SINGLE, PER_TERM = 8, 1
#: Sums within sums: of a gradient over its forward pass, of a second derivative over both.
DEPTH = {"value": 1, "input gradient": 2, "weight gradient": 2, "second derivative": 4, "vmap": 2, "scan": 2}
#: How many examples ``vmap`` and ``scan`` go over.
MANY = 3
Function = Callable[..., list[Any]]


def passes_of(op: Op, dtype: str) -> list[str]:
    """The passes that have a meaning: integers have no gradient, and what has no weights none of them."""
    if dtype in INTEGERS:
        return ["value", "vmap", "scan"] if op.integers else []
    return [name for name in PASSES if name != "weight gradient" or len(op.shapes) > 1]


def units(dtypes: Sequence[str], passes: Sequence[str], only: list[str]) -> list[Unit]:
    """A unit per cell: both forms of an operation in a dtype and a pass."""
    return [
        Unit(("conformance", op.family, op.name, name, "top", dtype))
        for op in catalogue.select(only)
        for dtype in dtypes
        for name in passes_of(op, dtype)
        if name in passes
    ]


def allowed(op: Op, name: str) -> float:
    """Last places within which a pass is right."""
    return float(DEPTH[name] * (SINGLE + PER_TERM * op.terms))


def function(form: Callable[..., Any], name: str, floats: bool) -> Function:
    """A pass of ``form`` as a function of its arrays, of the cotangent and of a direction, to a list of
    arrays.

    For ``vmap`` and ``scan`` all arrays but the last two have a leading axis.
    """

    def value(*arrays: Any) -> list[Any]:
        *operands, _, _ = arrays
        return [form(*operands)]

    def gradients(places: Callable[[int], Sequence[int]]) -> Function:
        def both(*arrays: Any) -> list[Any]:
            *operands, cotangent, _ = arrays
            wanted = tuple(places(len(operands)))
            scalar = lambda *operands: jnp.vdot(form(*operands), cotangent)  # noqa: E731
            return list(jax.grad(scalar, wanted)(*operands))

        return both

    def second(*arrays: Any) -> list[Any]:
        *operands, cotangent, direction = arrays

        def along(*operands: Any) -> Any:
            of_input = jax.grad(lambda *operands: jnp.vdot(form(*operands), cotangent))
            return jnp.vdot(of_input(*operands), direction)

        return list(jax.grad(along, tuple(range(len(operands))))(*operands))

    def one(*arrays: Any) -> list[Any]:
        return value(*arrays) + (gradients(lambda n: [0])(*arrays) if floats else [])

    def mapped(*arrays: Any) -> list[Any]:
        *stacks, cotangent, direction = arrays
        return jax.vmap(lambda *operands: one(*operands, cotangent, direction))(*stacks)

    def scanned(*arrays: Any) -> list[Any]:
        *stacks, cotangent, direction = arrays
        return lax.scan(
            lambda _, operands: (None, one(*operands, cotangent, direction)), None, tuple(stacks)
        )[1]

    return {
        "value": value,
        "input gradient": gradients(lambda n: [0]),
        "weight gradient": gradients(lambda n: range(1, n)),
        "second derivative": second,
        "vmap": mapped,
        "scan": scanned,
    }[name]


def draw(op: Op, dtype: str) -> list[np.ndarray]:
    """Operands, cotangent and direction, in float64 (or int64) with values that ``dtype`` holds; always the
    same.
    """
    rng = np.random.default_rng(zlib.crc32(op.name.encode()))
    out = jax.eval_shape(
        op.ours, *(jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape in op.shapes)
    ).shape
    if dtype in INTEGERS:
        return [rng.integers(0, 100, shape) for shape in (*op.shapes, out, op.shapes[0])]
    arrays = [rng.standard_normal(shape) for shape in (*op.shapes, out, op.shapes[0])]
    for i in op.positive:
        arrays[i] = 0.5 + np.abs(arrays[i])
    return [array.astype(jnp.dtype(dtype)).astype(np.float64) for array in arrays]


def stacked(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The operands, and the same reversed along their last axis, and reversed along their first."""
    *operands, cotangent, direction = arrays
    many = [np.stack([array, array[..., ::-1], array[::-1]][:MANY]) for array in operands]
    return [*many, cotangent, direction]


@cache
def compiled_answer(op: Op, name: str, floats: bool, shapes: tuple[catalogue.Shape, ...]) -> Any:
    """The pass of the right answer, compiled once for all dtypes, since it is always in 64 bits."""
    types = [jax.ShapeDtypeStruct(shape, float if floats else int) for shape in shapes]
    lowered = jax.jit(function(op.answer, name, floats)).lower(*types)
    # It runs once or twice, so compiling it well would take longer than it saves.
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 0})


def answered(op: Op, name: str, dtype: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The right answer of a pass other than ``vmap`` and ``scan``, on the CPU in 64 bits."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        compiled = compiled_answer(op, name, dtype not in INTEGERS, tuple(array.shape for array in arrays))
        return [np.asarray(array) for array in compiled(*map(jnp.asarray, arrays))]


@lru_cache(maxsize=8)
def expected(op: Op, name: str, dtype: str) -> list[np.ndarray]:
    """The right answers of a pass."""
    arrays = draw(op, dtype)
    if name not in ("vmap", "scan"):
        return answered(op, name, dtype, arrays)
    *stacks, cotangent, direction = stacked(arrays)
    names = ["value", "input gradient"] if dtype not in INTEGERS else ["value"]
    each = []
    for i in range(MANY):  # one example after the other
        example = [*(stack[i] for stack in stacks), cotangent, direction]
        each.append([array for one in names for array in answered(op, one, dtype, example)])
    return [np.stack(parts) for parts in zip(*each, strict=True)]


def ulps(found: np.ndarray, right: np.ndarray, dtype: str) -> float:
    """The largest error in units of the last place of ``dtype`` at the largest right value; of integers, the
    error.

    >>> ulps(np.array([8.0, 1.0 + 2**-20]), np.array([8.0, 1.0]), "float32")
    1.0
    """
    if not np.isfinite(found).all():
        return float("inf")
    error = float(np.max(np.abs(found - right), initial=0.0))
    if dtype in INTEGERS or error == 0:
        return error
    largest = float(np.max(np.abs(right), initial=0.0))
    info = jnp.finfo(dtype)
    place = max(2.0 ** np.floor(np.log2(largest)) if largest else 0.0, float(info.tiny)) * float(info.eps)
    return float(error / place)


def cell(op: str, name: str, dtype: str, form: str, precision: str) -> dict[str, Any]:
    """The row of one form of one operation in one dtype and pass."""
    (found,) = (each for each in catalogue.OPS if each.name == op)
    bound = allowed(found, name) if dtype in FLOATS else 0.0
    row = Row("conformance", found.family, op, form, name, "top", dtype, tolerance=bound)
    compute = found.ours if form == "jaxnn" else found.lax
    if compute is None:
        return record.as_dict(replace(row, status="unsupported", note="JAX alone has no such form"))
    right = expected(found, name, dtype)
    arrays = draw(found, dtype)
    arrays = stacked(arrays) if name in ("vmap", "scan") else arrays
    settings = None if precision == "default" else precision
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision(settings):
        given = [jnp.asarray(array, dtype) for array in arrays]
        got = jax.jit(function(compute, name, dtype not in INTEGERS))(*given)
        results = [np.asarray(array) for array in got]
    for result, exact in zip(results, right, strict=True):
        if result.shape != exact.shape or result.dtype != jnp.dtype(dtype):
            wanted = f"{jnp.dtype(dtype)}{list(exact.shape)}"
            note = f"{result.dtype}{list(result.shape)} instead of {wanted}"
            return record.as_dict(replace(row, status="wrong", note=note))
    error = max(ulps(np.asarray(r, np.float64), a, dtype) for r, a in zip(results, right, strict=True))
    if not np.isfinite(error):
        return record.as_dict(replace(row, status="wrong", note="a value is not finite"))
    status = "right" if error <= (row.tolerance or 0.0) else "wrong"
    return record.as_dict(replace(row, status=status, error=error))


def measured_by(ask: Callable[..., Any], precision: str) -> journal.Measure:
    """The rows of a cell, each form asked for on its own."""

    def measure(unit: Unit) -> list[Row]:
        _, _, op, name, _, dtype = unit.group
        rows = []
        for form in FORMS:
            try:
                rows.append(Row(**ask(op=op, name=name, dtype=dtype, form=form, precision=precision)))
            except (Crashed, TooSlow, Failed) as reason:
                status = {Crashed: "crashed", TooSlow: "too slow", Failed: "failed"}[type(reason)]
                rows.append(blank(unit, form, status, str(reason)))
        return rows

    return measure


def here(**arguments: Any) -> Any:
    """A cell in this process."""
    found = answer({"call": "conformance:cell", "with": arguments})
    if "raised" in found:
        raise Failed(found["raised"])
    return found["returned"]


def table(rows: Sequence[Row]) -> str:
    """A line per operation, dtype and form, a column per pass: the last places by which it errs, or what
    happened.
    """
    names = [name for name in PASSES if any(row.mode == name for row in rows)]
    lines = []
    for (op, dtype), members in groupby(rows, key=lambda row: (row.case, row.dtype)):
        found = {(row.contender, row.mode): row for row in members}
        for form in FORMS:
            cells = [page.verdict(found[form, name]) if (form, name) in found else "" for name in names]
            lines.append([op, dtype, form, *cells])
    return tables.markdown(["operation", "dtype", "form", *names], lines)


def shares(rows: Sequence[Row]) -> str:
    """By dtype and form, a column per pass: how many of the operations that have it are right."""
    names = [name for name in PASSES if any(row.mode == name for row in rows)]
    lines = []
    for dtype in dict.fromkeys(row.dtype for row in rows):
        for form in FORMS:
            mine = [row for row in rows if (row.dtype, row.contender) == (dtype, form)]
            tried = Counter(row.mode for row in mine if row.status != "unsupported")
            right = Counter(row.mode for row in mine if row.status == "right")
            cells = [f"{right[name]} of {tried[name]}" if tried[name] else "–" for name in names]
            lines.append([dtype, form, *cells])
    return tables.markdown(["dtype", "form", *names], lines)


def counts(rows: Sequence[Row]) -> str:
    """How much of each form is right, and what is not, with its reason."""
    text = []
    for form in FORMS:
        mine = [row for row in rows if row.contender == form and row.status != "unsupported"]
        right = sum(row.status == "right" for row in mine)
        text.append(f"{form}: {right} of {len(mine)} right")
        for row in mine:
            if row.status != "right":
                why = row.note or f"{row.error:.3g} last places, {row.tolerance:.0f} are allowed"
                text.append(f"  {page.verdict(row)}: {row.case}, {row.mode}, {row.dtype}: {why}")
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = options.bare(__doc__)
    parser.prog = "python -m benchmarks.conformance"
    parser.add_argument(
        "--dtype", nargs="+", choices=(*FLOATS, *INTEGERS), default=["float32", "bfloat16", "int32"]
    )
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument(
        "--precision", choices=("default", "high", "highest"), default="highest",
        help="of products of float32 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--platform", help="a PJRT platform (default: JAX's choice)")
    parser.add_argument(
        "--timeout", type=options.duration, default=60.0,
        help="seconds for a cell, compilation included; more is too slow (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=options.duration, default=float("inf"), help="the budget (default: none)"
    )
    parser.add_argument("--here", action="store_true", help="in this process, which a crash ends")
    parser.add_argument("--fresh", action="store_true", help="begin anew beside an unfinished run")
    parser.set_defaults(out=OUT)
    given = parser.parse_args(arguments)
    todo = units(given.dtype, given.passes, given.only)
    if not todo:
        parser.error(f"--only: no operation in these dtypes has one of {given.only}")
    start = time.monotonic()
    run = _here(given, todo, start) if given.here else _apart(given, todo, start)
    print(f"\n{table(run.rows)}\n\n{counts(run.rows)}")
    ours = [row for row in run.rows if row.contender == FORMS[0]]
    return int(any(row.status in record.BAD for row in ours))


def _here(given: Any, todo: Sequence[Unit], start: float) -> Run:
    environment.select(given.platform)
    return _measured(given, todo, environment.describe(), measured_by(here, given.precision), start)


def _apart(given: Any, todo: Sequence[Unit], start: float) -> Run:
    with Worker(given.platform) as worker:
        try:
            found = worker.ask("environment:describe", timeout=600)
        except (Failed, Crashed) as error:
            raise SystemExit(not_started(error)) from error
        ask = partial(worker.ask, "conformance:cell", timeout=given.timeout)
        return _measured(given, todo, found, measured_by(ask, given.precision), start)


def _measured(
    given: Any, todo: Sequence[Unit], found: dict[str, Any], measure: journal.Measure, start: float
) -> Run:
    found = {**found, "command": environment.command(), "options": environment.stated(vars(given))}
    print(environment.heading(found))
    into = journal.opened("conformance", given.out, found, fresh=given.fresh)
    into = into or Journal(
        Run("conformance", found, progress={"planned": len(todo), "done": []}), Path(given.out)
    )
    budget = 60 * given.minutes - (time.monotonic() - start)
    journal.carried_out(todo, into, measure, line, seconds=budget, entrants=FORMS)
    return into.run


def line(unit: Unit, rows: Sequence[Row]) -> str:
    """What was found in one cell, in one line."""
    shown = ", ".join(f"{row.contender} {page.verdict(row)}" for row in rows)
    _, _, op, name, _, dtype = unit.group
    return f"{op} · {name} · {dtype}: {shown}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
