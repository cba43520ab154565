"""What optax optimisers take beside the gradient, and what is looked for in their states."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    import optax


def update_with(
    optimizer: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    weights: Any,
    extra: Mapping[str, Any],
) -> tuple[Any, Any]:
    """``optimizer.update``, with those of the ``extra`` arguments that it can take.

    A ``GradientTransformationExtraArgs`` takes all of them if its ``update`` ends in ``**arguments``, else
    those that it names. A plain ``GradientTransformation`` takes none.
    """
    from optax import GradientTransformationExtraArgs

    if not isinstance(optimizer, GradientTransformationExtraArgs):
        return optimizer.update(grads, opt_state, weights)
    parameters = signature(optimizer.update).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        extra = {name: value for name, value in extra.items() if name in parameters}
    return optimizer.update(grads, opt_state, weights, **extra)


def found(kind: type, opt_state: Any) -> Any:
    """The first node of this kind in the state of an optimiser, outermost first, or None."""

    def is_wanted(node: Any) -> bool:
        return isinstance(node, kind)

    return next(filter(is_wanted, jax.tree.leaves(opt_state, is_leaf=is_wanted)), None)
