"""A mesh over devices: ``mesh``."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal


def mesh(
    sizes: Mapping[str, int] | None = None,
    *,
    explicit: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh over all devices of all processes, by ``jax.make_mesh``, which puts near devices side by side.

    Any mesh of ``jax.make_mesh`` will do in its place; this one has the sizes filled in.

    Args:
      sizes: how many devices there are along each axis, by the axis's name; one of them may be -1, which is
        then what the others leave. Without it there is one axis, ``"data"``, with all devices.
      explicit: whether shardings are part of the types of arrays (``AxisType.Explicit``), in which JAX raises
        where it would have to choose, instead of the compiler's choice (``AxisType.Auto``).
      devices: those to use; by default ``jax.devices()``.

    Raises:
      TypeError, ValueError: sizes that are not positive integers by name, or whose product is not the number
        of devices.

    >>> import jax, jaxnn as nn
    >>> dict(nn.distribution.mesh(devices=jax.devices()[:1]).shape)
    {'data': 1}
    >>> dict(nn.distribution.mesh({"data": -1, "model": 1}, devices=jax.devices()[:1]).shape)
    {'data': 1, 'model': 1}
    """
    owner = "mesh"
    explicit = checks.flag(owner, "explicit", explicit)
    devices = jax.devices() if devices is None else _devices(owner, devices)
    kind = AxisType.Explicit if explicit else AxisType.Auto
    found = _sizes(owner, {"data": -1} if sizes is None else sizes, len(devices))
    return jax.make_mesh(tuple(found.values()), tuple(found), (kind,) * len(found), devices=devices)


def _devices(owner: str, devices: Any) -> list[jax.Device]:
    rule = "a sequence of JAX devices, such as jax.devices()"
    if not isinstance(devices, Sequence) or not all(isinstance(one, jax.Device) for one in devices):
        raise TypeError(refusal(owner, "devices", rule, devices))
    if not devices:
        raise ValueError(refusal(owner, "devices", "at least one", devices))
    return list(devices)


def _sizes(owner: str, sizes: Any, count: int) -> dict[str, int]:
    """The sizes by name, with -1 replaced; raises unless their product is ``count``."""
    if not isinstance(sizes, Mapping) or not sizes:
        raise TypeError(refusal(owner, "sizes", "a dictionary of sizes by axis, one or more", sizes))
    found = {}
    for name, size in sizes.items():
        checks.text(owner, "sizes", name)
        found[name] = checks.integer(owner, "sizes", size, least=-1)
    free = [name for name, size in found.items() if size == -1]
    given = prod(size for size in found.values() if size != -1)
    if len(free) > 1 or given == 0 or count % given or (not free and given != count):
        rule = f"positive, one of them perhaps -1, with the product {count}, the number of devices"
        raise ValueError(refusal(owner, "sizes", rule, dict(sizes)))
    return found | dict.fromkeys(free, count // given)
