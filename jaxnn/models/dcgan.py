"""DCGAN: the generator and the discriminator of 64×64 images."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax.nn.initializers import normal

from jaxnn.combinators import serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import batch_norm, conv, conv_transpose, reshape
from jaxnn.lifting import LayerLike
from jaxnn.models.parts import numbered
from jaxnn.ops import checks, leaky_relu, relu, tanh

_INIT = normal(0.02)
_leaky_relu = partial(leaky_relu, negative_slope=0.2)


@constructor
def dcgan_generator(channels: int = 3, *, width: int = 64, doublings: int = 4) -> Layer:
    """DCGAN's generator: noise (N, Z) → images (N, S, S, channels) in (−1, 1).

    Transposed convolutions with batch norm and ReLU: 4×4 places first, then twice as many per side and half
    the channels each time, so that S = 4 · 2 to the power of ``doublings``. Kernels
    start from a normal distribution of deviation 0.02. 3,576,704 weights for noise of 100 numbers.

    Args:
      channels: of the image.
      width: the channels before the last layer.
      doublings: how often the sides double.

    Source: Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks, 2016, in the form of PyTorch's example.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.dcgan_generator(), (1, 100))
    (1, 64, 64, 3)
    """
    owner = "dcgan_generator"
    channels = checks.integer(owner, "channels", channels, least=1)
    width = checks.integer(owner, "width", width, least=1)
    doublings = checks.integer(owner, "doublings", doublings, least=1)
    first = partial(conv_transpose, window=4, bias=False, kernel_init=_INIT)
    double = partial(first, strides=2, padding=1)
    layers: list[LayerLike] = [first(width * 2 ** (doublings - 1)), batch_norm(), relu]
    for i in reversed(range(doublings - 1)):
        layers += [double(width * 2**i), batch_norm(), relu]
    return serial(noise=reshape(1, 1, -1), main=numbered(*layers, double(channels), tanh))


@constructor
def dcgan_discriminator(*, width: int = 64, halvings: int = 4) -> Layer:
    """DCGAN's discriminator: images (N, S, S, C) → logits (N,) of being real.

    Convolutions with batch norm and leaky ReLU of slope 0.2, each with half the places and twice the channels
    of the one before, from S = 4 · 2 to the power of ``halvings`` on. Kernels start from a
    normal distribution of deviation 0.02. 2,765,568 weights for 3 channels. PyTorch's example applies a
    sigmoid at the end.

    Args:
      width: the channels after the first layer.
      halvings: how often the sides halve.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.dcgan_discriminator(), (2, 64, 64, 3))
    (2,)
    """
    owner = "dcgan_discriminator"
    width = checks.integer(owner, "width", width, least=1)
    halvings = checks.integer(owner, "halvings", halvings, least=1)
    last = partial(conv, window=4, bias=False, kernel_init=_INIT)
    halve = partial(last, strides=2, padding=1)
    layers: list[LayerLike] = [halve(width), _leaky_relu]
    for i in range(1, halvings):
        layers += [halve(width * 2**i), batch_norm(), _leaky_relu]
    return serial(main=numbered(*layers, last(1)), logit=jnp.ravel)
