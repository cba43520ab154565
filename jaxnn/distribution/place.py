"""From arrays of one process to arrays over all devices, and back."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxnn.distribution.sharding import Sharding
from jaxnn.ops import checks
from jaxnn.ops.checks import refusal, shown
from jaxnn.params import is_key

Tree = TypeVar("Tree")


def place(tree: Tree, sharding: Sharding) -> Tree:
    """The params, or the state of a run, with every array on the devices that the rule says.

    In several processes each must pass the same values, and keeps its own parts. Arrays that are in place
    already are returned as they are.

    Args:
      tree: ``Params`` or a ``TrainState``, of arrays of NumPy or JAX.
      sharding: a rule, such as ``fully_sharded(mesh)``.

    Raises:
      TypeError, ValueError: something else, or a rule that does not fit the arrays.

    >>> import jax, jaxnn as nn
    >>> sharding = nn.distribution.replicated(nn.distribution.mesh())
    >>> params = nn.distribution.place(nn.dense(4).init(jax.random.key(0), (1, 3)), sharding)
    >>> params.weights["kernel"].sharding.spec
    P()
    """
    require_sharding("place", sharding)
    return jax.tree.map(placed, tree, sharding.of(tree))


def place_batch(batch: Tree, sharding: Sharding) -> Tree:
    """A batch, or any pytree of arrays with one row per example, split by its rows over the devices.

    In several processes each passes its own rows alone, as many as the others; what comes back is the whole
    batch. An array that several processes hold already is returned as it is.

    Args:
      batch: arrays of NumPy or JAX. The devices of one process must divide their rows.
      sharding: a rule, such as ``fully_sharded(mesh)``.

    Raises:
      TypeError: something else.
      ValueError: rows that the devices don't divide.

    >>> import numpy as np, jaxnn as nn
    >>> mesh = nn.distribution.mesh()
    >>> batch = nn.distribution.place_batch(np.ones((mesh.size * 2, 3)), nn.distribution.replicated(mesh))
    >>> batch.addressable_shards[0].data.shape
    (2, 3)
    """
    owner = "place_batch"
    require_sharding(owner, sharding)
    return split("place_batch: batch", batch, sharding)


def gather(tree: Tree) -> Tree:
    """Every array as a whole, as a NumPy array: what is to be saved, printed or compared.

    In several processes all of them must call it, and each gets everything. A key, which NumPy does not have,
    comes back as a JAX array.

    Args:
      tree: a pytree of arrays.

    >>> import jax, jaxnn as nn
    >>> sharding = nn.distribution.fully_sharded(nn.distribution.mesh(), smallest=1)
    >>> params = nn.distribution.place(nn.dense(16).init(jax.random.key(0), (1, 3)), sharding)
    >>> nn.distribution.gather(params).weights["kernel"].shape
    (3, 16)
    """
    return jax.tree.map(_whole, tree)


def require_sharding(owner: str, value: Any) -> None:
    """Raises unless ``value`` is a rule."""
    if not isinstance(value, Sharding):
        rule = "a rule of nn.distribution, such as fully_sharded(mesh)"
        raise TypeError(refusal(owner, "sharding", rule, value))


def require_rows(owner: str, rows: int, sharding: Sharding, times: int = 1) -> None:
    """Raises unless a batch of so many rows can be split, and each part in so many pieces."""
    if rows % (sharding.pieces * times):
        each = f" and accumulate={times}" if times > 1 else ""
        axes = ", ".join(map(repr, sharding.batch))
        raise ValueError(
            f"{owner} must have rows that the {sharding.pieces} devices along {axes}{each} divide, "
            f"got {rows}; a batch that is filled up takes a mask, as nn.data.minibatches gives"
        )


def own_rows(sharding: Sharding, rows: int) -> np.ndarray:
    """Which rows of a batch of so many this process holds: those that it reads, and passes to a step.

    In one process these are all.

    Args:
      sharding: a rule, such as ``fully_sharded(mesh)``.
      rows: those of the whole batch; the devices must divide them.

    Raises:
      TypeError, ValueError: not a rule, or rows that the devices don't divide.

    >>> import jaxnn as nn
    >>> mesh = nn.distribution.mesh()
    >>> len(nn.distribution.own_rows(nn.distribution.replicated(mesh), 2 * mesh.size)) == 2 * mesh.size
    True
    """
    owner = "own_rows"
    require_sharding(owner, sharding)
    rows = checks.integer(owner, "rows", rows, least=1)
    require_rows(f"{owner}: a batch", rows, sharding)
    return np.arange(rows).reshape(sharding.pieces, -1)[list(sharding.own)].ravel()


def split(owner: str, batch: Tree, sharding: Sharding) -> Tree:
    """``place_batch``; the sentences speak of ``owner``."""
    own = len(sharding.own)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            if leaf.sharding.is_equivalent_to(sharding.rows, leaf.ndim) or not leaf.is_fully_addressable:
                return leaf
        elif not isinstance(leaf, np.ndarray):
            raise TypeError(f"{owner} must hold arrays of NumPy or JAX, got {shown(leaf)}")
        if leaf.ndim == 0:
            raise ValueError(f"{owner} must hold arrays of one row per example, got shape ()")
        if leaf.shape[0] % own:
            require_rows(owner, leaf.shape[0], sharding)
        if sharding.rows.is_fully_addressable:
            return jax.device_put(leaf, sharding.rows)
        return jax.make_array_from_process_local_data(sharding.rows, np.asarray(leaf))

    return jax.tree.map(one, batch)


def placed(leaf: Any, sharding: NamedSharding) -> Any:
    """One array, of which every process has the same values, where ``sharding`` says."""
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if is_key(leaf):
        data = placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return _moved(leaf, sharding)
    if sharding.is_fully_addressable:
        # A copy on every device, since a step that is given the result takes its memory.
        return jax.device_put(leaf, sharding, may_alias=False)
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])


def _moved(leaf: Any, sharding: NamedSharding) -> Any:
    """An array over several processes, with another sharding."""
    return jax.jit(lambda array: array, out_shardings=sharding)(leaf)


def _whole(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        mesh = leaf.sharding.mesh  # type: ignore[attr-defined]
        leaf = _moved(leaf, NamedSharding(mesh, jax.P()))
    return leaf if is_key(leaf) else np.asarray(leaf)
