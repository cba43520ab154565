"""Checks of the arguments of public functions, and the sentences that they raise.

A sentence reads ``<owner>: <name> must be <rule>, got <value>``, where the owner is the op or layer that was
called. A value of the wrong kind is a ``TypeError``, one out of range a ``ValueError``.

All of this runs at trace time, often for hundreds of layers, so the path without an error is short.
"""

from jaxnn.ops.checks.inputs import array as array
from jaxnn.ops.checks.inputs import arrays as arrays
from jaxnn.ops.checks.inputs import floating as floating
from jaxnn.ops.checks.inputs import floating_dtype as floating_dtype
from jaxnn.ops.checks.inputs import groups_divide as groups_divide
from jaxnn.ops.checks.inputs import one_per_channel as one_per_channel
from jaxnn.ops.checks.inputs import one_shape as one_shape
from jaxnn.ops.checks.inputs import operands as operands
from jaxnn.ops.checks.inputs import ordered as ordered
from jaxnn.ops.checks.inputs import same_dtype as same_dtype
from jaxnn.ops.checks.inputs import spatial as spatial
from jaxnn.ops.checks.sentences import described as described
from jaxnn.ops.checks.sentences import refusal as refusal
from jaxnn.ops.checks.sentences import shown as shown
from jaxnn.ops.checks.sentences import wrong_kind as wrong_kind
from jaxnn.ops.checks.settings import axes as axes
from jaxnn.ops.checks.settings import axis as axis
from jaxnn.ops.checks.settings import choice as choice
from jaxnn.ops.checks.settings import flag as flag
from jaxnn.ops.checks.settings import flags as flags
from jaxnn.ops.checks.settings import floating_type as floating_type
from jaxnn.ops.checks.settings import function as function
from jaxnn.ops.checks.settings import initialisers as initialisers
from jaxnn.ops.checks.settings import integer as integer
from jaxnn.ops.checks.settings import integers as integers
from jaxnn.ops.checks.settings import key as key
from jaxnn.ops.checks.settings import number as number
from jaxnn.ops.checks.settings import optional_key as optional_key
from jaxnn.ops.checks.settings import scalar as scalar
from jaxnn.ops.checks.settings import text as text
from jaxnn.ops.checks.settings import whole as whole
