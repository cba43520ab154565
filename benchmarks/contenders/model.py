"""What a JAX library must provide to be timed: a pure function, and how to pass our weights and images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp


class Unsupported(Exception):
    """The library has no such layer, or means something else by it; the text says which."""


@dataclass(frozen=True)
class Model:
    """A net in a library's own form.

    Attributes:
      apply: ``apply(weights, state, x, key) -> (y, state)``, training mode, all pytrees of arrays.
      pack: the weights of ``specs.draw_weights`` in the library's form; jnp operations alone, so that
        gradients can be taken back through its transpose.
      state: what ``apply`` starts from: running statistics.
      channels_first: images go in and come out as (N, C, H, W).
    """

    apply: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    pack: Callable[[Any], Any]
    state: Any = field(default_factory=dict)
    channels_first: bool = False

    def image(self, array: Any) -> Any:
        """An array of ours in the library's layout; only images differ."""
        return jnp.moveaxis(array, -1, 1) if self.channels_first and array.ndim == 4 else array


def first(kernel: Any) -> Any:
    """A kernel (*window, I, O) as (O, I, *window)."""
    return jnp.moveaxis(kernel, (-1, -2), (0, 1))


def stamping_kernel(kernel: Any, groups: int) -> Any:
    """A transposed convolution's (*window, I, O // g) as a convolution's: flipped, (*window, I // g, O)."""
    *window, c_in, block = kernel.shape
    kernel = jnp.flip(kernel, range(len(window))).reshape(*window, groups, c_in // groups, block)
    return jnp.moveaxis(kernel, -3, -2).reshape(*window, c_in // groups, groups * block)


def dense_kernel(spec: Any, kernel: Any, bias: Any, shape: Any) -> tuple[Any, Any]:
    """Kernel (O, F) and bias of a dense layer between images whose channels come first.

    Flattening there runs through channels first, so the kernel's rows (and, before an image, its columns)
    are permuted.
    """
    if spec.flatten and len(shape) == 4:
        kernel = jnp.moveaxis(kernel.reshape(*shape[1:], -1), 2, 0).reshape(-1, kernel.shape[-1])
    if spec.to:
        kernel = jnp.moveaxis(kernel.reshape(-1, *spec.to), -1, 1).reshape(kernel.shape)
        bias = jnp.moveaxis(bias.reshape(spec.to), -1, 0).ravel()
    return kernel.T, bias
