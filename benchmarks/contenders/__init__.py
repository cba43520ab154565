"""Who takes part: jaxnn, plain lax, and each peer that can be imported."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax

from benchmarks.contenders.jax_programs import op_program, step_program
from benchmarks.contenders.model import Model, Unsupported
from benchmarks.contenders.programs import OpTask, Program, StepTask
from benchmarks.specs import Shape, Spec

__all__ = ["EXTRA", "NAMES", "Contender", "OpTask", "Program", "StepTask", "Unsupported", "find"]

#: All that are known; the first is what the others are compared with.
NAMES = (
    "jaxnn",
    "lax",
    "flax",
    "flax + jaxnn conv",
    "equinox",
    "haiku",
    "torch",
    "torch channels_last",
    "torch compile",
)
#: Those that take part only when named: it takes them long to compile.
EXTRA = ("torch compile",)


@dataclass(frozen=True)
class Contender:
    """Turns a task into a program to time, or raises ``Unsupported``."""

    name: str
    op: Callable[[OpTask], Program]
    step: Callable[[StepTask], Program]


def from_model(name: str, build: Callable[[Spec, Shape, Any], Model]) -> Contender:
    """A contender of a JAX library's ``build``."""

    def op(task: OpTask) -> Program:
        return op_program(build(task.spec, task.x.shape, jax.numpy.dtype(task.dtype)), task)

    def step(task: StepTask) -> Program:
        return step_program(build(task.spec, task.shape, jax.numpy.dtype(task.dtype)), task)

    return Contender(name, op, step)


def find(names: Iterable[str] | None = None) -> list[Contender]:
    """The contenders asked for that are installed, by default all but ``EXTRA``."""
    asked = [name for name in NAMES if name not in EXTRA] if names is None else list(names)
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"contenders must be of {', '.join(NAMES)}, got {', '.join(unknown)}")
    return [made for name in asked if (made := _make(name))]


def _make(name: str) -> Contender | None:
    package = {"jaxnn": "jaxnn", "lax": "jax"}.get(name, name.split()[0])
    if find_spec(package) is None:
        return None
    if package == "torch":
        way = {"torch": "eager"}.get(name, name.removeprefix("torch "))
        made = import_module("benchmarks.contenders.pytorch").Torch(way)
        return Contender(name, made.op, made.step)
    modules = {
        "jaxnn": "ours",
        "lax": "plain",
        "flax": "flax_nnx",
        "flax + jaxnn conv": "flax_nnx",
        "equinox": "equinox_nn",
        "haiku": "haiku_nets",
    }
    build = import_module(f"benchmarks.contenders.{modules[name]}").build
    if name == "flax + jaxnn conv":
        build = _dropped_in(build)
    return from_model(name, build)


def _dropped_in(build: Callable[..., Model]) -> Callable[[Spec, Shape, Any], Model]:
    """Flax with jaxnn's convolution in every ``nnx.Conv``: one argument. Nets without one do not take part."""
    from benchmarks.specs import Conv, contains
    from jaxnn.ops import conv_general_dilated

    def with_ours(spec: Spec, shape: Shape, dtype: Any) -> Model:
        if not contains(spec, shape, Conv):
            raise Unsupported("no convolution to replace")
        return partial(build, conv_general_dilated=conv_general_dilated)(spec, shape, dtype)

    return with_ours
