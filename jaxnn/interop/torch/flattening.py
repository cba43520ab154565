"""Which units see flattened places and channels, and how many channels these were.

PyTorch flattens channels first, jaxnn channels last, so a layer behind ``flatten`` has its inputs in another
order. Only the number of channels is needed to change one order into the other. Without the shape of an input
it is followed through the net's structure, with it through the net's program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from inspect import unwrap
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from jaxnn import layers, ops
from jaxnn.combinators.graph import Composite
from jaxnn.inspection.jaxprs import called, opened
from jaxnn.inspection.receptive_field.elementwise import RULES as ELEMENTWISE_PRIMITIVES
from jaxnn.inspection.walk import walk
from jaxnn.interop.units import Slots, kind_of
from jaxnn.layer import Layer
from jaxnn.lifting import as_layer
from jaxnn.params import Params
from jaxnn.shapes import Spec, given_spec


class Features(NamedTuple):
    """The last axis of an array.

    Attributes:
      channels: its size, or, if ``flat``, that of the last axis before flattening; None if unknown.
      flat: whether it is several axes flattened; None if unknown.
    """

    channels: int | None
    flat: bool | None


UNKNOWN, PLAIN = Features(None, None), Features(None, False)
#: Kinds that leave the last axis as it is.
KEEPING = {
    "max_pool", "min_pool", "avg_pool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool", "dropout",
    "spatial_dropout", "resize", "upsample", "pad", "layer_norm", "rms_norm", "group_norm", "instance_norm",
    "prelu", "standardize", "drop_path", "layer_scale",
}  # fmt: skip
#: Functions that do: what they compute, they compute value by value, or along the last axis.
ELEMENTWISE = {name for name in ops.__all__ if getattr(jax.nn, name, None) is not None} | {
    "arctan", "hard_shrink", "linear", "soft_shrink", "softmin", "sparsemax", "step", "tanh_shrink",
    "threshold",
}  # fmt: skip
FLATTENING = {"flatten", "reshape", "ravel"}
SPATIAL = (
    "conv",
    "depthwise_conv",
    "separable_conv",
    "conv_transpose",
    "pixel_shuffle",
    "flatten",
    "reshape",
)

Found = dict[str, Features]


def by_structure(net: Layer, params: Params) -> Found:
    """The features that each layer is given, by path, as far as the structure of the net shows."""
    found: Found = {}
    _follow(net, Slots(*params, {}), PLAIN, "", found)
    if not any(_has_space(net)):
        return dict.fromkeys(found, PLAIN)
    return found


def _has_space(layer: Layer) -> Sequence[bool]:
    """Whether any layer has an array with spatial axes as its input."""
    if layer.parts is not None:
        return [space for part in layer.parts.values() for space in _has_space(part)]
    made = layer.made
    if made is not None and not made.lifted and "layer" in (settings := made.settings()):
        return _has_space(as_layer(settings["layer"]))
    return [kind_of(layer) in SPATIAL]


def _follow(layer: Layer, slots: Slots, x: Features, path: str, found: Found) -> Features:
    made = layer.made
    settings = {} if made is None or made.lifted else made.settings()
    kind = kind_of(layer)
    if "layer" in settings and kind not in ("bidirectional", "stacked", "stateless"):
        inner = as_layer(settings["layer"])
        if kind == "frozen":
            slots = Slots(slots.state["weights"], slots.state["state"], {})
        if kind == "spectral_norm":
            slots = Slots(slots.weights, slots.state["state"], {})
        if kind in ("repeat", "ensemble"):
            slots = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), slots)
            for i in range(settings["n"]):
                y = _follow(inner, slots, x, f"{path}/{i}" if path else str(i), found)
            return y
        return _follow(inner, slots, x, path, found)
    if layer.parts is not None:
        return _composite(layer, slots, x, path, found)
    found[path or layer.name] = x
    return _leaf(layer, kind, settings, slots, x)


def _composite(layer: Layer, slots: Slots, x: Features, path: str, found: Found) -> Features:
    def call(part: str, x: Features) -> Features:
        own = Slots(*(tree.get(part, {}) for tree in slots))
        assert layer.parts is not None
        return _follow(layer.parts[part], own, x, f"{path}/{part}" if path else part, found)

    parts = list(layer.parts or ())
    settings = {} if layer.made is None else layer.made.settings()
    kind = kind_of(layer) if layer.name == kind_of(layer) else layer.name
    if kind in ("serial", "separable_conv"):
        return reduce(lambda x, part: call(part, x), parts, x)
    if kind == "residual":
        chain = [part for part in parts if part != "shortcut" or settings.get("shortcut") is None]
        y = reduce(lambda x, part: call(part, x), chain, x)
        for part in parts:
            if part not in chain:
                call(part, x)
        return y
    if kind == "parallel":
        return _merged([call(part, x) for part in parts], settings.get("merge"))
    if kind == "bidirectional":
        ys = [call(part, x) for part in parts]
        return _merged(ys, settings.get("merge"))
    inside = UNKNOWN if _may_flatten(layer) else PLAIN  # any data flow: its parts may be given anything
    for part in parts:
        call(part, inside)
    return inside


def _may_flatten(layer: Layer) -> bool:
    """Whether the data flow of a graph, or a function that it calls, names one that flattens."""
    composite = getattr(layer.apply, "__self__", None)
    return not isinstance(composite, Composite) or _names_flattening(composite.fn)


def _names_flattening(function: Any) -> bool:
    """Whether ``function``, or one that it calls and that is not a library's, names one that flattens."""
    pending: list[Any] = [function]
    seen: set[int] = set()
    while pending:
        function = pending.pop()
        while isinstance(function, partial):
            pending += filter(callable, [*function.args, *function.keywords.values()])
            function = function.func
        function = unwrap(function)
        if getattr(function, "__name__", "") in FLATTENING:
            return True
        code = getattr(function, "__code__", None)
        if code is None or id(function) in seen or (seen and _is_of_a_library(function)):
            continue
        seen.add(id(function))
        names = _names(code)
        if names & FLATTENING:
            return True
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        held += function.__defaults__ or ()
        held += [function.__globals__[name] for name in names if name in function.__globals__]
        modules = [own for own in held if isinstance(own, ModuleType) and not _is_of_a_library(own)]
        held += [getattr(module, name, None) for module in modules for name in names]
        pending += filter(callable, held)
    return False


def _names(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_names, *(name for own in inner for name in _names(own))}


def _is_of_a_library(function: Any) -> bool:
    home = function.__name__ if isinstance(function, ModuleType) else getattr(function, "__module__", "")
    return str(home).partition(".")[0] in ("jax", "jaxnn", "numpy", "builtins")


def _merged(ys: list[Features], merge: Any) -> Features:
    if any(y.flat is not False or y.channels is None for y in ys):
        return UNKNOWN
    if merge == "concat":
        return Features(sum(y.channels or 0 for y in ys), False)
    return ys[0] if merge == "sum" else UNKNOWN


def _leaf(layer: Layer, kind: str, settings: Mapping[str, Any], slots: Slots, x: Features) -> Features:
    if layer.made is not None and layer.made.lifted:
        return _function(layer.made.function, x)
    if kind in KEEPING:
        return x
    if kind == "batch_norm":
        return x if x.flat is not False else Features(slots.state["mean"].shape[0], False)
    if kind == "depthwise_conv":
        return Features(_kernel_shape(slots)[-1], False)
    if "features" in settings:
        return Features(settings["features"], False)
    return UNKNOWN


def _kernel_shape(slots: Slots) -> tuple[int, ...]:
    kernel = slots.weights["kernel"]
    shape: tuple[int, ...] = (kernel["direction"] if isinstance(kernel, Mapping) else kernel).shape
    return shape


def _function(function: Callable[..., Any], x: Features) -> Features:
    while isinstance(function, partial):
        function = function.func
    if function is layers.flatten:
        return Features(x.channels, True) if x.flat is False else x
    if function in (layers.global_avg_pool, layers.global_max_pool):
        return Features(x.channels, False)
    name = getattr(function, "__name__", "")
    if name in ELEMENTWISE and function in (getattr(ops, name, None), getattr(jax.nn, name, None)):
        return x
    return UNKNOWN if _names_flattening(function) else PLAIN


# --- with a shape ---


def by_program(net: Layer, params: Params, shape: Spec, owner: str) -> Found:
    """The features that each layer is given for an input of ``shape``."""
    paths: list[str] = []

    def inputs(params: Params, x: Any) -> list[Any]:
        given: list[Any] = []

        def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
            paths.append(path)
            given.append(x if isinstance(x, jax.Array) else ())
            return layer.apply(params, x)

        walk(net, params, x, call)
        return given

    program, outputs = jax.make_jaxpr(inputs, return_shape=True)(params, given_spec(owner, shape))
    variables = iter(program.jaxpr.outvars)
    found: Found = {}
    for path, output in zip(paths, outputs, strict=True):
        if hasattr(output, "shape"):
            features = _origin(program.jaxpr, next(variables))
            found.setdefault(path, features if output.ndim == 2 else PLAIN)
    return found


def _origin(jaxpr: Any, atom: Any, outside: Callable[[int], Features] | None = None) -> Features:
    """Whether ``atom``, of two axes, is a flattened array, and of how many channels.

    ``outside`` says the same of the inputs of ``jaxpr``, by place, where another program calls it.
    """
    makers = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    if isinstance(atom, Literal) or atom.aval.ndim != 2:
        return PLAIN
    if atom not in makers:
        return outside(jaxpr.invars.index(atom)) if outside and atom in jaxpr.invars else PLAIN
    eqn = makers[atom]
    own = partial(_origin, jaxpr, outside=outside)
    if call := called(eqn):
        body, operands = opened(call[0])[0], call[1]
        return _origin(body, body.outvars[eqn.outvars.index(atom)], lambda i: own(eqn.invars[operands[i]]))
    if eqn.primitive.name == "reshape":
        before = eqn.invars[0].aval.shape
        return Features(before[-1], True) if len(before) > 2 and before[0] == atom.aval.shape[0] else PLAIN
    if eqn.primitive.name in ELEMENTWISE_PRIMITIVES:
        origins = map(own, (v for v in eqn.invars if v.aval.shape == atom.aval.shape))
        return next((features for features in origins if features.flat), PLAIN)
    return PLAIN
