"""Which places of the input each value of a program depends on: an abstract run of the program, in NumPy.

Each array is replaced by what is known of it. If it depends on the input, that is a ``Field``: for each
spatial axis of the input the first and the last place that each value depends on, as arrays that broadcast to
the array's shape: what does not vary along an axis has size 1 there. The last place is negated, so that the
field of several values together is the minimum of each end. Elementwise operations join the fields of their
operands, operations that move values move fields, and windows join what lies under them. Arrays made of
constants alone are computed, since they may be indices, masks, or weights of 0. Where there is no rule for an
operation, its result and all that depends on it are lost: a number is either exact or not given.
"""

from jaxnn.inspection.receptive_field.by_value import acts_by_value
from jaxnn.inspection.receptive_field.field import FREE, extent, input_field
from jaxnn.inspection.receptive_field.run import run

__all__ = ["FREE", "acts_by_value", "extent", "input_field", "run"]
