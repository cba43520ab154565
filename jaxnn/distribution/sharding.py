"""``Sharding``: which device holds which part of the params, the optimiser's state and a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxnn.ops.checks import refusal
from jaxnn.params import Params
from jaxnn.paths import by_path, paths, require_used

Tree = TypeVar("Tree")
Shape = tuple[int, ...]


class Spec(NamedTuple):
    """How an array is sharded.

    Attributes:
      stored: between steps.
      computed: while the net computes with it; where that differs, it is gathered first.
    """

    stored: PartitionSpec
    computed: PartitionSpec


WHOLE = Spec(PartitionSpec(), PartitionSpec())  #: on every device as a whole

#: ``rule(path, shape)``: how an array of the params is sharded; the path is None for other arrays
Rule = Callable[[str | None, Shape], Spec]


@dataclass(frozen=True)
class Sharding:
    """Which device of a mesh holds what, for ``make_step``, ``fit``, ``evaluate`` and ``init_state``.

    Made by ``replicated``, ``fully_sharded`` and ``by_path``.

    Attributes:
      mesh: the devices.
      batch: the axes of the mesh that split a batch by its rows.
    """

    mesh: Mesh
    batch: tuple[str, ...]
    rule: Rule = field(repr=False)
    patterns: tuple[str, ...] = field(default=(), repr=False)  #: each must match a path

    @cached_property
    def whole(self) -> NamedSharding:
        """That of an array which every device has as a whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @cached_property
    def rows(self) -> NamedSharding:
        """That of an array of a batch."""
        return NamedSharding(self.mesh, PartitionSpec(self.batch))

    @property
    def pieces(self) -> int:
        """Into how many pieces a batch is split."""
        return prod(self.mesh.shape[axis] for axis in self.batch)

    @cached_property
    def own(self) -> tuple[int, ...]:
        """Which of the pieces the devices of this process hold."""
        parts = self.rows.addressable_devices_indices_map((self.pieces,)).values()
        return tuple(sorted({i for part in parts if part for i in range(self.pieces)[part[0]]}))

    @property
    def explicit(self) -> bool:
        """Whether shardings are part of the types of arrays."""
        return AxisType.Explicit in self.mesh.axis_types

    def of(self, tree: Any) -> Any:
        """The sharding of every array of ``Params`` or a ``TrainState``, by whose shapes they are chosen.

        An array of the optimiser's state is sharded as the weight that it belongs to: the one whose path its
        own ends in (``0/mu/head/kernel``), where it has the same shape, or that shape after other axes.

        Raises:
          TypeError: neither of them.
          ValueError: a pattern that matches no path, or a spec that does not fit an array.

        >>> import jax, jaxnn as nn
        >>> mesh = nn.distribution.mesh(devices=jax.devices()[:1])
        >>> sharding = nn.distribution.fully_sharded(mesh, smallest=1)
        >>> params = nn.dense(4).init(jax.random.key(0), (1, 3))
        >>> sharding.of(params).weights["kernel"].spec
        P(None, 'data')
        """
        if isinstance(tree, Params):
            require_used("by_path", self.patterns, [*paths(tree.weights), *paths(tree.state)])
            return self._named(self._specs(tree))
        if not isinstance(getattr(tree, "params", None), Params) or not hasattr(tree, "opt_state"):
            rule = "Params, as init gives, or a TrainState, as init_state gives"
            raise TypeError(refusal("place", "tree", rule, tree))
        others = jax.tree.map(lambda _: self.whole, tree)
        opt_state = self._of_opt_state(tree.opt_state, tree.params.weights)
        return others._replace(params=self.of(tree.params), opt_state=opt_state)

    def is_on_mesh(self, leaf: Any) -> bool:
        """Whether an array is on the devices of this mesh, split in any way."""
        sharding = leaf.sharding if isinstance(leaf, jax.Array) else None
        return isinstance(sharding, NamedSharding) and sharding.mesh == self.mesh

    def context(self) -> Any:
        """A context in which traced code may name the axes of the mesh, in ``jax.P``."""
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    def gathered(self, params: Tree) -> Tree:
        """Traced params, each as the net computes with it."""
        return self._constrained(params, self._named(self._specs(params), "computed"))

    def scattered(self, grads: Tree) -> Tree:
        """Traced gradients, each sharded as its weight is stored."""
        return self._constrained(grads, self._named(self._specs(grads)))

    def stored(self, tree: Tree) -> Tree:
        """Traced params or a traced state, each array as it is stored between steps."""
        return self._constrained(tree, self.of(tree))

    def spread(self, batch: Tree) -> Tree:
        """A traced batch, split by its rows."""
        return self._constrained(batch, jax.tree.map(lambda _: self.rows, batch))

    def everywhere(self, tree: Tree) -> Tree:
        """Traced arrays, whole on every device."""
        return self._constrained(tree, jax.tree.map(lambda _: self.whole, tree))

    def _constrained(self, tree: Any, shardings: Any) -> Any:
        constrain = jax.sharding.reshard if self.explicit else jax.lax.with_sharding_constraint
        return jax.tree.map(constrain, tree, shardings)

    def _specs(self, tree: Any) -> Any:
        """The ``Spec`` of every array of params, or of weights alone."""
        if isinstance(tree, Params):
            return Params(*map(self._specs, tree))
        return by_path(lambda path, leaf: self.rule(path, leaf.shape), tree)

    def _named(self, specs: Any, which: str = "stored") -> Any:
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, getattr(spec, which)), specs, is_leaf=_is_spec
        )

    def _of_opt_state(self, opt_state: Any, weights: Any) -> Any:
        stored = jax.tree.leaves(self._specs(weights), is_leaf=_is_spec)
        known = {
            path: (leaf.shape, spec.stored)
            for path, leaf, spec in zip(paths(weights), jax.tree.leaves(weights), stored, strict=True)
        }

        def sharding(path: str, leaf: Any) -> NamedSharding:
            parts = path.split("/")
            owners = ("/".join(parts[i:]) for i in range(len(parts) + 1))
            owner = next((owner for owner in owners if owner in known), None)
            if owner is not None:
                shape, spec = known[owner]
                others = np.ndim(leaf) - len(shape)
                if shape and others >= 0 and np.shape(leaf)[others:] == shape:
                    after = PartitionSpec(*[None] * others, *spec) if len(spec) else spec
                    return NamedSharding(self.mesh, after)
            return NamedSharding(self.mesh, self.rule(None, np.shape(leaf)).stored)

        return by_path(sharding, opt_state)


def _is_spec(node: Any) -> bool:
    return isinstance(node, Spec)
