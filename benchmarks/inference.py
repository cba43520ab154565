"""Inference of nets of the zoo as they are, and with batch norm folded into the layers before it.

    python -m benchmarks.inference

prints a table: the time of one compiled call of each, and their ratio, above 1 where folding is faster.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from benchmarks import options, timing

Net = tuple[Callable[[], nn.Layer], tuple[int, ...]]
#: By size: a net and the shape of its input.
NETS: dict[str, dict[str, Net]] = {
    "tiny": {"ResNet": (lambda: nn.models.resnet((1,), 3, width=4), (2, 8, 8, 3))},
    "real": {
        "ResNet-18": (nn.models.resnet18, (4, 64, 64, 3)),
        "MobileNetV2": (nn.models.mobilenet_v2, (4, 64, 64, 3)),
        "VGG-11": (lambda: nn.models.vgg11_bn(hidden=64), (4, 64, 64, 3)),
        "DCGAN generator": (lambda: nn.models.dcgan_generator(width=32), (16, 100)),
    },
}


def main(arguments: Sequence[str] | None = None) -> list[str]:
    """The program; gives the rows that it prints."""
    parser = options.parser(__doc__)
    parser.add_argument("--shapes", choices=list(NETS), default="real")
    given = parser.parse_args(arguments)
    words = [word.lower() for word in given.only]
    rows = ["| net | as it is, ms | folded, ms | as it is ÷ folded |", "|---|---:|---:|---:|"]
    for name, net in NETS[given.shapes].items():
        if words and not any(word in name.lower() for word in words):
            continue
        rows.append(_row(name, *net, rounds=given.repeats, seconds=given.seconds))
    print("\n".join(rows))
    return rows


def _row(
    name: str, make: Callable[[], nn.Layer], shape: tuple[int, ...], *, rounds: int, seconds: float
) -> str:
    net, x = make(), jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    params = net.init(jax.random.key(0), x)
    calls = {"plain": _call(net, params, x)}
    calls["folded"] = _call(*nn.fold_batch_norm(net, params, shape), x)
    samples = timing.alternate(calls, rounds=rounds, seconds=seconds)
    q1, median, q3 = timing.ratio(samples["plain"], samples["folded"])
    times = " | ".join(f"{1000 * samples[kind].quartiles()[1]:.2f}" for kind in calls)
    return f"| {name}, {'×'.join(map(str, shape))} | {times} | {median:.2f} ({q1:.2f} to {q3:.2f}) |"


def _call(net: nn.Layer, params: nn.Params, x: Any) -> Callable[[], Any]:
    compiled = jax.jit(net.apply).lower(params, x).compile()

    def call() -> Any:
        return jax.block_until_ready(compiled(params, x))

    call()
    return call


if __name__ == "__main__":
    main(sys.argv[1:])
