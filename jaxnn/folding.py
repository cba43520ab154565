"""``fold_batch_norm``: batch norm as part of the convolution or dense layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.combinators.branches import serial
from jaxnn.combinators.graph import Composite, graph
from jaxnn.inspection.walk import walk
from jaxnn.interop.units import COPIES, TRANSPARENT, Slots, Unit, join, kind_of, rebuild, units
from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, as_layer, given_layer
from jaxnn.made import Made
from jaxnn.ops import linear
from jaxnn.params import Params, require_params
from jaxnn.shapes import Spec, given_spec

#: What takes up a batch norm: layers whose output is linear in their kernel and bias, channel by channel.
LINEAR = ("conv", "depthwise_conv", "conv_transpose", "dense")
#: Composites whose data flow follows from their name.
KNOWN = ("serial", "residual", "parallel", "split", "separable_conv")
#: Wrappers that stay around a folded layer.
WRAPPERS = (*TRANSPARENT, "frozen")


def fold_batch_norm(net: LayerLike, params: Params, shape: Spec = None) -> tuple[Layer, Params]:
    """A net for inference, without the batch norms that follow a convolution or a dense layer.

    y = (x·kernel + bias − mean)·g + β, with g = scale / √(var + ε), is x·(kernel·g) + ((bias − mean)·g + β):
    the same layer with another kernel and bias. ``apply`` gives the same, but for rounding. Parts keep their
    names; what was a batch norm does nothing. One whose input comes from elsewhere, or is seen by something
    else too, stays.

    Args:
      net: the layer.
      params: its params, trained.
      shape: that of an input, as for ``init``. Without it, batch norms are found that stand behind such a
        layer in a ``serial`` or ``residual``. What happens in a ``graph`` shows only for a given input: one
        that holds both kinds of layers raises.

    Returns:
      ``(net, params)``: the folded net and its params.

    Raises:
      ValueError: there is batch norm in a graph, and no ``shape``; params of another net.

    >>> import jax, jaxnn as nn
    >>> net = nn.serial(nn.conv(8, 3, bias=False), nn.batch_norm(), nn.relu)
    >>> folded, params = nn.fold_batch_norm(net, net.init(jax.random.key(0), (1, 28, 28, 1)))
    >>> folded
    serial(conv(8, 3, bias=True), linear, relu)
    >>> jax.tree.map(jax.numpy.shape, params.weights), params.state
    ({'conv_0': {'bias': (8,), 'kernel': (3, 3, 1, 8)}}, {})
    """
    layer = given_layer("fold_batch_norm", "net", net)
    require_params("fold_batch_norm", params)
    if shape is None:
        folds: dict[str, str] = {}
        _by_structure(layer, "", None, folds)
    else:
        folds = _by_program(layer, params, given_spec("fold_batch_norm", shape))
    known = {unit.path: unit for unit in units(layer, params)}
    folds = {path: norm for path, norm in folds.items() if _is_plain(known[path])}
    _drop_unequal_copies(layer, "", folds)

    def visit(unit: Unit) -> Slots:
        if unit.path in folds:
            return _with(unit, known[folds[unit.path]])
        return Slots({}, {}, {}) if unit.path in folds.values() else unit.slots

    return _rebuilt(layer, "", folds), jax.tree.map(jnp.asarray, rebuild(layer, params, visit))


# --- which batch norms: their paths, by the paths of the layers before them ---


def _by_structure(layer: Layer, path: str, last: str | None, folds: dict[str, str]) -> str | None:
    """Notes what the structure shows; ``last`` is the layer whose output goes to this one and nowhere else.

    Gives the path of the layer of which the same is true behind this one, if any.
    """
    kind = kind_of(layer)
    if kind in COPIES:
        for i in range(_settings(layer)["n"]):
            _by_structure(_inner(layer), join(path, str(i)), None, folds)
        return None
    if kind in WRAPPERS:
        return _by_structure(_inner(layer), path, last, folds)
    if layer.parts is None:
        if kind == "batch_norm" and last is not None:
            folds[last] = path or layer.name
        return (path or layer.name) if kind in LINEAR else None
    if layer.name not in KNOWN and _holds_both(layer):
        raise ValueError(
            "fold_batch_norm: shape must be given, that of an input, where a graph holds batch norm, got "
            f"None for {path or layer.name!r}"
        )
    chained = layer.name in ("serial", "residual", "separable_conv")
    last = last if layer.name == "serial" else None
    for part, own in layer.parts.items():
        if layer.name == "residual" and part == "shortcut":
            last = None
        last = _by_structure(own, join(path, part), last if chained else None, folds)
    return last if layer.name in ("serial", "separable_conv") else None


def _by_program(net: Layer, params: Params, spec: Any) -> dict[str, str]:
    """What the program for one input shows: which output is the input of a batch norm and of nothing else."""
    calls: Counter[str] = Counter()
    norms: dict[str, list[str]] = {}
    marked: list[str] = []

    def run(params: Params, x: Any) -> Any:
        marks: list[Any] = []

        def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
            calls[path.partition(":")[0]] += 1
            kind = _bare_kind(layer)
            if kind == "batch_norm":
                maker = next((own for own, mark in zip(marked, marks, strict=True) if mark is x), None)
                if maker is not None:
                    norms.setdefault(maker, []).append(path)
                    # The mark is not used: whatever does use it shows.
                    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), x)
            y = layer.apply(params, x)
            if kind in LINEAR:
                y = lax.optimization_barrier(y)
                marked.append(path)
                marks.append(y)
            return y

        return walk(net, params, x, call), marks

    program = jax.make_jaxpr(run)(params, spec).jaxpr
    marks = program.outvars[len(program.outvars) - len(marked) :]
    others = program.outvars[: len(program.outvars) - len(marked)]
    used = {id(atom) for eqn in program.eqns for atom in eqn.invars} | {id(atom) for atom in others}
    alone = [path for path, mark in zip(marked, marks, strict=True) if id(mark) not in used]
    return {
        path: norms[path][0]
        for path in alone
        if len(norms.get(path, ())) == 1 and calls[path] == 1 and calls[norms[path][0]] == 1
    }


def _bare_kind(layer: Layer) -> str:
    """The kind of a layer within its wrappers."""
    while (kind := kind_of(layer)) in WRAPPERS:
        layer = _inner(layer)
    return kind


def _holds_both(layer: Layer) -> bool:
    kinds = set(_kinds(layer))
    return "batch_norm" in kinds and not kinds.isdisjoint(LINEAR)


def _kinds(layer: Layer) -> Iterator[str]:
    if layer.parts is not None:
        for part in layer.parts.values():
            yield from _kinds(part)
    elif "layer" in _settings(layer):
        yield from _kinds(_inner(layer))
    else:
        yield kind_of(layer)


def _is_plain(unit: Unit) -> bool:
    """Whether it is a layer with a kernel of its own, not one that is computed from other arrays."""
    return not isinstance(unit.slots.weights["kernel"], Mapping) and not unit.slots.vectors


def _drop_unequal_copies(layer: Layer, path: str, folds: dict[str, str]) -> None:
    """Keeps of the copies of a layer only what is true of each, and nothing that leads out of one."""
    kind = kind_of(layer)
    if kind in COPIES:
        copies = [join(path, str(i)) for i in range(_settings(layer)["n"])]
        pairs = {a: [_within(copy, a, b) for copy in copies] for a, b in folds.items()}
        inside = [{own[i] for own in pairs.values() if own[i]} for i in range(len(copies))]
        common = set.intersection(*inside) if inside else set()
        for a, b in list(folds.items()):
            touched = any(_is_in(copy, end) for copy in copies for end in (a, b))
            if touched and not any(own in common for own in pairs[a]):
                del folds[a]
        return
    if layer.parts is not None:
        for part, inner in layer.parts.items():
            _drop_unequal_copies(inner, join(path, part), folds)
    elif kind in WRAPPERS:
        _drop_unequal_copies(_inner(layer), path, folds)


def _is_in(path: str, other: str) -> bool:
    return other == path or other.startswith(f"{path}/")


def _within(path: str, a: str, b: str) -> tuple[str, str] | None:
    """Both paths as seen from ``path``, if both lead into it."""
    return (a[len(path) :], b[len(path) :]) if _is_in(path, a) and _is_in(path, b) else None


# --- what becomes of them ---


def _with(unit: Unit, norm: Unit) -> Slots:
    """The arrays of ``unit`` with ``norm`` folded in, computed in float32 at least."""
    kernel = jnp.asarray(unit.slots.weights["kernel"])
    wide = accumulator(kernel.dtype)
    state, affine = norm.slots.state, norm.slots.weights
    gain = lax.rsqrt(jnp.asarray(state["var"], wide) + norm.settings["epsilon"])
    gain = gain * jnp.asarray(affine["scale"], wide) if "scale" in affine else gain
    shift = -jnp.asarray(state["mean"], wide)
    shift = shift + jnp.asarray(unit.slots.weights["bias"], wide) if "bias" in unit.slots.weights else shift
    bias = shift * gain + (jnp.asarray(affine["bias"], wide) if "bias" in affine else 0)
    scaled = kernel.astype(wide) * _per_output(unit, kernel, gain)
    weights = {"kernel": scaled.astype(kernel.dtype), "bias": bias.astype(kernel.dtype)}
    return Slots(weights, unit.slots.state, {})


def _per_output(unit: Unit, kernel: jax.Array, gain: jax.Array) -> jax.Array:
    """``gain``, one per output channel, in a shape that broadcasts with the kernel."""
    if unit.kind == "conv_transpose":  # (*window, C, features // groups): the group is in C
        groups = unit.settings["groups"]
        gain = jnp.repeat(gain.reshape(groups, -1), kernel.shape[-2] // groups, axis=0)
    return lax.expand_dims(gain, range(kernel.ndim - gain.ndim))


def _rebuilt(layer: Layer, path: str, folds: Mapping[str, str]) -> Layer:
    """``layer`` with biases where something was folded in, and ``linear`` in place of the batch norms."""
    kind, made = kind_of(layer), layer.made
    if kind in (*COPIES, *WRAPPERS):
        inner = _inner(layer)
        new = _rebuilt(inner, join(path, "0") if kind in COPIES else path, folds)
        assert made is not None
        again: Layer = made.function(**(made.settings() | {"layer": new}))
        return layer if new is inner else again
    if layer.parts is not None:
        parts = {part: _rebuilt(own, join(path, part), folds) for part, own in layer.parts.items()}
        composite = getattr(layer.apply, "__self__", None)
        same = all(parts[part] is own for part, own in layer.parts.items())
        if same or not isinstance(composite, Composite):
            return layer
        made = _made_of(layer, composite, parts)
        return replace(Composite(layer.name, composite.fn, parts).layer(), made=made)
    own_path = path or layer.name
    if own_path in folds.values():
        return as_layer(linear)
    if own_path in folds and made is not None and not made.settings()["bias"]:
        with_bias: Layer = made.function(*made.args, **{**(made.kwargs or {}), "bias": True})
        return with_bias
    return layer


def _made_of(layer: Layer, composite: Composite, parts: Mapping[str, Layer]) -> Made | None:
    """The call that makes a layer like ``layer`` of other parts; None if none does."""
    made = layer.made
    if layer.name == "graph":
        return Made(graph, (composite.fn,), parts)
    if made is None or made.name != layer.name:
        return Made(serial, (), parts) if layer.name == "serial" else None
    if layer.name not in ("serial", "residual", "parallel", "split"):
        return None
    given, names = dict(made.kwargs or {}), list(parts)
    return Made(
        made.function,
        tuple(parts[name] for name in names[: len(made.args)]),
        given | {name: parts[name] for name in given if name in parts},
    )


def _settings(layer: Layer) -> dict[str, Any]:
    return {} if layer.made is None or layer.made.lifted else layer.made.settings()


def _inner(layer: Layer) -> Layer:
    return as_layer(_settings(layer)["layer"])
