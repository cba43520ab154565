"""Inspects nets: what is in them, what each layer returns, and what goes wrong in training."""

from jaxnn.exports import public
from jaxnn.inspection.activations import activations as activations
from jaxnn.inspection.cost import Cost as Cost
from jaxnn.inspection.cost import cost as cost
from jaxnn.inspection.diagnose import diagnose as diagnose
from jaxnn.inspection.diagnosis import Diagnosis as Diagnosis
from jaxnn.inspection.diagnosis import Reading as Reading
from jaxnn.inspection.summary import Row as Row
from jaxnn.inspection.summary import Summary as Summary
from jaxnn.inspection.summary import summary as summary

__all__ = public(globals())
