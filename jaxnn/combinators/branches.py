"""Layers in a row and side by side: ``serial``, ``residual``, ``parallel``, ``split``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.combinators.graph import Parts, composite
from jaxnn.combinators.location import describe
from jaxnn.layer import Layer, constructor
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.ops.sequences import checked_lengths, real_only
from jaxnn.sequences import Sequences, with_lengths

Merge = Literal["concat", "sum"] | Callable[[tuple[Any, ...]], Any]


@constructor
def serial(*layers: LayerLike, **named: LayerLike) -> Layer:
    """Layers one after the other: y = fₙ(… f₂(f₁(x))). Without layers, the identity.

    Shapes: that of the first layer's input → that of the last one's output.

    Positional layers get names by kind, ``conv_0``, ``conv_1``, ``dense_0``; keyword layers follow them under
    the names given. The names are the keys in ``params.weights``.

    >>> import jax, jaxnn as nn
    >>> net = nn.serial(nn.dense(8), nn.relu, head=nn.dense(2))
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> list(params.weights)
    ['dense_0', 'head']
    """
    parts = name_parts("serial", layers, named)
    return composite("serial", lambda f, x: chain(f, parts, x), parts)


@constructor
def residual(*layers: LayerLike, shortcut: LayerLike | None = None, **named: LayerLike) -> Layer:
    """Layers in a row, added to their input: y = x + f(x), or shortcut(x) + f(x).

    Shapes: any → the same; with ``shortcut``: any → what both give. Of ``(x, lengths)`` the arrays are added,
    and past the ends the sum is 0.

    Args:
      *layers: as for ``serial``.
      shortcut: a layer for the input before the sum, for a change of shape (a 1×1 convolution).
      **named: as for ``serial``.

    Raises:
      ValueError: the two shapes or dtypes of the sum differ, or two layers are called ``shortcut``.

    Source: He et al., Deep Residual Learning for Image Recognition, 2016.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.residual(nn.conv(3, 3, padding="SAME"), nn.relu), (1, 8, 8, 3))
    (1, 8, 8, 3)
    """
    parts = name_parts("residual", layers, named)
    both = dict(parts)
    if shortcut is not None:
        _add("residual", both, "shortcut", given_layer("residual", "shortcut", shortcut))

    def flow(f: Parts, x: Any) -> Any:
        skip = x if shortcut is None else f.shortcut(x)
        y = chain(f, parts, x)
        if (sequences := with_lengths(y)) and (skipped := with_lengths(skip)):
            skip, y = _real(skipped), sequences.x
        if not _alike(skip, y):
            raise ValueError(
                f"residual: the layers give {describe(y)} but the shortcut {describe(skip)}; the two must be "
                "arrays of one shape and dtype to be added (shortcut= takes a layer that changes them)"
            )
        total = jnp.add(skip, y)
        return (total, sequences.lengths) if sequences else total

    return composite("residual", flow, both)


@constructor
def parallel(*layers: LayerLike, merge: Merge = tuple, **named: LayerLike) -> Layer:
    """One input through many branches: y = merge((f₁(x), f₂(x), …)).

    Shapes: x → what ``merge`` makes of the branches' outputs.

    Args:
      *layers: the branches, named as by ``serial``.
      merge: ``"concat"`` (along the last axis), ``"sum"``, or a function of the tuple of outputs. The
        default gives the tuple itself. The first two merge the arrays of outputs ``(y, lengths)``.
      **named: further branches.

    Raises:
      ValueError: no layers, an unknown ``merge``, or shapes or dtypes that differ in a sum.

    >>> import jaxnn as nn
    >>> two_scales = nn.parallel(nn.conv(4, 1), nn.conv(8, 3, padding="SAME"), merge="concat")
    >>> nn.output_shape(two_scales, (1, 8, 8, 3))
    (1, 8, 8, 12)
    """
    if not layers and not named:
        raise ValueError("parallel: at least one layer is needed, got none")
    parts = name_parts("parallel", layers, named)
    joined = merger("parallel", merge)

    def flow(f: Parts, x: Any) -> Any:
        ys = tuple(f[part](x) for part in parts)
        found = [sequences for y in ys if (sequences := with_lengths(y)) is not None]
        if callable(merge) or len(found) < len(ys):
            return joined(ys)
        return joined(tuple(y.x for y in found)), found[0].lengths

    return composite("parallel", flow, parts)


@constructor
def split(*layers: LayerLike, **named: LayerLike) -> Layer:
    """One branch per element: (y₁, y₂, …) = (f₁(x₁), f₂(x₂), …).

    Shapes: a tuple of inputs → a tuple of outputs.

    Raises:
      ValueError: the input is not a tuple with one element per layer.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.split(nn.dense(2), nn.relu), ((1, 4), (1, 3)))
    ((1, 2), (1, 3))
    """
    parts = name_parts("split", layers, named)

    def flow(f: Parts, xs: Any) -> Any:
        if not isinstance(xs, tuple | list) or len(xs) != len(parts):
            raise ValueError(
                f"split: the input must be a tuple of {len(parts)}, one element per layer, got {describe(xs)}"
            )
        return tuple(f[part](x) for part, x in zip(parts, xs, strict=True))

    return composite("split", flow, parts)


def _real(given: Sequences) -> Any:
    """The array of an input that no layer has seen: 0 past the ends."""
    if given.lengths is None:
        return given.x
    return real_only(given.x, checked_lengths("residual", given.lengths, given.x))


def chain(f: Parts, parts: Mapping[str, Layer], x: Any) -> Any:
    """``x`` through all the parts in order."""
    return reduce(lambda x, part: f[part](x), parts, x)


def merger(owner: str, merge: Merge) -> Callable[[tuple[Any, ...]], Any]:
    """The function of a tuple of arrays that ``merge`` stands for."""
    if callable(merge):
        return merge
    checks.choice(owner, "merge", merge, ("concat", "sum"), "a function of a tuple")
    return partial(_total, owner) if merge == "sum" else lambda ys: jnp.concatenate(ys, axis=-1)


def _total(owner: str, ys: tuple[Any, ...]) -> Any:
    for y in ys:
        if not _alike(ys[0], y):
            raise ValueError(
                f"{owner}: merge='sum' adds arrays of one shape and dtype, got "
                f"{' and '.join(describe(y) for y in (ys[0], y))}"
            )
    return reduce(_plus, ys)


def _alike(a: Any, b: Any) -> bool:
    """Whether both are arrays, or numbers, of one shape and dtype: a sum must not broadcast or promote."""
    if not jax.tree_util.all_leaves([a, b]):
        return False
    return (jnp.shape(a), jnp.result_type(a)) == (jnp.shape(b), jnp.result_type(b))


def _plus(a: Any, b: Any) -> Any:
    """a + b, cheap to trace for two arrays of one kind."""
    kinds = [jax.typeof(y) if isinstance(y, jax.Array) else None for y in (a, b)]
    if kinds[0] is not None and kinds[0] == kinds[1] and jnp.issubdtype(kinds[0].dtype, jnp.inexact):
        return lax.add(a, b)
    return a + b


def name_parts(owner: str, layers: Sequence[LayerLike], named: Mapping[str, LayerLike]) -> dict[str, Layer]:
    """Positional layers under their own names with a running number, then the named layers."""
    parts: dict[str, Layer] = {}
    counts: Counter[str] = Counter()
    for given in layers:
        layer = given_layer(owner, "a layer", given)
        name = layer.name if layer.exact_name else f"{layer.name}_{counts[layer.name]}"
        counts[layer.name] += not layer.exact_name
        _add(owner, parts, name, layer)
    for name, function in named.items():
        _add(owner, parts, name, given_layer(owner, name, function))
    return parts


def _add(owner: str, parts: dict[str, Layer], name: str, layer: Layer) -> None:
    if name in parts:
        raise ValueError(f"{owner}: two layers are called {name!r}; each needs a name of its own")
    parts[name] = layer
