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

#: From how many scores per example and head on blocks are taken on a CPU, by pass. Measured on 2 AVX-512
#: cores, float32, 8 heads of 64 features: blocks take longer at 256 × 256 and less at 512 × 512.
FEWEST_ON_CPU = {"forward": 1 << 17, "tangent": 1 << 14, "gradient": 1 << 17}
#: The same on other platforms, where a plain product is fast and only memory limits it.
FEWEST_ELSEWHERE = dict.fromkeys(FEWEST_ON_CPU, 1 << 24)


def _tested(p: Problem, name: str) -> Sequence[tuple[int, str | None]]:
    """Which operands a pass multiplies by weights of 0, with the lengths past which they don't count.

    What only enters scores does not: those that are not read are replaced.
    """
    first = 3 + len(p.settings.extras) + 2
    if name == "forward":
        return ((2, "key_lengths"),)  # v
    if name == "tangent":
        return (2, "key_lengths"), (first + 2, "key_lengths")  # v and its tangent
    return (0, "lengths"), (1, "key_lengths"), (2, "key_lengths"), (first, "lengths")  # and the cotangent


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
    "gradient": (plain.gradient_of_weights, blocked.gradient),
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
    "cpu": {name: _list(name, FEWEST_ON_CPU[name]) for name in _PASSES},
    DEFAULT: {name: _list(name, FEWEST_ELSEWHERE[name]) for name in _PASSES},
}
