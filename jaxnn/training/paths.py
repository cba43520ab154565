"""Weights distinguished by their paths: for freezing, two learning rates, weight decay on some of them."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal
from jaxnn.paths import by_path, matching, paths, require_used


def labels(rules: Mapping[str, Any]) -> Callable[[Any], Any]:
    """``label(weights)``: for every array the label of the first pattern that its path matches.

    A path is the names that lead to an array, joined by ``/``, such as ``encoder/conv_0/kernel``. In a
    pattern ``*`` stands for any characters, ``/`` among them, ``?`` for one and ``[ab]`` for one of these;
    the whole path must match, in upper and lower case.

    What comes back is what ``optax.partition`` takes. Two learning rates, and a part that stays as it is::

        optax.partition(
            {"slow": optax.adam(1e-5), "fast": optax.adam(1e-3), "frozen": optax.set_to_zero()},
            nn.training.labels({"stem/*": "frozen", "head/*": "fast", "*": "slow"}),
        )

    Args:
      rules: labels by pattern, in the order in which they are tried.

    Raises:
      TypeError: rules that are not a dictionary by strings.
      ValueError: no rules; when called, an array that no pattern matches, or a pattern that matches none.

    >>> import jax, jaxnn as nn
    >>> net = nn.serial(nn.dense(4), head=nn.dense(2))
    >>> weights = net.init(jax.random.key(0), (1, 3)).weights
    >>> nn.training.labels({"head/*": "fast", "*": "slow"})(weights)["head"]
    {'bias': 'fast', 'kernel': 'fast'}
    """
    owner = "labels"
    if not isinstance(rules, Mapping):
        raise TypeError(refusal(owner, "rules", "a dictionary of labels by pattern", rules))
    for pattern in rules:
        checks.text(owner, "rules", pattern)
    if not rules:
        raise ValueError(refusal(owner, "rules", "at least one label by pattern", rules))

    def label(weights: Any) -> Any:
        found = {path: matching(path, rules) for path in paths(weights)}
        require_used(owner, rules, paths(weights))
        for path, pattern in found.items():
            if pattern is None:
                raise ValueError(f"{owner}: rules must have a pattern for every array, got none for {path}")
        return by_path(lambda path, _: rules[found[path]], weights)  # type: ignore[index]

    return label


def mask(*patterns: str, but: bool = False) -> Callable[[Any], Any]:
    """``mask(weights)``: for every array whether one of the patterns matches its path.

    Patterns are those of ``labels``. What comes back is what optax takes as a mask. Weight decay that leaves
    biases and the scales of norms alone is one line::

        optax.adamw(1e-3, weight_decay=0.1, mask=nn.training.mask("*bias", "*scale", but=True))

    Args:
      patterns: one or more strings.
      but: True for all arrays but those.

    Raises:
      TypeError: a pattern that is not a string, or ``but`` that is not a bool.
      ValueError: no pattern; when called, a pattern that matches no path.

    >>> import jax, jaxnn as nn
    >>> weights = nn.dense(2).init(jax.random.key(0), (1, 3)).weights
    >>> nn.training.mask("*bias", but=True)(weights)
    {'bias': False, 'kernel': True}
    """
    owner = "mask"
    for pattern in patterns:
        checks.text(owner, "patterns", pattern)
    if not patterns:
        raise ValueError(refusal(owner, "patterns", "at least one", patterns))
    but = checks.flag(owner, "but", but)

    def mask(weights: Any) -> Any:
        require_used(owner, patterns, paths(weights))
        return by_path(lambda path, _: (matching(path, patterns) is not None) != but, weights)

    return mask
