"""``Params``: all the arrays of a layer, and the sentences for those of another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any, NamedTuple, TypeGuard
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.entries import Entries, require_entries
from jaxnn.ops import checks

Key = jax.Array
Weights = Any  #: a nested dict of arrays that an optimiser may change
State = Any  #: a nested dict of arrays that it may not


class Params(NamedTuple):
    """All the arrays of a layer, as one pytree.

    ``weights`` is what an optimiser may touch. ``state`` is the rest: running statistics, frozen weights.
    """

    weights: Weights
    state: State


def is_key(leaf: Any) -> TypeGuard[jax.Array]:
    """Whether the leaf is a typed PRNG key, which has no bytes of its own."""
    return isinstance(leaf, jax.Array) and is_key_dtype(leaf.dtype)


@lru_cache  # a checkpoint may have very many leaves
def is_key_dtype(dtype: Any) -> bool:
    """Whether arrays of the dtype hold typed PRNG keys."""
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def fold_name(key: Key, name: str) -> Key:
    """The key of the part called ``name``: it depends on that name and on no other part."""
    return _fold_in(key, np.uint32(crc32(name.encode())))


def checks_params(
    name: str,
    function: Callable[..., Any],
    *,
    entries: Entries | None = None,
    state: Entries | None = None,
) -> Callable[..., Any]:
    """``function(params, ...)``, which raises a clear sentence when ``params`` are those of another layer.

    That is, where they disagree with ``entries`` and ``state``; without these, where an entry is missing.
    """

    @wraps(function)
    def checked(params: Params, *args: Any, **named: Any) -> Any:
        require_params(name, params)
        if entries is not None:
            require_entries(name, state or {}, params.state)
            require_entries(name, entries, params.weights)
            return function(params, *args, **named)
        try:
            return function(params, *args, **named)
        except KeyError as error:
            missing = _missing(partial(function, **named), params, args)
            if missing is None:
                raise
            raise ValueError(f"{name}: params of another net: {missing}") from error

    return checked


def _missing(function: Callable[..., Any], params: Params, args: tuple[Any, ...]) -> str | None:
    """The entry of ``params`` that is missing, if ``function`` failed to find one of theirs.

    A KeyError does not say which dict it is from, so the function runs again on dicts that do.
    """
    failed: list[tuple[KeyError, str]] = []

    class Reporting(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            error = KeyError(name)
            failed.append((error, f"they have no entry {name!r}, only {sorted(self)}"))
            raise error

    def reporting(tree: Any) -> Any:
        return Reporting({k: reporting(v) for k, v in tree.items()}) if type(tree) is dict else tree

    try:
        function(Params(*map(reporting, params)), *args)
    except Exception as error:
        return next((sentence for known, sentence in failed if known is error), None)
    return None


def require_params(name: str, params: Any) -> None:
    """Raises unless ``params`` is a ``Params``."""
    if not isinstance(params, Params):
        raise TypeError(
            f"{name}: params must be Params(weights, state), as init gives, got {type(params).__name__}"
        )


def require_arguments(name: str, params: Any, x: Any, key: Any = None) -> None:
    """Raises unless these are what JAX's transformations can take: params, arrays, a key."""
    require_params(name, params)
    if jax.tree.leaves(x):  # a part may be made for None or ()
        checks.arrays(name, x)
    checks.optional_key(name, key)


_fold_in = jax.jit(jax.random.fold_in)  # as one program: a net needs hundreds of keys
