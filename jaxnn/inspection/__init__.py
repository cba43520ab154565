"""Inspects nets: what is in them, what each layer returns, and what goes wrong in training."""

from jaxnn.inspection.activations import activations
from jaxnn.inspection.diagnose import diagnose
from jaxnn.inspection.diagnosis import Diagnosis, Reading
from jaxnn.inspection.summary import Row, Summary, summary

__all__ = ["Diagnosis", "Reading", "Row", "Summary", "activations", "diagnose", "summary"]
