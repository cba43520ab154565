"""The answers: every layer in float64 on the CPU, by forms that share nothing with what is timed.

Windows are slices and matrix products; a transposed convolution is the transpose of that. Slow paths of the
compiler are avoided, so that a real shape takes seconds.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import specs
from benchmarks.contenders import plain


def in_float64(function: Callable[..., Any], *args: Any) -> Any:
    """``function`` compiled and run in double precision on the CPU, its result as NumPy arrays."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        wide = jax.tree.map(_widened, args)
        return jax.tree.map(np.asarray, jax.jit(function)(*wide))


def _widened(array: Any) -> Any:
    array = np.asarray(array)
    return jnp.asarray(array if np.issubdtype(array.dtype, np.integer) else array.astype(np.float64))


def run(spec: specs.Spec, weights: Any, x: Any) -> Any:
    """What ``spec`` makes of ``x``; dropout drops nothing here."""
    return plain.run(FORMS, spec, weights, x, jax.random.key(0))


def taps(spec: specs.Windowed, x: Any, fill: float) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each place of the window, with the values that stand there for all outputs."""
    space = spec.space(x.shape)
    x = jnp.pad(x, ((0, 0), *((spec.padding,) * 2,) * len(space), (0, 0)), constant_values=fill)
    for place in product(range(spec.window), repeat=len(space)):
        cut = [
            slice(j * spec.dilation, j * spec.dilation + (n - 1) * spec.strides + 1, spec.strides)
            for j, n in zip(place, space, strict=True)
        ]
        yield place, x[:, *cut]


def conv(spec: specs.Conv, weights: Any, x: Any, key: Any) -> Any:
    return _conv(spec, weights["kernel"], x)


def _conv(spec: specs.Windowed, kernel: Any, x: Any) -> Any:
    block, features = kernel.shape[-2:]
    groups = x.shape[-1] // block
    total = jnp.zeros((), x.dtype)
    for place, values in taps(spec, x, 0):
        tap = kernel[place].reshape(block, groups, -1)
        if groups == 1:
            total += values @ tap[:, 0]
        elif block == 1:
            y = values[..., None] * tap[0]
            total += y.reshape(*values.shape[:-1], features)
        else:
            split = values.reshape(*values.shape[:-1], groups, block)
            total += jnp.einsum("nhwgc,cgo->nhwgo", split, tap).reshape(*values.shape[:-1], features)
    return total


def conv_transpose(spec: specs.ConvTranspose, weights: Any, x: Any, key: Any) -> Any:
    forward = specs.Conv(spec.window, spec.strides, spec.padding, features=x.shape[-1], groups=spec.groups)
    big = jnp.zeros(spec.out(x.shape), x.dtype)
    kernel = jnp.swapaxes(weights["kernel"], -1, -2)
    (y,) = jax.vjp(lambda big: _conv(forward, kernel, big), big)[1](x)
    return y


def pool(spec: specs.Pool, weights: Any, x: Any, key: Any) -> Any:
    if spec.kind == "max":
        largest = None
        for _, values in taps(spec, x, -jnp.inf):  # on ties the first stays
            largest = values if largest is None else jnp.where(values > largest, values, largest)
        return largest
    total = sum(values for _, values in taps(spec, x, 0))
    return total / sum(values for _, values in taps(spec, jnp.ones_like(x), 0))


#: How the reference computes each leaf; what is not here is the plain form, in float64.
FORMS: dict[type, plain.Form] = {
    **plain.LAX,
    specs.Conv: conv,
    specs.ConvTranspose: conv_transpose,
    specs.Pool: pool,
    specs.Resize: lambda spec, weights, x, key: plain.by_matrices(spec, x),
    specs.Dropout: lambda spec, weights, x, key: x / (1 - spec.rate),
}
