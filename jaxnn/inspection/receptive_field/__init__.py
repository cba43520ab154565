"""Of which places of the input each value of a program is made: an abstract run of the program, in NumPy.

In place of each array stands what is known of it. If it is made from the input, that is a ``Field``: for each
spatial axis of the input the first and the last place that each value depends on, as arrays that broadcast to
its shape: what does not vary along an axis has size 1 there. The last one is negated, so that to depend on
several values is the minimum of each end. What computes value by value joins the fields of its operands, what
moves values moves fields, and a window joins what lies under it. Arrays made of constants alone are computed,
for they may be indices, masks, or weights of 0. What has no rule here is lost, and so is all that is made of
it: a number is either exact or not given.
"""

from jaxnn.inspection.receptive_field.by_value import acts_by_value
from jaxnn.inspection.receptive_field.field import FREE, extent, input_field
from jaxnn.inspection.receptive_field.run import run

__all__ = ["FREE", "acts_by_value", "extent", "input_field", "run"]
