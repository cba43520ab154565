"""Many copies of one layer: ``repeat`` in depth, ``ensemble`` side by side."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.layer import Call, Key, Layer, LayerLike, Params, Spec, State, as_layer, as_spec, output_spec


def repeat(layer: LayerLike, n: int) -> Layer:
    """The same layer n times in a row, each time with weights of its own, as one ``lax.scan``.

    Shapes: any → the same.

    The program's size, and so the time to compile it, does not grow with n. Every weight and state has a
    leading axis of length n; copy i has the params that ``layer.init(jax.random.split(key, n)[i], shape)``
    gives, and the key ``jax.random.split(key, n)[i]`` in training.

    Raises:
      ValueError: n is below 1, or the layer changes the shape or dtype of its input.

    >>> import jax, jaxnn as nn
    >>> deep = nn.repeat(nn.serial(nn.dense(4), nn.relu), 50)
    >>> deep.init(jax.random.key(0), (1, 4)).weights["dense_0"]["kernel"].shape
    (50, 4, 4)
    """
    _at_least_one("repeat", n)
    layer = as_layer(layer)

    def init(key: Key, shape: Spec, /) -> Params:
        spec = as_spec(shape)
        output = output_spec(layer, spec)
        if _signature(output) != _signature(spec):
            raise ValueError(
                f"repeat: {layer.name} must keep the shape and dtype of its input, but it makes {output} of "
                f"{spec}"
            )
        return _init_copies(layer, key, n, spec)

    def apply(params: Params, x: Any, /) -> Any:
        return jax.lax.scan(lambda x, params: (layer.apply(params, x), None), x, params, length=n)[0]

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        def step(x: Any, copy: tuple[Params, Key | None]) -> tuple[Any, State]:
            params, key = copy
            return layer.train(params, x, key)

        return jax.lax.scan(step, x, (params, _split(key, n)), length=n)

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        for i, member in enumerate(_members(params, n)):
            x = call(str(i), layer, member, x)
        return x

    return Layer("repeat", init, apply, train, visit)


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
    _at_least_one("ensemble", n)
    layer = as_layer(layer)

    def apply(params: Params, x: Any, /) -> Any:
        return jax.vmap(layer.apply, in_axes=(0, None), axis_size=n)(params, x)

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        members = jax.vmap(layer.train, in_axes=(0, None, 0), axis_size=n)
        return members(params, x, _split(key, n))

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        outputs = [call(str(i), layer, member, x) for i, member in enumerate(_members(params, n))]
        return jax.tree.map(lambda *ys: jnp.stack(ys), *outputs)

    def init(key: Key, shape: Spec, /) -> Params:
        return _init_copies(layer, key, n, as_spec(shape))

    return Layer("ensemble", init, apply, train, visit)


def _init_copies(layer: Layer, key: Key, n: int, spec: Any) -> Params:
    params: Params = jax.vmap(lambda key: layer.init(key, spec))(jax.random.split(key, n))
    return params


def _members(params: Params, n: int) -> list[Params]:
    return [jax.tree.map(lambda leaf: leaf[i], params) for i in range(n)]  # noqa: B023


def _split(key: Key | None, n: int) -> Key | None:
    return None if key is None else jax.random.split(key, n)


def _signature(spec: Any) -> Any:
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), leaf.dtype), spec)


def _at_least_one(owner: str, n: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"{owner}: n must be an integer of at least 1, got {n!r}")
