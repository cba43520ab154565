"""Saves parameters to one file and loads them: all or nothing, and never unpickled."""

from jaxnn.checkpoint.file import load as load
from jaxnn.checkpoint.file import save as save
from jaxnn.exports import public

__all__ = public(globals())
