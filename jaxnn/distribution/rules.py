"""Short rules by which arrays are sharded: replicated, fully sharded, by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxnn.distribution.sharding import WHOLE, Rule, Shape, Sharding, Spec
from jaxnn.ops import checks
from jaxnn.ops.checks import refusal
from jaxnn.paths import matching

#: An axis of a mesh, or several that act as one.
Axes = str | Sequence[str]


def replicated(mesh: Mesh, *, batch: Axes | None = None) -> Sharding:
    """Every device has all weights and a part of each batch: data parallelism.

    In a step devices send each other the sums of the gradients, and of the statistics of batch norm.

    Args:
      mesh: the devices.
      batch: the axes of the mesh that split a batch; by default all.

    Raises:
      TypeError, ValueError: what is not a mesh, or an axis that it does not have.

    >>> import jax, jaxnn as nn
    >>> mesh = nn.distribution.mesh(devices=jax.devices()[:1])
    >>> nn.distribution.replicated(mesh).batch
    ('data',)
    """
    owner = "replicated"
    _mesh(owner, mesh)
    return Sharding(mesh, _axes(owner, "batch", batch, mesh, mesh.axis_names), _whole)


def fully_sharded(
    mesh: Mesh, *, axes: Axes | None = None, smallest: int = 2**14, batch: Axes | None = None
) -> Sharding:
    """Weights and the optimiser's state are split over the devices, as is each batch: FSDP, ZeRO-3.

    n devices hold 1/n each of what is large enough. In a step a weight is gathered before it is used, and
    each device keeps its part of the summed gradient. The results are those of ``replicated``.

    Args:
      mesh: the devices.
      axes: the axes of the mesh that split the weights; by default all. With fewer, the weights are
        replicated over the others (hybrid sharding: split within a host, say, and copied between hosts).
      smallest: arrays of fewer values stay whole on every device, since a gather of few values takes as long
        as one of thousands.
      batch: the axes of the mesh that split a batch; by default all.

    An array is split along its largest axis that the devices divide, the last of these if there are several;
    one that has none stays whole.

    Raises:
      TypeError, ValueError: what is not a mesh, an axis that it does not have, or ``smallest`` that is not a
        positive integer.

    >>> import jax, jaxnn as nn
    >>> mesh = nn.distribution.mesh(devices=jax.devices()[:1])
    >>> sharding = nn.distribution.fully_sharded(mesh, smallest=100)
    >>> params = nn.dense(64).init(jax.random.key(0), (1, 32))
    >>> {name: one.spec for name, one in sharding.of(params).weights.items()}
    {'bias': P(), 'kernel': P(None, 'data')}

    Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", 2020.
    """
    owner = "fully_sharded"
    _mesh(owner, mesh)
    over = _axes(owner, "axes", axes, mesh, mesh.axis_names)
    smallest = checks.integer(owner, "smallest", smallest, least=1)
    devices = prod(mesh.shape[axis] for axis in over)

    def rule(path: str | None, shape: Shape) -> Spec:
        fitting = [axis for axis, size in enumerate(shape) if size and size % devices == 0]
        if not fitting or prod(shape) < smallest:
            return WHOLE
        split = max(fitting, key=lambda axis: (shape[axis], axis))
        return Spec(PartitionSpec(*[None] * split, over if len(over) > 1 else over[0]), PartitionSpec())

    return Sharding(mesh, _axes(owner, "batch", batch, mesh, mesh.axis_names), rule)


def by_path(
    mesh: Mesh,
    rules: Mapping[str, PartitionSpec],
    *,
    otherwise: Sharding | None = None,
    batch: Axes | None = None,
) -> Sharding:
    """Arrays are split as the first pattern says that their path matches: tensor parallelism.

    The net computes with such a weight as it is, split, and XLA sends what its products need. (With explicit
    axes JAX raises where a product adds up over a split axis, since it would have to choose.) Two dense
    layers in a row, the first split by its outputs and the second by its inputs, need one sum per example::

        by_path(mesh, {
            "up/kernel": jax.P(None, "model"), "up/bias": jax.P("model"), "down/kernel": jax.P("model", None),
        })

    Args:
      mesh: the devices, such as ``mesh({"data": -1, "model": 4})``.
      rules: by pattern a ``jax.P``, with the axis of the mesh, a tuple of them, or None for every axis of the
        array. Patterns are those of ``nn.training.labels``, and match paths in the weights and in the state
        of the net.
      otherwise: the rule for arrays that no pattern matches, such as ``fully_sharded(mesh, axes="data")``; by
        default they are replicated.
      batch: the axes of the mesh that split a batch; by default the first one.

    Raises:
      TypeError: what is not a mesh, or not a ``jax.P`` by pattern.
      ValueError: an axis that the mesh does not have, or the same twice; ``otherwise`` of another mesh; when
        the rule is used, a pattern that matches no path, or a ``jax.P`` that does not fit an array.

    >>> import jax, jaxnn as nn
    >>> mesh = nn.distribution.mesh({"data": 1, "model": 1}, devices=jax.devices()[:1])
    >>> sharding = nn.distribution.by_path(mesh, {"*/kernel": jax.P(None, "model")})
    >>> params = nn.serial(nn.dense(64), head=nn.dense(10)).init(jax.random.key(0), (1, 32))
    >>> sharding.of(params).weights["head"]["kernel"].spec
    P(None, 'model')
    """
    owner = "by_path"
    _mesh(owner, mesh)
    if not isinstance(rules, Mapping):
        raise TypeError(refusal(owner, "rules", "a dictionary of jax.P by pattern", rules))
    for pattern, spec in rules.items():
        checks.text(owner, "rules", pattern)
        if not isinstance(spec, PartitionSpec):
            raise TypeError(refusal(owner, "rules", f"a jax.P for {pattern!r}", spec))
        _axes(owner, "rules", [name for entry in spec for name in _names(entry)], mesh)
    if otherwise is not None and not isinstance(otherwise, Sharding):
        raise TypeError(refusal(owner, "otherwise", "None or another rule, such as fully_sharded", otherwise))
    if otherwise is not None and otherwise.mesh != mesh:
        raise ValueError(f"{owner}: otherwise must be a rule of the same mesh, got one of {otherwise.mesh}")
    given = dict(rules)
    others: Rule = _whole if otherwise is None else otherwise.rule

    def rule(path: str | None, shape: Shape) -> Spec:
        pattern = None if path is None else matching(path, given)
        if pattern is None:
            return others(path, shape)
        _require_fitting(f"{owner}: {pattern!r}", path, shape, given[pattern], mesh)
        return Spec(given[pattern], given[pattern])

    split = _axes(owner, "batch", batch, mesh, mesh.axis_names[:1])
    patterns = (*given, *(() if otherwise is None else otherwise.patterns))
    return Sharding(mesh, split, rule, patterns)


def _whole(path: str | None, shape: Shape) -> Spec:
    return WHOLE


def _mesh(owner: str, mesh: Any) -> None:
    if not isinstance(mesh, Mesh):
        rule = "a mesh, as nn.distribution.mesh or jax.make_mesh gives"
        raise TypeError(refusal(owner, "mesh", rule, mesh))
    kinds = set(mesh.axis_types)
    if len(kinds) != 1 or AxisType.Manual in kinds:
        raise ValueError(refusal(owner, "mesh", "of axes that are all Auto or all Explicit", mesh.axis_types))


def _names(entry: Any) -> tuple[Any, ...]:
    """The axes of the mesh in one entry of a spec."""
    if entry is None:
        return ()
    return tuple(entry) if isinstance(entry, tuple | list) else (entry,)


def _axes(
    owner: str, name: str, value: Any, mesh: Mesh, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """Axes of the mesh as a tuple; raises unless it has them, and none comes twice."""
    if value is None and default is not None:
        return default
    rule = f"axes of the mesh, of {', '.join(map(repr, mesh.axis_names))}, each once"
    if not isinstance(value, str | tuple | list):
        raise TypeError(refusal(owner, name, rule, value))
    axes = (value,) if isinstance(value, str) else tuple(value)
    if len(set(map(str, axes))) != len(axes) or any(axis not in mesh.axis_names for axis in axes):
        raise ValueError(refusal(owner, name, rule, value))
    if default is not None and not axes:
        raise ValueError(refusal(owner, name, f"at least one of the {rule}", value))
    return axes


def _require_fitting(owner: str, path: str | None, shape: Shape, spec: PartitionSpec, mesh: Mesh) -> None:
    """Raises unless an array of this shape can be split so."""
    if len(spec) > len(shape):
        raise ValueError(f"{owner} must have at most {len(shape)} entries for {path} {shape}, got {spec}")
    for axis, entry in enumerate(spec):
        devices = prod(mesh.shape[name] for name in _names(entry))
        if shape[axis] % devices:
            raise ValueError(
                f"{owner} must split axes whose size the devices divide, got axis {axis} of {path} {shape} "
                f"over {devices} devices by {spec}"
            )
