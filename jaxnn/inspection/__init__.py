"""What is in a net, and what goes on in it: a table of its layers, and what each of them gives."""

from jaxnn.inspection.activations import activations
from jaxnn.inspection.summary import Row, Summary, summary

__all__ = ["Row", "Summary", "activations", "summary"]
