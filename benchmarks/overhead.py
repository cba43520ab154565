"""Times what stands around the arithmetic: importing, making a net, tracing, compiling, calling.

python -m benchmarks.overhead                          nets of 10, 100 and 1000 layers; many minutes
python -m benchmarks.overhead --depth 10 100           a few minutes

``deep`` nets are dense layers of width 8 with ReLU in a row, ``wide`` ones as many dense layers of the same
input, summed; ``--nets small`` adds the ResNet and the U-Net of ``benchmarks.training``, a user's first nets;
``--layers`` adds single layers whose forms for CPUs take long to compile, and an ensemble of small nets as
one program: of these only tracing, lowering and compiling are measured.

Import is measured in fresh processes, beyond what ``import jax`` takes. Tracing, lowering and compiling are
those of the gradient of a loss in training mode, with all caches emptied; they and init are in seconds of
processor time, summed over all threads. A call is one of the compiled net, as each library's documentation
writes it (``nnx.jit``, ``filter_jit``, ``jit``), in wall-clock seconds.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from benchmarks import contenders, environment, nets, options, record, specs, tables, timing
from benchmarks.contenders import Contender
from benchmarks.contenders.jax_programs import rounded
from benchmarks.contenders.model import Model
from benchmarks.record import Row
from benchmarks.specs import Conv, ConvTranspose, Dense, Function, Pool, Recurrent, Spec, Sum, serial

WIDTH = 8
STAGES = ("trace", "lower", "compile")
MODES = ("import", "init", "trace", "lower", "compile", "call")
IMPORT = "import time, jax; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"


@dataclass(frozen=True)
class Case:
    """A net to make and to compile; with a ``depth`` if it is one layer and ReLU repeated.

    Attributes:
      copies: how many nets of different weights run side by side under ``vmap``; 0 for one without it.
      inputs: whether the gradient is taken in x too, as in the middle of a net.
      modes: what is measured of it.
    """

    family: str
    title: str
    spec: Spec
    shape: specs.Shape
    depth: int = 0
    copies: int = 0
    inputs: bool = False
    modes: Sequence[str] = MODES


def dense(depth: int) -> list[Case]:
    """A deep and a wide net of ``depth`` dense layers."""
    layer, title = Dense(WIDTH), f"{depth} dense layers"
    return [
        Case("deep", title, serial(*[layer, Function("relu")] * depth), (1, WIDTH), depth),
        Case("wide", title, serial(Sum((layer,) * depth)), (1, WIDTH)),
    ]


def convolutional(size: nets.Size) -> list[Case]:
    """The ResNet and the U-Net of that size."""
    chosen = nets.select(size, ["resnet", "u-net"])
    return [Case(net.name, net.title, net.spec, net.shape) for net in chosen]


def layers() -> list[Case]:
    """Single layers, and an ensemble of small convolutional nets."""
    large, small = (32, 32, 32, 64), (4, 16, 16, 16)
    of = partial(Conv, 3, padding=1)
    single: list[tuple[str, Spec, specs.Shape]] = [
        ("conv 3×3 64 → 64", of(features=64), large),
        ("conv 3×3 8 → 8", of(features=8), (8, 16, 16, 8)),
        ("depthwise 3×3 64", of(features=64, groups=64), large),
        ("depthwise 3×3 16", of(features=16, groups=16), small),
        ("depthwise 5×5 s2 16", Conv(5, 2, 2, features=16, groups=16), small),
        ("grouped 3×3 64, 4 groups", of(features=64, groups=4), large),
        ("grouped 3×3 64, 32 groups", of(features=64, groups=32), large),
        ("transposed 4×4 s2 16 → 8", ConvTranspose(4, 2, 1, features=8), small),
        ("max pool 2×2 16", Pool(2, 2), small),
        ("LSTM 64", Recurrent("lstm", 64), (16, 32, 64)),
        ("GRU 64", Recurrent("gru", 64), (16, 32, 64)),
    ]
    cases = [Case("layer", title, spec, shape, inputs=True, modes=STAGES) for title, spec, shape in single]
    many, shape = nets.cnn(4), (8, 14, 14, 1)
    return [*cases, Case("ensemble", "8 small CNNs", many, shape, copies=8, modes=STAGES)]


def measure(
    entrants: Sequence[Contender],
    cases: Sequence[Case],
    *,
    modes: Sequence[str] = MODES,
    rounds: int = 5,
) -> Iterator[list[Row]]:
    """The rows of one measurement after the other."""
    if "import" in modes:
        importable = [e for e in libraries(entrants) if e.library.package != "jax"]
        clocks = {e.name: lambda e=e: import_time(e.library.package) for e in importable}
        yield timed(Row("overhead", "import", "beyond import jax", "", "import"), clocks, rounds)
    for case in cases:
        for mode in modes:
            if mode != "import" and mode in case.modes:
                template = Row("overhead", case.family, case.title, "", mode)
                yield timed(template, dict(prepared(entrants, mode, case)), rounds)


def libraries(entrants: Sequence[Contender]) -> list[Contender]:
    """The JAX libraries, each once."""
    return [e for e in entrants if e.library is not None and e.name != "flax + jaxnn conv"]


def prepared(
    entrants: Sequence[Contender], mode: str, case: Case
) -> Iterator[tuple[str, Callable[[], float]]]:
    """A clock for each contender; of a deep net, for jaxnn's ``repeat`` too."""
    spec, shape = case.spec, case.shape
    for entrant in libraries(entrants):
        if mode == "init" and entrant.name == "lax":  # it has no initialisers of its own
            continue
        model = entrant.library.build(spec, shape, jnp.dtype("float32"))
        x = model.image(jnp.ones(shape))
        if mode in STAGES:
            weights = specs.draw_weights(spec, shape, np.random.default_rng(0))
            packed = model.pack(rounded(weights, "float32"))
            apply, packed = many_nets(model, packed, case.copies)
            yield entrant.name, stage_clock(mode, apply, packed, x, (0, 1) if case.inputs else (0,))
        else:
            yield entrant.name, user_clock(mode, lambda e=entrant: e.library.prepare(spec, shape), x)
    if case.depth and any(entrant.name == "jaxnn" for entrant in entrants):
        net = nn.repeat(nn.serial(nn.dense(WIDTH), nn.relu), case.depth)
        if mode in STAGES:
            params = net.init(jax.random.key(0), shape)
            yield "jaxnn repeat", stage_clock(mode, net.apply, params, jnp.ones(shape))
        else:
            yield "jaxnn repeat", user_clock(mode, lambda: _repeated(net, shape), jnp.ones(shape))


def many_nets(model: Model, weights: Any, copies: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """A net as a function of weights and x, and its weights; or ``copies`` of it side by side."""

    def apply(weights: Any, x: Any) -> Any:
        return model.apply(weights, model.state, x, jax.random.key(0))[0]

    if not copies:
        return apply, weights
    return jax.vmap(apply, (0, None)), jax.tree.map(lambda a: jnp.stack([a] * copies), weights)


def _repeated(net: nn.Layer, shape: specs.Shape) -> Callable[[Any], Any]:
    params = net.init(jax.random.key(0), shape)
    apply = jax.jit(net.apply)
    return lambda x: apply(params, x)


def stage_clock(
    mode: str,
    apply: Callable[[Any, Any], Any],
    weights: Any,
    x: jax.Array,
    operands: tuple[int, ...] = (0,),
) -> Callable[[], float]:
    """Processor seconds of one stage of jit, of the gradient of a loss in these operands, everything cold."""

    def loss(weights: Any, x: Any) -> Any:
        return jnp.square(apply(weights, x)).mean()

    def measured() -> float:
        jax.clear_caches()
        times = [time.process_time()]
        traced = jax.jit(jax.grad(loss, operands)).trace(weights, x)
        times.append(time.process_time())
        if mode != "trace":
            lowered = traced.lower()
            times.append(time.process_time())
        if mode == "compile":
            lowered.compile()
            times.append(time.process_time())
        return times[-1] - times[-2]

    return measured


def user_clock(mode: str, prepare: Callable[[], Callable[[Any], Any]], x: jax.Array) -> Callable[[], float]:
    """Processor seconds to make a net, or seconds of a call of its compiled form."""
    if mode == "init":

        def measured() -> float:
            start = time.process_time()
            prepare()
            return time.process_time() - start

        return measured
    call = prepare()

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
    """The program; returns what it wrote."""
    parser = options.parser(__doc__, repeats=5)
    parser.add_argument("--depth", nargs="*", type=options.positive, default=[10, 100, 1000])
    parser.add_argument("--nets", choices=tuple(nets.MADE), help="the ResNet and the U-Net of that size too")
    parser.add_argument("--layers", action="store_true", help="single layers and an ensemble too")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    given = parser.parse_args(arguments)
    conditions = environment.describe(**vars(given))
    print(environment.heading(conditions))
    entrants = contenders.find(given.contenders)
    cases = [case for depth in given.depth for case in dense(depth)]
    cases += convolutional(given.nets) if given.nets else []
    cases += layers() if given.layers else []
    groups = measure(entrants, cases, modes=given.mode, rounds=given.repeats)
    return tables.shown_and_saved("overhead", conditions, {}, groups, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
