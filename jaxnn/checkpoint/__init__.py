"""Parameters to one file and back: all of it or nothing, and never unpickled."""

from jaxnn.checkpoint.file import load, save

__all__ = ["load", "save"]
