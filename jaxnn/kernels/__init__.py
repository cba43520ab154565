"""How operations are computed, by platform and shape: no argument checks, no layers.

``explain`` tells which form each operation of a function takes; ``use`` lets a platform take the forms of
another.
"""

from jaxnn.kernels.explain import Choice, explain
from jaxnn.kernels.lowering.primitive import use

__all__ = ["Choice", "explain", "use"]
