"""The forms of a convolution and its gradients, by platform and pass.

On CPUs XLA has fast code for matrix products and for convolutions in one layout: channels last, no groups,
no dilation of the input, no reversal of the window. So every form for CPUs but the last two is made of these,
or, for depthwise kernels, of sums of shifted products. On other platforms lax's form comes first, on NVIDIA
GPUs after the one that takes small groups together; the others follow it, so that they can be asked for by
name.
"""

from collections.abc import Mapping, Sequence

from jaxnn.kernels.choice import Form, never
from jaxnn.kernels.convolution.cpu.forward import FORWARD
from jaxnn.kernels.convolution.cpu.input_gradient import INPUT_GRADIENT
from jaxnn.kernels.convolution.cpu.kernel_gradient import KERNEL_GRADIENT
from jaxnn.kernels.convolution.merged import MERGED
from jaxnn.kernels.lowering.primitive import DEFAULT

_FOR_CPU: Mapping[str, Sequence[Form]] = {
    "forward": FORWARD,
    "input_gradient": INPUT_GRADIENT,
    "kernel_gradient": KERNEL_GRADIENT,
}


def _on_cpu(name: str) -> Sequence[Form]:
    *forms, lax = _FOR_CPU[name]
    return (*forms, MERGED[name]._replace(pays=never, when=""), lax)


def _elsewhere(name: str) -> Sequence[Form]:
    *forms, merged, lax = _on_cpu(name)
    return (lax, merged, *forms)


def _on_cuda(name: str) -> Sequence[Form]:
    lax, _, *forms = _elsewhere(name)
    return (MERGED[name], lax, *forms)


FORMS: Mapping[str, Mapping[str, Sequence[Form]]] = {
    platform: {name: listed(name) for name in _FOR_CPU}
    for platform, listed in (("cpu", _on_cpu), ("cuda", _on_cuda), (DEFAULT, _elsewhere))
}
