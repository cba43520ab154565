"""Many copies of one layer: ``repeat`` in depth, ``ensemble`` side by side."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.combinators.location import describe
from jaxnn.draft import Draft, Drafted, Draw, draft
from jaxnn.kernels.lowering.varying import varying_as
from jaxnn.layer import Apply, Call, Layer, Step, Stream, Train, Visit, constructor, in_pieces
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Key, Params, State, require_arguments
from jaxnn.paths import leaves_by_path


@constructor
def repeat(layer: LayerLike, n: int) -> Layer:
    """The same layer n times in a row, each time with weights of its own, as one ``lax.scan``.

    Shapes: any → the same.

    The size of the program, and so its compile time, does not grow with n. Every weight and state has a
    leading axis of length n; copy i has the params that ``layer.init(jax.random.split(key, n)[i], shape)``
    gives, and the key ``jax.random.split(key, n)[i]`` in training.

    Raises:
      ValueError: n is below 1, or the layer changes the shape or dtype of its input.

    >>> import jax, jaxnn as nn
    >>> deep = nn.repeat(nn.serial(nn.dense(4), nn.relu), 50)
    >>> deep.init(jax.random.key(0), (1, 4)).weights["dense_0"]["kernel"].shape
    (50, 4, 4)
    """
    n = checks.integer("repeat", "n", n, least=1)
    layer = given_layer("repeat", "layer", layer)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        y, draw = draft(layer, key, x)
        if _signature(y) != _signature(x):
            raise ValueError(
                f"repeat: {layer.name} must keep the shape and dtype of its input, but it makes "
                f"{describe(y)} of {describe(x)}"
            )
        return y, _drawn(draw, n)

    def apply(params: Params, x: Any, /) -> Any:
        require_arguments("repeat", params, x)
        _require_copies("repeat", n, params)
        x = varying_as(x, (x, params))
        return jax.lax.scan(lambda x, params: (layer.apply(params, x), None), x, params, length=n)[0]

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        require_arguments("repeat", params, x, key)

        def step(x: Any, copy: tuple[Params, Key | None]) -> tuple[Any, State]:
            params, key = copy
            return layer.train(params, x, key)

        _require_copies("repeat", n, params)
        keys = _split(layer, key, n)
        return jax.lax.scan(step, varying_as(x, (x, params, keys)), (params, keys), length=n)

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        for i, member in enumerate(_members(params, n)):
            x = call(str(i), layer, member, x)
        return x

    def stream(params: Params, room: int, /) -> Step:
        # Copy after copy, which grows with n: a loop over them would copy the weights and the carry of each
        # for every step of a sequence.
        _require_copies("repeat", n, params)
        steps = [in_pieces(layer, member, room) for member in _members(params, n)]

        def step(x: Any, carry: Any) -> tuple[Any, Any]:
            carries = []
            for i, copy in enumerate(steps):
                x, new = copy(x, None if carry is None else carry[i])
                carries.append(new)
            return x, tuple(carries)

        return step

    return _copies("repeat", layer, drafted, apply, train, visit, stream)


@constructor
def ensemble(layer: LayerLike, n: int) -> Layer:
    """n independent nets on the same input, as one program.

    Shapes: (N, …) → (n, N, …).

    Every weight and state has a leading axis of length n; member i has the params that
    ``layer.init(jax.random.split(key, n)[i], shape)`` gives, and trains with ``jax.random.split(key, n)[i]``.

    Raises:
      ValueError: n is below 1.

    >>> import jax, jaxnn as nn
    >>> nn.output_shape(nn.ensemble(nn.dense(3), 5), (2, 4))
    (5, 2, 3)
    """
    n = checks.integer("ensemble", "n", n, least=1)
    layer = given_layer("ensemble", "layer", layer)

    def apply(params: Params, x: Any, /) -> Any:
        require_arguments("ensemble", params, x)
        _require_copies("ensemble", n, params)
        return jax.vmap(layer.apply, in_axes=(0, None), axis_size=n)(params, x)

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        require_arguments("ensemble", params, x, key)
        _require_copies("ensemble", n, params)
        members = jax.vmap(layer.train, in_axes=(0, None, 0), axis_size=n)
        return members(params, x, _split(layer, key, n))

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        outputs = [call(str(i), layer, member, x) for i, member in enumerate(_members(params, n))]
        return jax.tree.map(lambda *ys: jnp.stack(ys), *outputs)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        y, draw = draft(layer, key, x)
        return jax.vmap(lambda y: y, in_axes=None, axis_size=n)(y), _drawn(draw, n)

    def stream(params: Params, room: int, /) -> Step:
        _require_copies("ensemble", n, params)

        def step(x: Any, carry: Any) -> tuple[Any, Any]:
            def member(params: Params, carry: Any) -> tuple[Any, Any]:
                return in_pieces(layer, params, room)(x, carry)

            return jax.vmap(member, in_axes=(0, None if carry is None else 0), axis_size=n)(params, carry)

        return step

    return _copies("ensemble", layer, drafted, apply, train, visit, stream)


def _copies(
    name: str, layer: Layer, drafted: Draft, apply: Apply, train: Train, visit: Visit, stream: Stream
) -> Layer:
    """A layer of many copies of ``layer``: what is true of one is true of all."""
    return Layer(
        name,
        Drafted(drafted, apply),
        apply,
        train,
        visit,
        draws=layer.draws,
        cast=layer.cast,
        stream=stream if layer.stream else None,
    )


def _drawn(draw: Draw, n: int) -> Draw:
    def drawn(key: Key) -> Params:
        params: Params = jax.vmap(draw)(jax.random.split(key, n))
        return params

    return drawn


def _require_copies(name: str, n: int, params: Params) -> None:
    """Raises unless every array of ``params`` has a leading axis of length n."""
    if all(jnp.shape(leaf)[:1] == (n,) for leaf in jax.tree.leaves(params)):
        return
    for entry, leaf in leaves_by_path(params).items():
        if jnp.shape(leaf)[:1] != (n,):
            raise ValueError(
                f"{name}: params of another net: {entry} must have a leading axis of {n}, one per copy, got "
                f"shape {jnp.shape(leaf)}"
            )


def _members(params: Params, n: int) -> list[Params]:
    return [jax.tree.map(lambda leaf: leaf[i], params) for i in range(n)]  # noqa: B023


def _split(layer: Layer, key: Key | None, n: int) -> Key | None:
    return jax.random.split(key, n) if key is not None and layer.draws else None


def _signature(x: Any) -> Any:
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), x)
