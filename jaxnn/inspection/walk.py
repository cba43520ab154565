"""A net run layer by layer: what the rest of this package is built on."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from jaxnn.layer import Layer
from jaxnn.params import Params

#: ``call(path, layer, params, x) -> y``: called in place of each layer that is not made of others.
Leaf = Callable[[str, Layer, Params, Any], Any]


def walk(net: Layer, params: Params, x: Any, call: Leaf) -> Any:
    """``net.apply(params, x)``, but every layer that is not made of others is called by ``call``.

    Paths are the names that lead to a layer, joined by ``/``; a net that is one layer has its own name. A
    layer that is called again has a path of its own each time: ``path:1``, ``path:2``, ….
    """
    calls: Counter[str] = Counter()
    taken: set[str] = set()

    def free(path: str) -> str:
        """``path``, or the first of ``path:1``, ``path:2``, … that is not the path of another call."""
        while True:
            again = calls[path]
            calls[path] += 1
            numbered = f"{path}:{again}" if again else path
            if numbered not in taken:
                taken.add(numbered)
                return numbered

    def visit(layer: Layer, params: Params, x: Any, path: str | None) -> Any:
        if layer.visit is not None:

            def call_part(part: str, layer: Layer, params: Params, x: Any) -> Any:
                return visit(layer, params, x, part if path is None else f"{path}/{part}")

            return layer.visit(params, x, call_part)
        return call(free(layer.name if path is None else path), layer, params, x)

    return visit(net, params, x, None)
