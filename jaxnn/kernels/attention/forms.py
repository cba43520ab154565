"""The forms of attention and its derivatives, by platform and pass."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax

from jaxnn.kernels.attention import blocked, plain
from jaxnn.kernels.attention.independent import guarded
from jaxnn.kernels.attention.problem import Problem
from jaxnn.kernels.choice import Form
from jaxnn.kernels.lowering.primitive import DEFAULT

#: From how many scores per example and head on blocks are taken on a CPU. Measured on 2 AVX-512 cores,
#: float32, 8 heads of 64 features: from 128 × 128 on, with the gradient, the plain form takes longer.
FEWEST_ON_CPU = 1 << 14
#: The same on other platforms, where a plain product is fast and only memory limits it.
FEWEST_ELSEWHERE = 1 << 24

#: By pass: the operands that are multiplied by weights of 0, counted from the front or from the end, with the
#: lengths past which they don't count.
_QKV = ((0, "lengths"), (1, "key_lengths"), (2, "key_lengths"))


def _tested(p: Problem, name: str) -> Sequence[tuple[int, str | None]]:
    first = 3 + len(p.settings.extras) + 2
    if name == "tangent":
        return (*_QKV, (first, "lengths"), (first + 1, "key_lengths"), (first + 2, "key_lengths"))
    return (*_QKV, (first, "lengths")) if name == "gradient" else _QKV


def _guarded(name: str, fast: Callable[..., Any], exact: Callable[..., Any]) -> Callable[..., Any]:
    def compute(p: Problem, *operands: jax.Array) -> Any:
        statistics = (1,) if name == "forward" else ()
        return guarded(p, fast, partial(exact, exact=True), operands, _tested(p, name), statistics)

    return compute


def _many(fewest: int, p: Problem) -> bool:
    return isinstance(p.scores, int) and p.scores >= fewest


_PASSES = {
    "forward": (plain.forward, blocked.forward),
    "tangent": (plain.tangent, blocked.tangent),
    "gradient": (plain.gradient, blocked.gradient),
}


def _list(name: str, fewest: int) -> Sequence[Form]:
    at_once, in_blocks = _PASSES[name]
    return (
        Form(
            "blocked",
            _guarded(name, in_blocks, in_blocks),
            pays=partial(_many, fewest),
            when=f"at least {fewest:,} scores per example and head",
        ),
        Form("plain", _guarded(name, at_once, in_blocks)),
    )


FORMS: Mapping[str, Mapping[str, Sequence[Form]]] = {
    "cpu": {name: _list(name, FEWEST_ON_CPU) for name in _PASSES},
    DEFAULT: {name: _list(name, FEWEST_ELSEWHERE) for name in _PASSES},
}
