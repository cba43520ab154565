"""The forms of a convolution and its gradients, by platform and pass.

On a CPU the form is chosen from the lists of ``cpu.forms``. On other platforms lax's form comes first; the
others follow it, so that they can be asked for by name.
"""

from collections.abc import Mapping, Sequence

from jaxnn.kernels.choice import Form
from jaxnn.kernels.convolution.cpu import forms as cpu
from jaxnn.kernels.lowering.primitive import DEFAULT

_CPU: Mapping[str, Sequence[Form]] = {
    "forward": cpu.FORWARD,
    "input_gradient": cpu.INPUT_GRADIENT,
    "kernel_gradient": cpu.KERNEL_GRADIENT,
}

FORMS: Mapping[str, Mapping[str, Sequence[Form]]] = {
    "cpu": _CPU,
    DEFAULT: {name: (forms[-1], *forms[:-1]) for name, forms in _CPU.items()},
}
