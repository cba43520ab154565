"""Embedding: a learnt row per id, and the same rows as an output layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import ArrayLike, DTypeLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.matrix_product import WHOLE, matrix_product
from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.initialisers import UNIT_ROWS
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks
from jaxnn.params import Key, Params, Weights, fold_name
from jaxnn.sequences import each_step


@constructor
def embedding(
    vocabulary: int,
    features: int,
    *,
    embedding_init: Initializer = UNIT_ROWS,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """A learnt row per id: ids ``(...)`` → ``(..., features)``, y[..., :] = embedding[ids[...], :].

    Weights: ``embedding (vocabulary, features)``. For an output layer that shares them, see ``attend``.

    An id that is negative or not below ``vocabulary`` gives a row of NaN, and changes no row's gradient.
    Under ``jit`` nothing can raise on a value, and a row of zeros, the last row or a wrapped-around one would
    let a wrong vocabulary go unnoticed; NaN shows in the loss at once. Reserve an id for padding, or give
    ``(ids, lengths)``: what stands past the end of a sequence then gives zeros, whatever id it is.

    Args:
      vocabulary: the number of rows; ids are 0 … vocabulary − 1, of any integer dtype.
      features: the size of a row.
      embedding_init: any function of (key, shape, dtype). By default normal with variance 1 / features, as in
        Flax; PyTorch's is ``jax.nn.initializers.normal(1.0)``.
      dtype: of the weights, and so of the output; it can't be taken from ids.

    Raises:
      TypeError: for ids that are not integers. A bare shape given to ``init`` stands for a float32 input;
        give the ids themselves or a ``jax.ShapeDtypeStruct``.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> tokens = nn.embedding(100, 16)
    >>> ids = jnp.asarray([[3, 14, 15], [92, 65, 35]])
    >>> tokens.apply(tokens.init(jax.random.key(0), ids), ids).shape
    (2, 3, 16)
    """
    vocabulary = checks.integer("embedding", "vocabulary", vocabulary, least=1)
    features = checks.integer("embedding", "features", features, least=1)
    checks.initialisers("embedding", embedding_init=embedding_init)
    dtype = checks.floating_type("embedding", "dtype", dtype)

    def init(key: Key, ids: Any) -> Weights:
        if not isinstance(ids, _Queries):
            _check_ids(checks.one_shape("embedding", ids))
        shape, own_key = (vocabulary, features), fold_name(key, "embedding")
        return {"embedding": drawn("embedding", "embedding_init", embedding_init, own_key, shape, dtype)}

    def apply(weights: Weights, ids: Any) -> jax.Array:
        if isinstance(ids, _Queries):
            return _scores(jnp.asarray(weights["embedding"]), ids.x)
        return _rows(jnp.asarray(weights["embedding"]), checks.array("embedding", ids, "ids"))

    return each_step(stateless("embedding", init, apply, entries={"embedding": (vocabulary, features)}))


def attend(embedding: Params | Callable[[Any], jax.Array], x: ArrayLike) -> jax.Array:
    """Scores of ``x`` against every row of an embedding: (..., features) → (..., vocabulary), x · embeddingᵀ.

    Used so, an embedding is an output layer tied to the input layer: one table, gradients from both ends.

    Args:
      embedding: the ``Params`` of an ``embedding`` layer, or, within ``graph``, the part itself.
      x: floating-point, of the embedding's dtype.

    Raises:
      TypeError: for an ``embedding`` that is neither, or an ``x`` of another dtype.
      ValueError: if the last axis of ``x`` is not ``features``.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> model = nn.graph(lambda f, ids: nn.attend(f.tokens, f.hidden(f.tokens(ids))),
    ...                  tokens=nn.embedding(100, 16), hidden=nn.dense(16))
    >>> params = model.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 8), jnp.int32))
    >>> model.apply(params, jnp.zeros((2, 8), jnp.int32)).shape
    (2, 8, 100)

    Press & Wolf, "Using the output embedding to improve language models", 2017 (arXiv:1608.05859).
    """
    if isinstance(embedding, Params) and "embedding" in embedding.weights:
        return _scores(embedding.weights["embedding"], x)
    if not callable(embedding):
        raise TypeError(
            "attend: embedding must be the Params of an embedding layer or a part of a graph, got "
            f"{embedding!r}"
        )
    return embedding(_Queries(x))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Queries:
    """Tells an embedding layer, through any wrappers, to score ``x`` instead of looking up ids."""

    x: Any


def _check_ids(ids: Any) -> None:
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"embedding: ids must be integers, got {ids.dtype} (a bare shape given to init means float32; "
            "give the ids themselves or jax.ShapeDtypeStruct(shape, jnp.int32))"
        )


def _rows(table: jax.Array, ids: jax.Array) -> jax.Array:
    _check_ids(ids)
    # The bound must not overflow in the ids' dtype (int8 cannot hold a vocabulary of 1,000), nor an id in the
    # gather's, which cuts int64 to int32. Casting an unsigned id that is too large makes it negative.
    wide = ids.astype(jnp.int64 if ids.dtype.itemsize == 8 else jnp.int32)
    known = (wide >= 0) & (wide < table.shape[0])
    place = jnp.where(known, wide, table.shape[0]).astype(jnp.int32)
    # The gradient sums over all occurrences of an id, in float32 at least.
    exact = table.astype(accumulator(table.dtype))
    rows = exact.at[place].get(
        mode="fill", fill_value=jnp.nan, wrap_negative_indices=False, out_sharding=_sharding(table, ids)
    )
    return rows.astype(table.dtype)


def _sharding(table: jax.Array, ids: jax.Array) -> jax.P | None:
    """On an explicit mesh rows are sharded as their ids, features as in the table; JAX can't infer that."""
    spec = jax.P(*jax.typeof(ids).sharding.spec, jax.typeof(table).sharding.spec[1])
    return spec if any(spec) else None


def _scores(table: jax.Array, x: ArrayLike) -> jax.Array:
    queries = checks.floating("attend", x)
    checks.same_dtype("attend", queries, embedding=table)
    if not queries.ndim or queries.shape[-1] != table.shape[1]:
        raise ValueError(
            f"attend: the last axis of x must be the embedding's {table.shape[1]} features, got shape "
            f"{queries.shape}"
        )
    return matrix_product(queries, table.T, WHOLE).astype(queries.dtype)
