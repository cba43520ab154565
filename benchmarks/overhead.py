"""Times what stands around the arithmetic: importing, making a net, tracing, compiling, calling.

python -m benchmarks.overhead                          nets of 10, 100 and 1000 layers; many minutes
python -m benchmarks.overhead --depth 10 100           a minute or two

``deep`` nets are dense layers of width 8 with ReLU in a row, ``wide`` ones as many dense layers of the same
input, summed. Import is measured in fresh processes, beyond what ``import jax`` takes. Tracing and compiling
are those of the gradient of a loss, with all caches emptied. A call is one of the compiled net on one
example, as each library's documentation writes it (``nnx.jit``, ``filter_jit``, ``jit``).
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from benchmarks import contenders, environment, options, record, specs, tables, timing
from benchmarks.contenders import Contender
from benchmarks.contenders.jax_programs import rounded
from benchmarks.record import Row
from benchmarks.specs import Dense, Function, Spec, Sum, serial

WIDTH = 8
MODES = ("import", "init", "trace", "compile", "call")
IMPORT = "import time, jax; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"


def nets(depth: int) -> dict[str, Spec]:
    """A deep and a wide net of so many dense layers."""
    layer = Dense(WIDTH)
    return {
        "deep": serial(*[layer, Function("relu")] * depth),
        "wide": serial(Sum((layer,) * depth)),
    }


def measure(
    entrants: Sequence[Contender],
    *,
    depths: Sequence[int],
    modes: Sequence[str] = MODES,
    rounds: int = 5,
) -> Iterator[list[Row]]:
    """The rows of one measurement after the other."""
    if "import" in modes:
        importable = [e for e in libraries(entrants) if e.library.package != "jax"]
        clocks = {e.name: lambda e=e: import_time(e.library.package) for e in importable}
        yield timed(Row("overhead", "import", "beyond import jax", "", "import"), clocks, rounds)
    for depth in depths:
        for kind, spec in nets(depth).items():
            for mode in modes:
                if mode != "import":
                    template = Row("overhead", kind, f"{depth} dense layers", "", mode)
                    yield timed(template, dict(prepared(entrants, mode, kind, spec, depth)), rounds)


def libraries(entrants: Sequence[Contender]) -> list[Contender]:
    """The JAX libraries, each once."""
    return [e for e in entrants if e.library is not None and e.name != "flax + jaxnn conv"]


def prepared(
    entrants: Sequence[Contender], mode: str, kind: str, spec: Spec, depth: int
) -> Iterator[tuple[str, Callable[[], float]]]:
    """A clock for each contender; where jaxnn takes part, its ``repeat`` does too."""
    for entrant in libraries(entrants):
        if mode == "init" and entrant.name == "lax":  # it has no initialisers of its own
            continue
        if mode in ("trace", "compile"):
            model = entrant.library.build(spec, (1, WIDTH), jnp.dtype("float32"))
            weights = specs.draw_weights(spec, (1, WIDTH), np.random.default_rng(0))
            apply = lambda weights, x, model=model: model.apply(weights, model.state, x, jax.random.key(0))[0]  # noqa: E731
            yield entrant.name, clock(mode, apply, model.pack(rounded(weights, "float32")))
        else:
            yield entrant.name, user_clock(mode, lambda e=entrant: e.library.prepare(spec, (1, WIDTH)))
    if kind == "deep" and any(entrant.name == "jaxnn" for entrant in entrants):
        net = nn.repeat(nn.serial(nn.dense(WIDTH), nn.relu), depth)
        if mode in ("trace", "compile"):
            params = net.init(jax.random.key(0), (1, WIDTH))
            yield "jaxnn repeat", clock(mode, net.apply, params)
        else:
            yield "jaxnn repeat", user_clock(mode, lambda: _repeated(net))


def _repeated(net: nn.Layer) -> Callable[[Any], Any]:
    params = net.init(jax.random.key(0), (1, WIDTH))
    apply = jax.jit(net.apply)
    return lambda x: apply(params, x)


def clock(mode: str, apply: Callable[[Any, Any], Any], weights: Any) -> Callable[[], float]:
    """Seconds to trace (or to lower and compile) the gradient of a loss, everything cold."""

    def loss(weights: Any, x: Any) -> Any:
        return jnp.square(apply(weights, x)).mean()

    def measured() -> float:
        jax.clear_caches()
        x = jnp.ones((1, WIDTH))
        start = time.perf_counter()
        traced = jax.jit(jax.grad(loss)).trace(weights, x)
        if mode == "compile":
            start = time.perf_counter()
            traced.lower().compile()
        return time.perf_counter() - start

    return measured


def user_clock(mode: str, prepare: Callable[[], Callable[[Any], Any]]) -> Callable[[], float]:
    """Seconds to make a net, or of a call of its compiled form."""
    if mode == "init":

        def measured() -> float:
            start = time.perf_counter()
            prepare()
            return time.perf_counter() - start

        return measured
    call, x = prepare(), jnp.ones((1, WIDTH))

    def one() -> Any:
        return jax.block_until_ready(call(x))

    about = timing.settled(one)
    return lambda: timing.one_sample(one, about)


def import_time(package: str) -> float:
    """Seconds of ``import package`` in a fresh process that has imported jax."""
    command = [sys.executable, "-c", IMPORT.format(package=package)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def timed(template: Row, clocks: dict[str, Callable[[], float]], rounds: int) -> list[Row]:
    """A row for each clock, after one round that does not count."""
    for measured in clocks.values():
        measured()
    samples = timing.alternate_clocks(clocks, rounds=rounds)
    rows = []
    for name, sample in samples.items():
        q1, median, q3 = sample.quartiles()
        row = replace(template, contender=name, n=sample.n, q1=q1, median=median, q3=q3)
        if "jaxnn" in samples:
            low, middle, high = timing.ratio(sample, samples["jaxnn"])
            row = replace(row, ratio_q1=low, ratio=middle, ratio_q3=high)
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> record.Run:
    """The program; gives what it wrote."""
    parser = options.parser(__doc__, repeats=5)
    parser.add_argument("--depth", nargs="+", type=options.positive, default=[10, 100, 1000])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    given = parser.parse_args(arguments)
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    entrants = contenders.find(given.contenders)
    groups = measure(entrants, depths=given.depth, modes=given.mode, rounds=given.repeats)
    return tables.shown_and_saved("overhead", conditions, {}, groups, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
