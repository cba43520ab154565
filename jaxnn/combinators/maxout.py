"""``maxout``: a dense layer, then the largest of each group of its features."""

from __future__ import annotations

from typing import Any

from jax.nn.initializers import Initializer

from jaxnn.layer import Call, Layer, constructor, stateless
from jaxnn.layers.dense import dense
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.ops import checks
from jaxnn.ops.maxout import maxout as maxout_op
from jaxnn.params import Key, Params, State
from jaxnn.sequences import each_step


@constructor
def maxout(
    features: int,
    pieces: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """The largest of several affine maps, feature by feature: (..., F) → (..., features).

    y[c] = max over j of (x · kernel + bias)[c · pieces + j]: a dense layer of features · pieces outputs,
    then the largest of every ``pieces`` neighbours. Weights ``kernel``, (F, features · pieces), and ``bias``.

    Args:
      features: the size of the last axis of the output.
      pieces: the number of maps per output.
      bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for features or pieces below 1, or an input of another size than at init.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.maxout(10, 3), (1, 64))
    (1, 10)

    Goodfellow et al., "Maxout networks", 2013.
    """
    features = checks.integer("maxout", "features", features, least=1)
    pieces = checks.integer("maxout", "pieces", pieces, least=1)
    checks.flags("maxout", bias=bias)
    checks.initialisers("maxout", kernel_init=kernel_init, bias_init=bias_init)
    affine = dense(features * pieces, bias=bias, kernel_init=kernel_init, bias_init=bias_init)
    largest = each_step(
        stateless("max", lambda key, x: {}, lambda weights, x: maxout_op(x, pieces), entries={})
    )

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        return call("max", largest, Params({}, {}), call("dense", affine, params, x))

    def apply(params: Params, x: Any, /) -> Any:
        return visit(params, x, lambda part, layer, params, x: layer.apply(params, x))

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        checks.optional_key("maxout", key)
        return apply(params, x), {}

    return Layer("maxout", affine.init, apply, train, visit, draws=False)
