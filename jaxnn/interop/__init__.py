"""Moving in and out: weights of other libraries."""

from jaxnn.exports import public
from jaxnn.interop import torch as torch

__all__ = public(globals(), torch)
