"""How operations are computed, by platform and shape: no argument checks, no layers.

``explain`` shows which form each operation of a function takes; ``tune`` finds the fastest on this device by
measurement and ``prefer`` takes them; ``use`` lets a platform take the forms of another.
"""

from jaxnn.exports import public
from jaxnn.kernels.explain import explain as explain
from jaxnn.kernels.lowering.preference import Choice as Choice
from jaxnn.kernels.lowering.primitive import use as use
from jaxnn.kernels.prefer import prefer as prefer
from jaxnn.kernels.tune import tune as tune

__all__ = public(globals())
