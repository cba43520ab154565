"""The contenders: jaxnn, plain lax, and each peer that can be imported."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax

from benchmarks.contenders import onednn
from benchmarks.contenders.jax_programs import op_program, step_program
from benchmarks.contenders.model import Model, Unsupported
from benchmarks.contenders.programs import OpTask, Program, StepTask
from benchmarks.specs import Conv, Shape, Spec, contains
from jaxnn.ops import conv_general_dilated

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
    "jaxnn tuned",
    "jaxnn + oneDNN",
    "lax + oneDNN",
)
#: Those that take part only when named: they take long to compile, or need options of the compiler.
EXTRA = ("torch compile", "jaxnn tuned", "jaxnn + oneDNN", "lax + oneDNN")


@dataclass(frozen=True)
class Library:
    """What the overhead of a JAX library is measured with.

    Attributes:
      package: what to import.
      build: a net as one pure function.
      prepare: makes a fresh net as a user would; returns its compiled inference, a function of x.
    """

    package: str
    build: Callable[[Spec, Shape, Any], Model]
    prepare: Callable[[Spec, Shape], Callable[[Any], Any]]


@dataclass(frozen=True)
class Contender:
    """Makes a program to time out of a task, or raises ``Unsupported``; ``library`` for JAX's own."""

    name: str
    op: Callable[[OpTask], Program]
    step: Callable[[StepTask], Program]
    library: Library | None = None


def from_library(
    name: str, library: Library, options: dict[str, Any] | None = None, tuned: bool = False
) -> Contender:
    """A contender of what a JAX library builds, compiled with ``options``."""
    build = library.build

    def op(task: OpTask) -> Program:
        return op_program(build(task.spec, task.x.shape, jax.numpy.dtype(task.dtype)), task, options, tuned)

    def step(task: StepTask) -> Program:
        return step_program(build(task.spec, task.shape, jax.numpy.dtype(task.dtype)), task, options, tuned)

    return Contender(name, op, step, library)


def find(names: Iterable[str] | None = None) -> list[Contender]:
    """The contenders asked for that are installed, by default all but ``EXTRA``."""
    asked = [name for name in NAMES if name not in EXTRA] if names is None else list(names)
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"contenders must be of {', '.join(NAMES)}, got {', '.join(unknown)}")
    return [made for name in asked if (made := _make(name))]


def _make(name: str) -> Contender | None:
    package = {"lax": "jax", "flax": "flax.nnx"}.get(name.split()[0], name.split()[0])
    if find_spec(package.partition(".")[0]) is None:
        return None
    if package == "torch":
        way = {"torch": "eager"}.get(name, name.removeprefix("torch "))
        made = import_module("benchmarks.contenders.pytorch").Torch(way)
        return Contender(name, made.op, made.step)
    options = onednn.OPTIONS if name.endswith(" + oneDNN") else None
    if options and not onednn.found():
        return None
    modules = {
        "jaxnn": "ours",
        "lax": "plain",
        "flax": "flax_nnx",
        "equinox": "equinox_nn",
        "haiku": "haiku_nets",
    }
    module = import_module(f"benchmarks.contenders.{modules[name.split()[0]]}")
    build = _dropped_in(module.build) if name == "flax + jaxnn conv" else module.build
    library = Library(package, build, module.prepare)
    return from_library(name, library, options, tuned=name.endswith(" tuned"))


def _dropped_in(build: Callable[..., Model]) -> Callable[[Spec, Shape, Any], Model]:
    """Flax with jaxnn's convolution in every ``nnx.Conv``: one argument. Not for nets without one."""

    def with_ours(spec: Spec, shape: Shape, dtype: Any) -> Model:
        if not contains(spec, shape, Conv):
            raise Unsupported("no convolution to replace")
        return partial(build, conv_general_dilated=conv_general_dilated)(spec, shape, dtype)

    return with_ours
