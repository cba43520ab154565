"""Saves parameters to one file and loads them: all or nothing, and never unpickled."""

from jaxnn.checkpoint.file import load, save

__all__ = ["load", "save"]
