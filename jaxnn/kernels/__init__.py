"""How operations are computed, by platform and shape: no argument checks, no layers.

``explain`` shows which form each operation of a function takes; ``use`` lets a platform take the forms of
another.
"""

from jaxnn.exports import public
from jaxnn.kernels.explain import Choice as Choice
from jaxnn.kernels.explain import explain as explain
from jaxnn.kernels.lowering.primitive import use as use

__all__ = public(globals())
