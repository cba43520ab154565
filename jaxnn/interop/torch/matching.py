"""What goes where between a net and a state dict: by name, by order and shape, or as a mapping says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.inspection.table import Table
from jaxnn.interop.torch.convert import OPTIONAL, RECURRENT, expected, known, refusal
from jaxnn.interop.torch.flattening import Features, by_program, by_structure
from jaxnn.interop.torch.modules import Module, modules, opened
from jaxnn.interop.units import Slots, Unit, units
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Params, require_params
from jaxnn.paths import joined, leaves_by_path
from jaxnn.shapes import Spec

Mapped = Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One layer of a net and the module of the state dict that fills it.

    Attributes:
      path: of the layer; empty for a module that the net has no place for.
      kind: the name of the layer's constructor.
      shape: of its first array.
      module: the name of the module; empty for a layer that none fits.
      their_shape: of that module's first entry.
      by: what decided: ``"name"``, ``"order"`` or ``"mapping"``.
      problem: why it can't be loaded so, as a sentence; empty if it can.
    """

    path: str
    kind: str
    shape: tuple[int, ...] | None
    module: str
    their_shape: tuple[int, ...] | None
    by: Literal["name", "order", "mapping", ""]
    problem: str = ""


@dataclass(frozen=True)
class Match:
    """What ``match`` found: prints as a table with the problems below it, as HTML in a notebook.

    Attributes:
      rows: one per layer that holds arrays, in the net's order, then one per module that is left over.
    """

    rows: tuple[Row, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """The sentences that ``load_state_dict`` would raise; none if everything fits."""
        return tuple(row.problem for row in self.rows if row.problem)

    def _table(self) -> Table:
        body = [
            (row.path or "—", row.kind, _shown(row.shape), row.module or "—", _shown(row.their_shape), row.by)
            for row in self.rows
        ]
        return Table(("layer", "kind", "shape", "module", "shape there", "by"), body, left=6)

    def __str__(self) -> str:
        return "\n".join([self._table().text(), *([""] if self.problems else []), *self.problems])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table().html()


class Place(NamedTuple):
    """A unit, or one array of a layer of one's own, and how its features are ordered there."""

    unit: Unit
    flat: int | None
    theirs: str  #: the name of its module in PyTorch, by the path
    entries: Mapping[str, jax.ShapeDtypeStruct]
    problem: str = ""


class Found(NamedTuple):
    """The places of a net, the module for each, and what is to be shown of it."""

    places: list[Place]
    modules: dict[str, Module]  #: by path of the place
    table: Match


def match(
    net: LayerLike,
    params: Params,
    state_dict: Any,
    mapping: Mapped | None = None,
    *,
    shape: Spec = None,
) -> Match:
    """What would go where if ``state_dict`` was loaded into ``net``. Nothing is loaded or computed.

    Each layer gets the module of the same name, ``features/0`` that of ``features.0``. Those without one get
    what is left, in the order of both sides and by shape, so that every array fits. A ``mapping`` decides
    where given. Two layers of the same shape in swapped order fit both ways: read the table.

    Args:
      net: the layer.
      params: its params, or their shapes from ``jax.eval_shape(net.init, key, x)``.
      state_dict: a mapping from PyTorch's names to arrays (NumPy's, JAX's or PyTorch's), or the name of a
        ``.safetensors`` file. Such a file keeps no order: there the names are taken in alphabetical order,
        and by number where they hold one.
      mapping: paths of layers, or of composites with all that is in them, to names of modules, such as
        ``{"head": "fc", "body": "backbone.body"}``. The path ``""`` stands for the net.
      shape: that of an input, as for ``init``. Needed only where a layer's input is flattened from channels
        last in a way that the structure of the net doesn't show; a sentence asks for it then.

    Raises:
      TypeError: ``state_dict`` isn't a mapping of arrays or the name of a file.
      ValueError: the file is damaged, or pickled; ``mapping`` names what isn't there.
      ImportError: for a file, without safetensors.

    >>> import jax, numpy as np, jaxnn as nn
    >>> net = nn.serial(nn.dense(3), nn.relu, head=nn.dense(2))
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> theirs = {"fc.weight": np.ones((3, 4), np.float32), "fc.bias": np.ones(3, np.float32)}
    >>> print(nn.interop.torch.match(net, params, theirs))
    layer    kind   shape   module  shape there  by
    ──────────────────────────────────────────────────
    dense_0  dense  (4, 3)  fc      (3, 4)       order
    head     dense  (3, 2)  —       —
    <BLANKLINE>
    head: no module of the state dict fits; it needs weight (2, 3), bias (2,)
    """
    return find("match", net, params, state_dict, mapping, shape).table


def find(
    owner: str,
    net: LayerLike,
    params: Params,
    state_dict: Any,
    mapping: Mapped | None,
    shape: Spec = None,
    *,
    channels_last: bool = False,
) -> Found:
    """``match``, with what is needed to load it; ``channels_last``: they flatten as jaxnn does."""
    own = places(owner, net, params, mapping, shape, channels_last=channels_last)
    theirs = modules(opened(owner, state_dict))
    taken, by = _named(owner, own, theirs, mapping or {})
    taken_modules = {module.name for module in taken.values()}
    left = [place for place in own if place.unit.path not in taken]
    over = [module for module in theirs.values() if module.name not in taken_modules]
    for place, module in _aligned(left, over):
        taken[place.unit.path] = module
        by[place.unit.path] = "order"
    rows = [_row(place, taken.get(place.unit.path), by.get(place.unit.path, "")) for place in own]
    used = {module.name for module in taken.values()}
    rows += [_left_over(module) for module in theirs.values() if module.name not in used]
    return Found(own, taken, Match(tuple(rows)))


# --- the net's side ---


def places(
    owner: str,
    net: LayerLike,
    params: Params,
    mapping: Mapped | None,
    shape: Spec = None,
    *,
    channels_last: bool = False,
) -> list[Place]:
    """Every place for a module in ``net``, in order."""
    layer = given_layer(owner, "net", net)
    require_params(owner, params)
    if mapping is not None and not _is_mapping(mapping):
        rule = "a dict from paths of layers to names of modules"
        raise TypeError(checks.refusal(owner, "mapping", rule, mapping))
    features: Mapping[str, Features] = {}
    if not channels_last:
        features = by_structure(layer, params) if shape is None else by_program(layer, params, shape, owner)
    found = [place for unit in units(layer, params) for place in _places(unit, features, mapping or {})]
    paths = [place.unit.path for place in found]
    for path in mapping or {}:
        if path and not any(own == path or own.startswith(f"{path}/") for own in paths):
            raise ValueError(
                f"{owner}: mapping must have paths of the net, got {path!r}; there are {', '.join(paths)}"
            )
    return found


def _is_mapping(mapping: Any) -> bool:
    return isinstance(mapping, Mapping) and all(isinstance(s, str) for pair in mapping.items() for s in pair)


def _places(unit: Unit, features: Mapping[str, Features], mapping: Mapped) -> list[Place]:
    if not known(unit.kind):
        leaves = jax.tree.leaves(unit.slots)
        return [
            _place(Unit(path, "array", unit.layer, Slots({"array": leaf}, {}, {})), None, mapping)
            for path, leaf in zip(bare_paths(unit), leaves, strict=True)
        ]
    # maxout is one unit, but a dense layer and a maximum in the net's program.
    given = features.get(unit.path) or features.get(f"{unit.path}/dense") or Features(None, False)
    flat, problem = None, refusal(unit) or ""
    if (
        unit.kind in ("dense", "maxout", "batch_norm", "layer_norm", "rms_norm", "prelu")
        and given.flat is not False
    ):
        flat = given.channels if given.flat else None
        if flat is None:
            problem = "the order of its inputs is not known, for they may be flattened; give shape="
        elif unit.kind == "layer_norm" and _rank(unit) > 1:
            flat = None
    place = _place(unit, flat if not problem else None, mapping)
    return [place._replace(problem=f"{unit.path}: {problem}" if problem else "")]


def bare_paths(unit: Unit) -> list[str]:
    """The paths of the arrays of a layer of one's own: its own path if it is a single one."""
    names = [joined(path[1:]) for path, _ in jax.tree_util.tree_leaves_with_path(unit.slots)]
    return [unit.path] if len(names) == 1 else [f"{unit.path}/{name}" for name in names]


def _rank(unit: Unit) -> int:
    return max((leaf.ndim for leaf in jax.tree.leaves(unit.slots.weights)), default=0)


def _place(unit: Unit, flat: int | None, mapping: Mapped) -> Place:
    entries = {} if refusal(unit) else expected(unit, flat)
    return Place(unit, flat, module_name(unit.path, unit.kind, mapping), entries)


def module_name(path: str, kind: str, mapping: Mapped) -> str:
    """The name of the module for a layer, by its path and the mapping.

    PyTorch keeps all layers and directions of a recurrent net in one module: ``lstm/l1/backward`` is
    ``lstm.l1_reverse`` here, and ``lstm`` alone its first layer.
    """
    parts = path.split("/")
    part = ""
    if kind in RECURRENT and path not in mapping:
        reverse = "_reverse" if parts[-1] == "backward" else ""
        parts = parts[:-1] if parts[-1] in ("forward", "backward") else parts
        level = parts.pop() if parts and re.fullmatch(r"l\d+", parts[-1]) else "l0"
        part = level + reverse
    for end in range(len(parts), -1, -1):
        start = "/".join(parts[:end])
        if start in mapping:
            return ".".join(filter(None, (mapping[start], *parts[end:], part)))
    return ".".join(filter(None, (*parts, part)))


# --- both sides ---


def _named(
    owner: str, own: Sequence[Place], theirs: Mapping[str, Module], mapping: Mapped
) -> tuple[dict[str, Module], dict[str, Any]]:
    """The modules that places get by name, and whether the mapping gave the name."""
    taken: dict[str, Module] = {}
    by: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for place in own:
        path = place.unit.path
        mapped = any(start in ("", path) or path.startswith(f"{start}/") for start in mapping)
        name = place.theirs
        if name not in theirs and mapped and place.unit.kind in RECURRENT and f"{name}.l0" in theirs:
            name = f"{name}.l0"
        if name not in theirs:
            if mapped:
                raise ValueError(
                    f"{owner}: mapping must lead to modules of the state dict, got {name!r} for {path!r}; "
                    f"there are {', '.join(theirs) or 'none'}"
                )
            continue
        if name in owners:
            raise ValueError(
                f"{owner}: mapping must give each layer a module of its own, got {name!r} for "
                f"{owners[name]!r} and {path!r}"
            )
        owners[name] = path
        taken[path], by[path] = theirs[name], "mapping" if mapped else "name"
    return taken, by


def _aligned(own: Sequence[Place], theirs: Sequence[Module]) -> list[tuple[Place, Module]]:
    """As many pairs as possible that fit, in the order of both sides.

    What is left between two of them is paired too where both sides have as many left, so that a wrong shape
    is reported beside the right one.
    """
    fits = [[_fits(place, module) for module in theirs] for place in own]
    longest = [[0] * (len(theirs) + 1) for _ in range(len(own) + 1)]
    for i in reversed(range(len(own))):
        for j in reversed(range(len(theirs))):
            skipped = max(longest[i + 1][j], longest[i][j + 1])
            longest[i][j] = max(skipped, 1 + longest[i + 1][j + 1]) if fits[i][j] else skipped
    pairs: list[tuple[Place, Module]] = []
    i = j = gap_i = gap_j = 0

    def between() -> None:
        if i - gap_i == j - gap_j:
            pairs.extend(zip(own[gap_i:i], theirs[gap_j:j], strict=True))

    while i < len(own) and j < len(theirs):
        if fits[i][j] and longest[i][j] == 1 + longest[i + 1][j + 1]:
            between()
            pairs.append((own[i], theirs[j]))
            i, j = i + 1, j + 1
            gap_i, gap_j = i, j
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    i, j = len(own), len(theirs)
    between()
    return pairs


def _fits(place: Place, module: Module) -> bool:
    return bool(place.entries) and not _faults(place, module)


def _faults(place: Place, module: Module) -> list[str]:
    """What keeps the entries of ``module`` from being those of ``place``."""
    wanted, given = dict(place.entries), dict(module.entries)
    if place.unit.kind == "array" and len(given) == 1:
        wanted = dict(zip(given, wanted.values(), strict=True))
    missing = [name for name in wanted if name not in given and name not in OPTIONAL]
    extra = [name for name in given if name not in wanted and name not in OPTIONAL]
    faults = [f"has no {name or 'array'}" for name in missing]
    faults += [f"has {module.names[name]}, which {place.unit.path} has no place for" for name in extra]
    for name, spec in wanted.items():
        if name in given and name not in OPTIONAL and not _same_shape(place, given[name].shape, spec.shape):
            transposed = len(spec.shape) == 2 and given[name].shape == spec.shape[::-1]
            faults.append(
                f"must have {name or 'an array'} of shape {spec.shape}, got {given[name].shape}"
                + (", which is transposed" if transposed else "")
            )
    return faults


def _same_shape(place: Place, theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """A bare parameter may have axes of size 1 more or less: a position embedding (1, T, F), say."""
    if place.unit.kind != "array":
        return theirs == ours
    return [size for size in theirs if size != 1] == [size for size in ours if size != 1]


def _row(place: Place, module: Module | None, by: Any) -> Row:
    unit = place.unit
    row = Row(unit.path, unit.kind, _first_shape(unit), "", None, by, place.problem)
    if module is None:
        needs = ", ".join(
            f"{name or 'an array'} {spec.shape}"
            for name, spec in place.entries.items()
            if name not in OPTIONAL
        )
        problem = place.problem or f"{unit.path}: no module of the state dict fits; it needs {needs}"
        return replace(row, problem=problem)
    row = replace(row, module=module.name, their_shape=next(iter(module.entries.values())).shape)
    if place.problem:
        return row
    if faults := _faults(place, module):
        return replace(row, problem=f"{unit.path}: the module {module.name!r} {'; and '.join(faults)}")
    return replace(row, problem=_values(place, module))


def _first_shape(unit: Unit) -> tuple[int, ...]:
    named = leaves_by_path(unit.slots)
    main = next((name for name in named if "kernel" in name or name.endswith("scale")), next(iter(named)))
    shape: tuple[int, ...] = named[main].shape
    return shape


def _values(place: Place, module: Module) -> str:
    """What is wrong with the values or dtypes of entries of the right shapes."""
    wanted = place.entries
    if place.unit.kind == "array":
        wanted = dict(zip(module.entries, wanted.values(), strict=True))
    for name, array in module.entries.items():
        if name in OPTIONAL:
            continue
        dtype = wanted[name].dtype
        if array.dtype != dtype:
            return (
                f"{place.unit.path}: {module.names[name]} must be {dtype}, as the params are, got "
                f"{array.dtype}; cast one of them"
            )
        if jnp.issubdtype(array.dtype, jnp.inexact):
            bad = array.size - int(np.isfinite(array).sum())
            if bad:
                return (
                    f"{place.unit.path}: {module.names[name]} must be finite, got NaN or ∞ in {bad} of its "
                    f"{array.size} values"
                )
    return ""


def _left_over(module: Module) -> Row:
    names = ", ".join(module.names.values())
    problem = f"{names}: the net has no place left for {'it' if len(module.names) == 1 else 'them'}"
    return Row("", "", None, module.name, next(iter(module.entries.values())).shape, "", problem)


def _shown(shape: tuple[int, ...] | None) -> str:
    return "—" if shape is None else str(shape)
