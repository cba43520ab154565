"""Layers made of layers."""

from jaxnn.combinators.bidirectional import bidirectional as bidirectional
from jaxnn.combinators.branches import parallel as parallel
from jaxnn.combinators.branches import residual as residual
from jaxnn.combinators.branches import serial as serial
from jaxnn.combinators.branches import split as split
from jaxnn.combinators.copies import ensemble as ensemble
from jaxnn.combinators.copies import repeat as repeat
from jaxnn.combinators.each_step import each_step as each_step
from jaxnn.combinators.graph import graph as graph
from jaxnn.combinators.maxout import maxout as maxout
from jaxnn.combinators.once import once as once
from jaxnn.combinators.patch_embedding import patch_embedding as patch_embedding
from jaxnn.combinators.separable_conv import separable_conv as separable_conv
from jaxnn.combinators.spectral_norm import spectral_norm as spectral_norm
from jaxnn.combinators.stacked import stacked as stacked
from jaxnn.combinators.swiglu import swiglu as swiglu
from jaxnn.combinators.weight_norm import weight_norm as weight_norm
from jaxnn.combinators.wrappers import frozen as frozen
from jaxnn.combinators.wrappers import mixed_precision as mixed_precision
from jaxnn.combinators.wrappers import named as named
from jaxnn.combinators.wrappers import remat as remat
from jaxnn.exports import public

__all__ = public(globals())
