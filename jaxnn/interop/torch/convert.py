"""One unit's arrays in PyTorch's layout and names, and back.

Each kind of layer has a pair of functions. They compute with NumPy on arrays, and with ``jax.numpy`` where
only shapes are wanted, so that what a module must hold is not said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.interop.units import Slots, Unit

Arrays = Mapping[str, Any]

#: Entries of PyTorch that have no place here: ignored in one direction, written in the other.
OPTIONAL = ("num_batches_tracked", "parametrizations.weight.0._v")
#: The names of the reparametrisations of PyTorch before 2.0 and now, by what a module holds.
RENAMED = {
    "weight_g": {
        "weight_g": "parametrizations.weight.original0",
        "weight_v": "parametrizations.weight.original1",
    },
    "weight_orig": {
        "weight_orig": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    },
}


class Pair(NamedTuple):
    """How a kind of layer is exchanged.

    Attributes:
      save: ``save(slots, flat, xp)``: the entries of its module, from our arrays.
      load: ``load(entries, slots, flat, xp)``: our arrays, from those; ``slots`` are the present ones.
    """

    save: Callable[[Slots, int | None, Any], dict[str, Any]]
    load: Callable[[Arrays, Slots, int | None, Any], Slots]


def expected(unit: Unit, flat: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    """The names, shapes and dtypes of the entries of the module that ``unit`` is."""
    specs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), unit.slots)
    names: list[str] = []

    def save(slots: Slots) -> dict[str, Any]:
        entries = PAIRS[unit.kind].save(slots, flat, jnp)
        names.extend(entries)
        return entries

    shapes = jax.eval_shape(save, specs)
    return {name: shapes[name] for name in names}  # in their order, which JAX doesn't keep


# --- kernels ---


def _kernel_out(kind: str, kernel: Any, flat: int | None, xp: Any) -> Any:
    if kind in ("dense", "maxout"):
        return xp.transpose(_channels_first(kernel, flat, xp))
    ends = (-2, -1) if kind == "conv_transpose" else (-1, -2)
    return xp.moveaxis(kernel, ends, (0, 1))


def _kernel_in(kind: str, weight: Any, flat: int | None, xp: Any) -> Any:
    if kind in ("dense", "maxout"):
        return _channels_last(xp.transpose(weight), flat, xp)
    ends = (-2, -1) if kind == "conv_transpose" else (-1, -2)
    return xp.moveaxis(weight, (0, 1), ends)


def _channels_first(rows: Any, flat: int | None, xp: Any) -> Any:
    """The first axis, which runs over flattened places and channels, in PyTorch's order: places fastest."""
    return _swapped(rows, lambda size, flat: (size // flat, flat), flat, xp)


def _channels_last(rows: Any, flat: int | None, xp: Any) -> Any:
    return _swapped(rows, lambda size, flat: (flat, size // flat), flat, xp)


def _swapped(rows: Any, sizes: Callable[[int, int], tuple[int, int]], flat: int | None, xp: Any) -> Any:
    if flat is None or flat == rows.shape[0]:
        return rows
    apart = xp.reshape(rows, (*sizes(rows.shape[0], flat), *rows.shape[1:]))
    return xp.reshape(xp.swapaxes(apart, 0, 1), rows.shape)


def _product(kind: str) -> Pair:
    """Layers with a kernel and a bias, plain, or under ``weight_norm`` or ``spectral_norm``."""

    def save(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
        kernel = slots.weights["kernel"]
        bias = {name: slots.weights[name] for name in ("bias",) if name in slots.weights}
        if isinstance(kernel, Mapping):
            direction = _kernel_out(kind, kernel["direction"], flat, xp)
            shape = (-1, *(1,) * (direction.ndim - 1))
            return bias | {
                "parametrizations.weight.original0": xp.reshape(kernel["magnitude"], shape),
                "parametrizations.weight.original1": direction,
            }
        if slots.vectors:
            u = slots.vectors["kernel"]
            image = xp.reshape(kernel, (-1, kernel.shape[-1])).astype(u.dtype) @ u
            return bias | {
                "parametrizations.weight.original": _kernel_out(kind, kernel, flat, xp),
                "parametrizations.weight.0._u": u,
                "parametrizations.weight.0._v": _in_their_order(kind, kernel, image, flat, xp),
            }
        return {"weight": _kernel_out(kind, kernel, flat, xp)} | bias

    def load(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
        weights = {name: entries[name] for name in ("bias",) if name in slots.weights}
        vectors = slots.vectors
        if isinstance(slots.weights["kernel"], Mapping):
            weights["kernel"] = {
                "direction": _kernel_in(kind, entries["parametrizations.weight.original1"], flat, xp),
                "magnitude": xp.ravel(entries["parametrizations.weight.original0"]),
            }
        elif vectors:
            weights["kernel"] = _kernel_in(kind, entries["parametrizations.weight.original"], flat, xp)
            vectors = {"kernel": entries["parametrizations.weight.0._u"]}
        else:
            weights["kernel"] = _kernel_in(kind, entries["weight"], flat, xp)
        return Slots(weights, slots.state, vectors)

    return Pair(save, load)


def _in_their_order(kind: str, kernel: Any, image: Any, flat: int | None, xp: Any) -> Any:
    """The unit left vector of ``kernel`` as a matrix, its values in the order of PyTorch's matrix."""
    length = xp.sqrt(xp.sum(image * image))
    unit = xp.reshape(image / xp.where(length == 0, xp.ones_like(length), length), (*kernel.shape[:-1], 1))
    return xp.ravel(_kernel_out(kind, unit, flat, xp))


# --- norms, embedding, PReLU ---

AFFINE = {"scale": "weight", "bias": "bias"}
STATISTICS = {"mean": "running_mean", "var": "running_var"}


def _save_norm(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    arrays = {**slots.weights, **slots.state}
    entries = {
        theirs: _leading(arrays[ours], flat, xp)
        for ours, theirs in (AFFINE | STATISTICS).items()
        if ours in arrays
    }
    return entries | (
        {"num_batches_tracked": xp.zeros((), "int32" if xp is jnp else "int64")} if slots.state else {}
    )


def _load_norm(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    return Slots(
        {name: _trailing(entries[AFFINE[name]], flat, xp) for name in slots.weights},
        {name: _trailing(entries[STATISTICS[name]], flat, xp) for name in slots.state},
        slots.vectors,
    )


def _leading(weight: Any, flat: int | None, xp: Any) -> Any:
    """Channels first: the last axis of a norm over several, or the order of what was flattened."""
    return xp.moveaxis(weight, -1, 0) if weight.ndim > 1 else _channels_first(weight, flat, xp)


def _trailing(weight: Any, flat: int | None, xp: Any) -> Any:
    return xp.moveaxis(weight, 0, -1) if weight.ndim > 1 else _channels_last(weight, flat, xp)


def _save_prelu(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    slope = slots.weights["slope"]
    return {"weight": _channels_first(slope, flat, xp) if slope.ndim else xp.reshape(slope, (1,))}


def _load_prelu(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    shape, slope = slots.weights["slope"].shape, entries["weight"]
    return Slots({"slope": _channels_last(slope, flat, xp) if shape else xp.reshape(slope, ())}, {}, {})


def _save_embedding(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    return {"weight": slots.weights["embedding"]}


def _load_embedding(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    return Slots({"embedding": entries["weight"]}, {}, {})


# --- recurrent layers: PyTorch has two biases, which are added; but for the GRU's candidate ---


def _save_recurrent(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    weights = slots.weights
    entries = {
        "weight_ih": xp.transpose(weights["input_kernel"]),
        "weight_hh": xp.transpose(weights["recurrent_kernel"]),
    }
    if "bias" in weights:
        second = xp.zeros_like(weights["bias"])
        if "recurrent_bias" in weights:
            r_and_z = second[: 2 * second.shape[0] // 3]
            second = xp.concatenate([r_and_z, weights["recurrent_bias"]])
        entries |= {"bias_ih": weights["bias"], "bias_hh": second}
    if "projection_kernel" in weights:
        entries["weight_hr"] = xp.transpose(weights["projection_kernel"])
    return entries


def _load_recurrent(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    weights = {
        "input_kernel": xp.transpose(entries["weight_ih"]),
        "recurrent_kernel": xp.transpose(entries["weight_hh"]),
    }
    if "projection_kernel" in slots.weights:
        weights["projection_kernel"] = xp.transpose(entries["weight_hr"])
    if "bias" in slots.weights:
        first, second = entries["bias_ih"], entries["bias_hh"]
        if "recurrent_bias" in slots.weights:
            start = 2 * second.shape[0] // 3
            weights["recurrent_bias"] = second[start:]
            second = xp.concatenate([second[:start], xp.zeros_like(second[start:])])
        weights["bias"] = first + second
    return Slots(weights, {}, {})


# --- attention: PyTorch packs the three kernels of the input, unless keys or values have another size ---

INPUTS = ("query", "key", "value")


def _save_attention(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    weights = slots.weights
    kernels = [xp.transpose(weights[f"{part}_kernel"]) for part in INPUTS]
    if _is_packed(slots):
        entries = {"in_proj_weight": xp.concatenate(kernels)}
    else:
        entries = {f"{part[0]}_proj_weight": kernel for part, kernel in zip(INPUTS, kernels, strict=True)}
    if "output_bias" in weights:
        entries["in_proj_bias"] = xp.concatenate([weights[f"{part}_bias"] for part in INPUTS])
    entries["out_proj.weight"] = xp.transpose(weights["output_kernel"])
    return entries | ({"out_proj.bias": weights["output_bias"]} if "output_bias" in weights else {})


def _load_attention(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    if _is_packed(slots):
        kernels = xp.split(entries["in_proj_weight"], 3)
    else:
        kernels = [entries[f"{part[0]}_proj_weight"] for part in INPUTS]
    weights = {f"{part}_kernel": xp.transpose(own) for part, own in zip(INPUTS, kernels, strict=True)}
    weights["output_kernel"] = xp.transpose(entries["out_proj.weight"])
    if "output_bias" in slots.weights:
        biases = xp.split(entries["in_proj_bias"], 3)
        weights |= {f"{part}_bias": own for part, own in zip(INPUTS, biases, strict=True)}
        weights["output_bias"] = entries["out_proj.bias"]
    return Slots(weights, slots.state, slots.vectors)


def _is_packed(slots: Slots) -> bool:
    return len({slots.weights[f"{part}_kernel"].shape for part in INPUTS}) == 1


# --- bare parameters ---


def _save_bare(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    (array,) = jax.tree.leaves(slots)
    return {"": array}


def _load_bare(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    (array,) = entries.values()
    return jax.tree.map(lambda leaf: xp.reshape(array, leaf.shape), slots)


def _save_layer_scale(slots: Slots, flat: int | None, xp: Any) -> dict[str, Any]:
    return {"": xp.reshape(slots.weights["scale"], (-1, 1, 1))}


def _load_layer_scale(entries: Arrays, slots: Slots, flat: int | None, xp: Any) -> Slots:
    return Slots({"scale": xp.ravel(entries[""])}, {}, {})


_NORM, _RECURRENT = Pair(_save_norm, _load_norm), Pair(_save_recurrent, _load_recurrent)
PRODUCTS = ("dense", "maxout", "conv", "depthwise_conv", "conv_transpose")
NORMS = ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")
RECURRENT = ("rnn", "lstm", "gru")
PAIRS: dict[str, Pair] = {
    **{kind: _product(kind) for kind in PRODUCTS},
    **dict.fromkeys(NORMS, _NORM),
    **dict.fromkeys(RECURRENT, _RECURRENT),
    "multi_head_attention": Pair(_save_attention, _load_attention),
    "prelu": Pair(_save_prelu, _load_prelu),
    "embedding": Pair(_save_embedding, _load_embedding),
    "layer_scale": Pair(_save_layer_scale, _load_layer_scale),
    "array": Pair(_save_bare, _load_bare),
}


def refusal(unit: Unit) -> str | None:
    """Why a unit of a known kind has no counterpart in PyTorch, if it has none."""
    weights = unit.slots.weights if isinstance(unit.slots.weights, Mapping) else {}
    polar = [entry for entry in weights.values() if isinstance(entry, Mapping)]
    if (polar or unit.slots.vectors) and unit.kind in (*RECURRENT, "multi_head_attention"):
        return f"weight_norm or spectral_norm around {unit.kind} has no counterpart in PyTorch"
    if polar and unit.kind == "conv_transpose":
        return "weight_norm around conv_transpose has no counterpart in PyTorch, which norms over other axes"
    if any(isinstance(kernel.get("direction"), Mapping) for kernel in polar):
        return "weight_norm around weight_norm has no counterpart in PyTorch"
    if unit.kind in RECURRENT and "cell_scale" in weights:
        return f"{unit.kind} with layer_norm has no counterpart in PyTorch"
    if unit.kind == "multi_head_attention":
        if "query_scale" in weights:
            return "multi_head_attention with qk_norm has no counterpart in PyTorch"
        if weights["query_kernel"].shape[1] != weights["key_kernel"].shape[1]:
            return "multi_head_attention with kv_heads has no counterpart in PyTorch"
    return None


def known(kind: str) -> bool:
    return kind in PAIRS and kind != "array"
