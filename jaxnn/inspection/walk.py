"""A net run with a note of every layer in it: what the rest of this package is built on."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from jaxnn.layer import Layer, Params

#: ``note(path, layer, params, x, y)``, where a layer that is not made of others was called: what goes on.
Note = Callable[[str, Layer, Params, Any, Any], Any]


def walk(net: Layer, params: Params, x: Any, note: Note) -> Any:
    """``net.apply(params, x)``, in which every layer that is not made of others gives what ``note`` returns.

    Paths are the names that lead to a layer, joined by ``/``; a net that is one layer has its own name. A
    layer that is called again has a path of its own each time: ``path:1``, ``path:2``, ….
    """
    calls: Counter[str] = Counter()

    def visit(layer: Layer, params: Params, x: Any, path: str) -> Any:
        if layer.visit is not None:

            def call(part: str, layer: Layer, params: Params, x: Any) -> Any:
                return visit(layer, params, x, f"{path}/{part}" if path else part)

            return layer.visit(params, x, call)
        path = path or layer.name
        again = calls[path]
        calls[path] += 1
        return note(f"{path}:{again}" if again else path, layer, params, x, layer.apply(params, x))

    return visit(net, params, x, "")
