"""Initialises layers made of layers in one walk along the data, however deep they are nested.

The params of a part depend on the shape of its input, and so on all parts before it. A layer that
holds others therefore *drafts* them: one trace finds out what they give, and notes how their params are
drawn. Nothing is cached from one ``init`` to the next, so nothing can be out of date.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxnn.layer import Apply, Layer
from jaxnn.ops import checks
from jaxnn.params import Key, Params
from jaxnn.shapes import Spec, as_spec, value_spec

Draw = Callable[[Key], Params]
Draft = Callable[[Key, Any], tuple[Any, Draw]]


@dataclass(frozen=True, repr=False)
class Drafted:
    """The ``init`` of a layer made of layers.

    Attributes:
      draft: ``draft(key, x) -> (y, draw)``, to be traced: what ``apply`` gives for ``x``, with any key, and
        the function of a key that draws the params. That function must not keep ``x`` alive.
      apply: the ``apply`` that gives it.
    """

    draft: Draft
    apply: Apply

    def __call__(self, key: Key, shape: Spec, /) -> Params:
        checks.key("init", key)
        draws = []

        def followed(key: Key, x: Any) -> Any:
            y, draw = self.draft(key, x)
            draws.append(draw)
            return y

        jax.eval_shape(followed, jax.random.key(0), as_spec(shape))
        return draws[0](key)


def draft(layer: Layer, key: Key, x: Any) -> tuple[Any, Draw]:
    """What ``layer`` gives for ``x``, with any key, and how its params are drawn; see ``Drafted``."""
    init = layer.init
    if isinstance(init, Drafted):
        y, draw = init.draft(key, x)
        return (y if init.apply == layer.apply else layer.apply(draw(key), x)), draw
    spec = value_spec(layer.name, x)
    return layer.apply(init(key, spec), x), lambda key: init(key, spec)
