"""The forms of attention and its derivatives, by platform and pass."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax

from jaxnn.kernels.attention import blocked, plain
from jaxnn.kernels.attention.independent import guarded
from jaxnn.kernels.attention.lanes import in_lanes
from jaxnn.kernels.attention.problem import Problem
from jaxnn.kernels.choice import Form
from jaxnn.kernels.lowering.primitive import DEFAULT

#: From how many scores per example and head on blocks are taken on a CPU, by pass. Measured on 2 AVX-512
#: cores, float32, 8 heads of 64 features: blocks take longer at 256 × 256 and less at 512 × 512. The gradient
#: of a bias takes them to save memory.
FEWEST_ON_CPU = {"forward": 1 << 17, "tangent": 1 << 14, "gradient": 1 << 17, "bias_gradient": 1 << 17}
#: The same on other platforms, where a plain product is fast and only memory limits it.
FEWEST_ELSEWHERE = dict.fromkeys(FEWEST_ON_CPU, 1 << 24)
#: On a CPU the plain form takes an example at a time from so many scores in all on, if each example has at
#: least so many: fewer are not worth the step of a loop. Measured with 1 to 64 examples of 64 to 256 steps.
MANY, FEWEST_APART = 3 << 19, 1 << 15


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


def _apart(name: str, form: Callable[..., Any]) -> Callable[..., Any]:
    """The form, an example at a time where all scores together are many, but those of an example not few."""

    def compute(p: Problem, *operands: Any) -> Any:
        if not (isinstance(p.scores, int) and isinstance(p.batch, int)):
            return form(p, *operands)
        each = p.scores * p.heads
        if each < FEWEST_APART or each * p.batch < MANY:
            return form(p, *operands)
        found = in_lanes(name, p, lambda *a: _tuple(form(*a)), operands, p.scores)
        return found[0] if name == "tangent" else found

    return compute


def _tuple(found: Any) -> tuple[jax.Array, ...]:
    return found if isinstance(found, tuple) else (found,)


_PASSES = {
    "forward": (plain.forward, blocked.forward),
    "tangent": (plain.tangent, blocked.tangent),
    "gradient": (plain.gradient_of_weights, blocked.gradient),
}


def _list(name: str, fewest: int, *, cpu: bool = False) -> Sequence[Form]:
    at_once, in_blocks = _PASSES[name]
    at_once = _apart(name, at_once) if cpu else at_once
    return _forms(_guarded(name, in_blocks, in_blocks), _guarded(name, at_once, in_blocks), fewest)


def _forms(in_blocks: Callable[..., Any], at_once: Callable[..., Any], fewest: int) -> Sequence[Form]:
    when = f"at least {fewest:,} scores per example and head"
    return Form("blocked", in_blocks, pays=partial(_many, fewest), when=when), Form("plain", at_once)


def _lists(fewest: Mapping[str, int], *, cpu: bool) -> Mapping[str, Sequence[Form]]:
    lists = {name: _list(name, fewest[name], cpu=cpu) for name in _PASSES}
    # It multiplies nothing by weights of 0 and then adds it up, so that no guard is needed.
    of_bias = _forms(blocked.bias_gradient, plain.bias_gradient, fewest["bias_gradient"])
    return lists | {"bias_gradient": of_bias}


FORMS: Mapping[str, Mapping[str, Sequence[Form]]] = {
    "cpu": _lists(FEWEST_ON_CPU, cpu=True),
    DEFAULT: _lists(FEWEST_ELSEWHERE, cpu=False),
}
