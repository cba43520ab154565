"""The measured rates of the hardware, minutes before the rest: the largest rates of two plain programs."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import environment

#: A measurement grows until one call takes so long.
LONG_ENOUGH = 0.02
#: What is measured of a machine: the dtypes in which the hardware may multiply at different rates.
DTYPES = ("float32", "bfloat16", "float16", "int8")


def of(dtypes: Sequence[str], shapes: str) -> dict[str, dict[str, float]]:
    """``measure`` for each dtype; where the shapes are only ``tiny``, with small arrays too."""
    return {dtype: measure(dtype, largest=256 if shapes == "tiny" else 8192) for dtype in dtypes}


def everything(shapes: str) -> dict[str, dict[str, float]]:
    """``of`` for each of ``DTYPES`` that the platform can multiply, and the seconds of an empty call.

    On an accelerator float32 is measured at the highest precision too, since by default it may multiply in
    fewer bits (TF32, or passes of bfloat16).
    """
    found = {}
    for dtype in DTYPES:
        try:
            found |= of([dtype], shapes)
        except Exception:  # no product of this dtype on this platform
            continue
    if environment.accelerator():
        with jax.default_matmul_precision("highest"):
            found["float32, highest precision"] = of(["float32"], shapes)["float32"]
    return found | {"dispatch": {"seconds": dispatch()}}


def dispatch() -> float:
    """Seconds of a call of a compiled program that has nothing to do, the best of several means of 100."""
    call, x = jax.jit(lambda x: x + 1), jnp.zeros(())

    def hundred() -> Any:
        for _ in range(100):
            jax.block_until_ready(call(x))

    return _best(hundred) / 100


def measure(dtype: str, *, largest: int = 8192) -> dict[str, float]:
    """Operations per second of a matrix product; bytes per second read and written by an in-place copy."""
    return {"flops": matmul_rate(dtype, largest), "bytes": copy_rate(dtype, largest)}


def matmul_rate(dtype: str, largest: int) -> float:
    """2n³ operations over the best time of an n × n product."""
    product = jax.jit(jnp.matmul)
    n = min(256, largest)
    while True:
        a = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
        seconds = _best(lambda a=a: product(a, a))
        if seconds > LONG_ENOUGH or 2 * n > largest:
            return 2 * n**3 / seconds
        n *= 2


def copy_rate(dtype: str, largest: int) -> float:
    """Bytes read and written over the best time of x + 1 in x's own memory: no page is new."""
    n = 4 * min(largest, 4096) ** 2 // jnp.dtype(dtype).itemsize
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.ones(n, dtype)

    def call() -> Any:
        nonlocal x
        x = add(x)
        return x

    return 2 * x.nbytes / _best(call)


def _best(call: Callable[[], Any], times: int = 7) -> float:
    jax.block_until_ready(call())
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        jax.block_until_ready(call())
        best = min(best, time.perf_counter() - start)
    return best


def text(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line per limit."""
    return [
        f"{name}: {1e6 * rates['seconds']:.1f} µs per empty call" if name == "dispatch"
        else f"{name}: product {rates['flops'] / 1e9:,.0f} GFLOP/s, copy {rates['bytes'] / 1e9:,.1f} GB/s"
        for name, rates in found.items()
    ]  # fmt: skip


def share(seconds: float, flops: int, size: int, limits: Mapping[str, float]) -> float:
    """The time that the hardware would need at the rates measured, over the time it took."""
    return max(flops / limits["flops"], size / limits["bytes"]) / seconds
