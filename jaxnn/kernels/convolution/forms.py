"""The forms of a convolution and its gradients, by platform and pass.

On CPUs XLA has fast code for matrix products and for convolutions in one layout: channels last, no groups,
no dilation of the input, no reversal of the window. So every form for CPUs but the last is made of these, or,
for depthwise kernels, of sums of shifted products. On other platforms lax's form comes first; the others
follow it, so that they can be asked for by name.
"""

from collections.abc import Mapping, Sequence

from jaxnn.kernels.choice import Form
from jaxnn.kernels.convolution.cpu.forward import FORWARD
from jaxnn.kernels.convolution.cpu.input_gradient import INPUT_GRADIENT
from jaxnn.kernels.convolution.cpu.kernel_gradient import KERNEL_GRADIENT
from jaxnn.kernels.lowering.primitive import DEFAULT

_CPU: Mapping[str, Sequence[Form]] = {
    "forward": FORWARD,
    "input_gradient": INPUT_GRADIENT,
    "kernel_gradient": KERNEL_GRADIENT,
}

FORMS: Mapping[str, Mapping[str, Sequence[Form]]] = {
    "cpu": _CPU,
    DEFAULT: {name: (forms[-1], *forms[:-1]) for name, forms in _CPU.items()},
}
