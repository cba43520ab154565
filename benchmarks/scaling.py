"""The work of one device of many in a training step, counted from the compiled program.

python -m benchmarks.scaling                    writes results/scaling.md; a minute or two
python -m benchmarks.scaling --devices 1 2      fewer devices

A few cores that play eight devices can show no speed-up, but the program that each device would run says what
it has to do: floating-point operations, bytes that its operations read and write, bytes that it gets from
others, bytes that it keeps between steps. Strong scaling: the same batch on more devices; ideally the
operations fall as 1/n. Weak scaling: a batch that grows with the devices; ideally they stay.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxnn as nn
from benchmarks import environment, record
from jaxnn.distribution import Sharding, collectives, fully_sharded, mesh, replicated

OPTIMIZER = optax.sgd(0.01, momentum=0.9)
LOSS = optax.softmax_cross_entropy_with_integer_labels
#: By name, a net and the shape of an example.
NETS: dict[str, tuple[nn.Layer, tuple[int, ...]]] = {
    "MLP 256-512-512-10": (
        nn.serial(nn.dense(512), nn.relu, nn.dense(512), nn.relu, head=nn.dense(10)), (256,),
    ),
    "CNN 16-32 with batch norm, 16×16×3": (
        nn.serial(
            nn.conv(16, 3, padding="SAME", bias=False), nn.batch_norm(), nn.relu, nn.max_pool(2),
            nn.conv(32, 3, padding="SAME", bias=False), nn.batch_norm(), nn.relu, nn.max_pool(2),
            nn.flatten, head=nn.dense(10),
        ), (16, 16, 3),
    ),
}  # fmt: skip
RULES = {"replicated": replicated, "fully sharded": lambda mesh: fully_sharded(mesh, smallest=1024)}
#: Rows of the whole batch, and rows per device.
STRONG, WEAK = 64, 16


class Work(NamedTuple):
    """What one device does in a step; bytes but for the first."""

    flops: float
    accessed: float
    sent: int
    held: int


@cache
def over(rule: str, devices: int) -> Sharding:
    """The rule over so many devices."""
    return RULES[rule](mesh(devices=jax.devices()[:devices]))


@cache
def work(name: str, sharding: Sharding, rows: int) -> Work:
    """That of the compiled step of a net for a batch of so many rows. Nothing is computed."""
    net, shape = NETS[name]
    x = jax.ShapeDtypeStruct((rows, *shape), np.float32, sharding=sharding.rows)
    y = jax.ShapeDtypeStruct((rows,), np.int32, sharding=sharding.rows)
    fresh = jax.eval_shape(lambda: nn.init_state(net, OPTIMIZER, jax.random.key(0), (1, *shape)))
    shardings = sharding.of(fresh)
    state = jax.tree.map(
        lambda leaf, one: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one), fresh, shardings
    )
    step: Any = nn.make_step(net, OPTIMIZER, LOSS, sharding=sharding)
    # Only LLVM's part of the compiler is told to hurry: what is counted is XLA's own program.
    compiled = step.lower(state, x, y).compile(compiler_options={"xla_backend_optimization_level": 0})
    cost = compiled.cost_analysis()
    kept = zip(*(jax.tree.leaves((tree.params, tree.opt_state)) for tree in (fresh, shardings)), strict=True)
    return Work(
        flops=cost["flops"],
        accessed=cost["bytes accessed"],
        sent=sum(one.bytes for one in collectives(compiled)),
        held=sum(prod(one.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, one in kept),
    )


def table(names: Iterable[str], rules: Iterable[str], devices: Sequence[int]) -> str:
    """Markdown: a row per net, rule, kind of scaling and number of devices."""
    lines = [
        "| net | rule | scaling | devices | batch | MFLOP | MB accessed | kB sent | kB held | ideal ÷ real |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        for rule in rules:
            for scaling in ("strong", "weak"):
                first: Work | None = None
                for count in devices:
                    rows = STRONG if scaling == "strong" else WEAK * count
                    found = work(name, over(rule, count), rows)
                    first = found if first is None else first
                    share = (1 if scaling == "weak" else devices[0] / count) * first.flops / found.flops
                    lines.append(
                        f"| {name} | {rule} | {scaling} | {count} | {rows} | {found.flops / 1e6:,.2f} | "
                        f"{found.accessed / 1e6:,.2f} | {found.sent / 1e3:,.1f} | {found.held / 1e3:,.1f} | "
                        f"{share:.0%} |"
                    )
    return "\n".join(lines)


def page(shown: str, command: str) -> str:
    """The table with its conditions."""
    return (
        "# The work of one device of many\n\nPer device and training step, counted from the program that XLA "
        "compiled for CPUs; *sent* is what a device\ngets in collective operations, *held* its part of the "
        "weights and of the optimiser's state. The\nlast column is of operations; ideally n devices "
        "do 1/n each (strong), or as many as one (weak).\n\n"
        f"`{command}`, JAX {jax.__version__}, float32, SGD with momentum.\n\n{shown}\n"
    )


def main(arguments: Sequence[str] | None = None) -> str:
    """The program; gives the page that it has written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="nets whose name contains one")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES, metavar="RULE")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the folder of scaling.md")
    given = parser.parse_args(arguments)
    names = [name for name in NETS if not given.only or any(word in name for word in given.only)]
    words = environment.without_out(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "-m", "benchmarks.scaling", *words])
    text = page(table(names, given.rules, given.devices), command)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "scaling.md").write_text(text)
    print(text)
    return text


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main()
