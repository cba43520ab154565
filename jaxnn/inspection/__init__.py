"""What is in a net, what each of its layers gives, and what goes wrong in it."""

from jaxnn.inspection.activations import activations
from jaxnn.inspection.diagnose import diagnose
from jaxnn.inspection.diagnosis import Diagnosis, Reading
from jaxnn.inspection.summary import Row, Summary, summary

__all__ = ["Diagnosis", "Reading", "Row", "Summary", "activations", "diagnose", "summary"]
