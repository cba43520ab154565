"""Right answers of sliding windows and attention: slices and sums that share nothing with any form."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp

Shape = tuple[int, ...]


def taps(
    x: Any, window: Shape, strides: int = 1, padding: int = 0, dilation: int = 1, fill: float = 0.0
) -> Iterator[tuple[Shape, Any]]:
    """Each place of the window, with the values that stand there for all outputs."""
    x = jnp.pad(x, ((0, 0), *((padding,) * 2,) * len(window), (0, 0)), constant_values=fill)
    spans = [dilation * (w - 1) + 1 for w in window]
    counts = [(n - span) // strides + 1 for n, span in zip(x.shape[1:-1], spans, strict=True)]
    for place in product(*map(range, window)):
        cut = [
            slice(dilation * j, dilation * j + strides * (count - 1) + 1, strides)
            for j, count in zip(place, counts, strict=True)
        ]
        yield place, x[:, *cut]


def conv(x: Any, kernel: Any, bias: Any = None, *, groups: int = 1, **settings: Any) -> Any:
    """A convolution as a sum over the window's places."""
    *window, block, features = kernel.shape
    total: Any = 0.0
    for place, values in taps(x, tuple(window), **settings):
        split = values.reshape(*values.shape[:-1], groups, block)
        tap = kernel[place].reshape(block, groups, features // groups)
        total += jnp.einsum("...gc,cgo->...go", split, tap).reshape(*values.shape[:-1], features)
    return total if bias is None else total + bias


def conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int,
    padding: int = 0,
    groups: int = 1,
    output_padding: int = 0,
) -> Any:
    """The transpose of a convolution."""
    *window, _, block = kernel.shape
    space = [
        (n - 1) * strides + w - 2 * padding + output_padding
        for n, w in zip(x.shape[1:-1], window, strict=True)
    ]
    big = jnp.zeros((x.shape[0], *space, groups * block), x.dtype)
    swapped = jnp.swapaxes(kernel, -1, -2)
    forward = partial(conv, groups=groups, strides=strides, padding=padding)
    (y,) = jax.vjp(lambda big: forward(big, swapped), big)[1](x)
    return y if bias is None else y + bias


def max_pool(x: Any, *, window: int, **settings: Any) -> Any:
    """The largest of the window's places, the first of equal ones."""
    largest = None
    for _, values in taps(x, (window,) * (x.ndim - 2), fill=-jnp.inf, **settings):
        largest = values if largest is None else jnp.where(values > largest, values, largest)
    return largest


def avg_pool(x: Any, *, window: int, **settings: Any) -> Any:
    """The mean of the window's real places."""
    shape = (window,) * (x.ndim - 2)
    real = sum(values for _, values in taps(jnp.ones_like(x), shape, **settings))
    return sum(values for _, values in taps(x, shape, **settings)) / real


def attention(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5
    if causal:
        scores = jnp.where(jnp.tri(q.shape[1], k.shape[1], dtype=bool), scores, -jnp.inf)
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v)
