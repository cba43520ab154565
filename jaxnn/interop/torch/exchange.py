"""``load_state_dict`` and ``to_state_dict``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.interop.torch.convert import PAIRS, RECURRENT, known
from jaxnn.interop.torch.matching import Found, Mapped, Place, bare_paths, find, places
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
    return loaded("load_state_dict", net, params, state_dict, mapping, shape)


def loaded(
    owner: str,
    net: LayerLike,
    params: Params,
    state_dict: Any,
    mapping: Mapped | None,
    shape: Spec = None,
    *,
    channels_last: bool = False,
) -> Params:
    """``load_state_dict`` for the function ``owner``; ``channels_last``: their ``flatten`` is jaxnn's."""
    found = find(owner, net, params, state_dict, mapping, shape, channels_last=channels_last)
    require_match(owner, found)
    new: dict[str, Slots] = {}
    for place in found.places:
        path = place.unit.path
        entries = found.modules[path].entries
        new[path] = PAIRS[place.unit.kind].load(entries, place.unit.slots, place.flat, np)

    def filled(unit: Unit) -> Slots:
        if not unit.has_arrays:
            return unit.slots
        if known(unit.kind):
            return new[unit.path]
        arrays = [leaf for path in bare_paths(unit) for leaf in jax.tree.leaves(new[path])]
        return jax.tree.unflatten(jax.tree.structure(unit.slots), arrays)

    result = rebuild(given_layer(owner, "net", net), params, filled)
    return jax.tree.map(jnp.asarray, result)


def require_match(owner: str, found: Found) -> None:
    """Raises unless every array on both sides has its place."""
    if problems := found.table.problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ValueError("\n".join([f"{owner}: both sides must fit, got {count}:", *problems]))


def to_state_dict(
    net: LayerLike, params: Params, mapping: Mapped | None = None, *, shape: Spec = None
) -> dict[str, np.ndarray]:
    """The arrays of ``params`` as a PyTorch state dict: names, layouts and order of a module of this net.

    The inverse of ``load_state_dict``. Names are the paths, with dots, so that for the nets of ``nn.models``
    they are torchvision's. Save it with ``safetensors.numpy.save_file``, or give it to
    ``module.load_state_dict`` by ``torch.from_numpy``. A recurrent bias becomes the first of PyTorch's two,
    the second is 0 (but for the GRU's candidate); ``num_batches_tracked`` is 0. The array of a layer of one's
    own is written in its own shape: where PyTorch's has more axes of size 1, reshape it.

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
    for place, entry, array in saved("to_state_dict", net, params, mapping, shape):
        name = _full_name(place.theirs, entry, place.unit.kind)
        if name in entries:
            raise ValueError(f"to_state_dict: each entry must have a name of its own, got {name!r} twice")
        entries[name] = np.ascontiguousarray(array).reshape(array.shape)
    return entries


def saved(
    owner: str,
    net: LayerLike,
    params: Params,
    mapping: Mapped | None,
    shape: Spec = None,
    *,
    channels_last: bool = False,
) -> Iterator[tuple[Place, str, np.ndarray]]:
    """Every entry of the modules that the layers of ``net`` are: its place, its name, its array."""
    found = places(owner, net, params, mapping, shape, channels_last=channels_last)
    if problems := [place.problem for place in found if place.problem]:
        raise ValueError("\n".join([f"{owner}: net must have a counterpart there, got", *problems]))
    for place in found:
        for entry, array in entries_of(place).items():
            yield place, entry, array


def entries_of(place: Place) -> dict[str, np.ndarray]:
    """The arrays of one place in PyTorch's layout."""
    return PAIRS[place.unit.kind].save(jax.tree.map(np.asarray, place.unit.slots), place.flat, np)


def _full_name(module: str, entry: str, kind: str) -> str:
    if kind in RECURRENT:
        owner, _, part = module.rpartition(".")
        return ".".join(filter(None, (owner, f"{entry}_{part}")))
    return ".".join(filter(None, (module, entry)))
