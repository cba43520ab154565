"""``load_state_dict`` and ``to_state_dict``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.interop.torch.convert import PAIRS, RECURRENT
from jaxnn.interop.torch.matching import Mapped, find, places
from jaxnn.interop.units import Slots, Unit, rebuild
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params
from jaxnn.shapes import Spec


def load_state_dict(
    net: LayerLike,
    params: Params,
    state_dict: Any,
    mapping: Mapped | None = None,
    *,
    shape: Spec = None,
) -> Params:
    """``params`` of ``net`` with the arrays of a PyTorch state dict, in this library's layout.

    Kernels are moved from channels first to channels last; a dense layer behind ``flatten``, also behind
    pooling, gets its rows in the order in which jaxnn flattens; PyTorch's two recurrent biases are added; a
    packed or reparametrised weight is unpacked. ``num_batches_tracked`` has no place here and is not needed.
    With PyTorch's settings (``padding``, ``epsilon=1e-5``, ``gelu`` with ``approximate=False``, …) the net
    then computes what PyTorch's does: ``docs/conventions.md`` lists the differences.

    Args:
      net: the layer.
      params: its params, or their shapes from ``jax.eval_shape(net.init, key, x)``.
      state_dict: a mapping from PyTorch's names to arrays (NumPy's, JAX's or PyTorch's), or the name of a
        ``.safetensors`` file.
      mapping: which layer gets which module, where the names differ; see ``match``.
      shape: that of an input; see ``match``.

    Returns:
      New params. ``params`` is unchanged.

    Raises:
      ValueError: not everything on both sides fits: all of ``match(...).problems``, a sentence each.
      TypeError, ImportError: as for ``match``.

    >>> import jax, numpy as np, jaxnn as nn
    >>> net = nn.serial(nn.dense(3), nn.relu)
    >>> theirs = {"0.weight": np.ones((3, 4), np.float32), "0.bias": np.zeros(3, np.float32)}
    >>> params = nn.interop.torch.load_state_dict(net, net.init(jax.random.key(0), (1, 4)), theirs)
    >>> print(net.apply(params, np.ones((1, 4), np.float32)))
    [[4. 4. 4.]]
    """
    found = find("load_state_dict", net, params, state_dict, mapping, shape)
    if problems := found.table.problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ValueError(
            "\n".join([f"load_state_dict: state_dict must fit the net, got {count}:", *problems])
        )
    new: dict[str, Slots] = {}
    for place in found.places:
        path = place.unit.path
        entries = found.modules[path].entries
        new[path] = PAIRS[place.unit.kind].load(entries, place.unit.slots, place.flat, np)

    def filled(unit: Unit) -> Slots:
        if not unit.has_arrays:
            return unit.slots
        if unit.path in new and unit.kind in PAIRS:
            return new[unit.path]
        arrays = [array for path, array in _bare(unit).items()]
        loaded = [jax.tree.leaves(new[path])[0] for path in _bare(unit)]
        assert len(arrays) == len(loaded)
        return jax.tree.unflatten(jax.tree.structure(unit.slots), loaded)

    loaded = rebuild(given_layer("load_state_dict", "net", net), params, filled)
    return jax.tree.map(jnp.asarray, loaded)


def to_state_dict(
    net: LayerLike, params: Params, mapping: Mapped | None = None, *, shape: Spec = None
) -> dict[str, np.ndarray]:
    """The arrays of ``params`` as a PyTorch state dict: names, layouts and order of a module of this net.

    The inverse of ``load_state_dict``. Names are the paths, with dots, so that for the nets of ``nn.models``
    they are torchvision's. Save it with ``safetensors.numpy.save_file``, or give it to
    ``module.load_state_dict`` by ``torch.from_numpy``. A recurrent bias becomes the first of PyTorch's two,
    the second is 0 (but for the GRU's candidate); ``num_batches_tracked`` is 0.

    Args:
      net: the layer.
      params: its params.
      mapping: from paths to names of modules, where they should differ; see ``match``.
      shape: that of an input; see ``match``.

    Raises:
      ValueError: a layer has no counterpart in PyTorch, or the order of its inputs isn't known (give
        ``shape``); ``mapping`` has a path that isn't there.

    >>> import jax, jaxnn as nn
    >>> net = nn.serial(nn.conv(8, 3), nn.relu, nn.flatten, fc=nn.dense(2))
    >>> state_dict = nn.interop.torch.to_state_dict(net, net.init(jax.random.key(0), (1, 5, 5, 1)))
    >>> {name: array.shape for name, array in state_dict.items()}
    {'conv_0.weight': (8, 1, 3, 3), 'conv_0.bias': (8,), 'fc.weight': (2, 72), 'fc.bias': (2,)}
    """
    entries: dict[str, np.ndarray] = {}
    found = places("to_state_dict", net, params, mapping, shape)
    if problems := [place.problem for place in found if place.problem]:
        raise ValueError("\n".join(["to_state_dict: net must have a counterpart in PyTorch, got", *problems]))
    for place in found:
        slots = jax.tree.map(np.asarray, place.unit.slots)
        for entry, array in PAIRS[place.unit.kind].save(slots, place.flat, np).items():
            name = _full_name(place.theirs, entry, place.unit.kind)
            if name in entries:
                raise ValueError(f"to_state_dict: each entry must have a name of its own, got {name!r} twice")
            entries[name] = np.ascontiguousarray(array).reshape(array.shape)
    return entries


def _full_name(module: str, entry: str, kind: str) -> str:
    if kind in RECURRENT:
        owner, _, part = module.rpartition(".")
        return ".".join(filter(None, (owner, f"{entry}_{part}")))
    if entry == "num_batches_tracked":
        return f"{module}.{entry}"
    return ".".join(filter(None, (module, entry)))


def _bare(unit: Unit) -> Mapping[str, Any]:
    """The arrays of a layer of one's own by the paths of their places."""
    leaves = jax.tree_util.tree_leaves_with_path(unit.slots)
    if len(leaves) == 1:
        return {unit.path: leaves[0][1]}
    names = [jax.tree_util.keystr(path[1:], simple=True, separator="/") for path, _ in leaves]
    return {f"{unit.path}/{name}": leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
