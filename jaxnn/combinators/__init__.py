"""Layers made of layers."""

from jaxnn.combinators.bidirectional import bidirectional
from jaxnn.combinators.branches import parallel, residual, serial, split
from jaxnn.combinators.copies import ensemble, repeat
from jaxnn.combinators.graph import graph
from jaxnn.combinators.wrappers import frozen, mixed_precision, named, remat

__all__ = [
    "bidirectional",
    "ensemble",
    "frozen",
    "graph",
    "mixed_precision",
    "named",
    "parallel",
    "remat",
    "repeat",
    "residual",
    "serial",
    "split",
]
