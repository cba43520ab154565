"""What a compiled program sends between devices."""

import re
from math import prod
from typing import Any

import jax

_COLLECTIVE = re.compile(
    r" = (.*?) (all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter)(?:-start)?\("
)
_SHAPE = re.compile(r"\w+\[([\d,]*)\]")


def check_only_sums(compiled: Any, summed: Any, other: int = 0) -> None:
    """Asserts that devices send each other nothing but sums, each no larger than what may be summed.

    Args:
      compiled: the program.
      summed: the arrays whose gradients, or which themselves, are sums over the batch: weights, statistics.
      other: the size of the largest statistic that ``summed`` does not have.
    """
    leaves = [leaf.size for leaf in jax.tree.leaves(summed)]
    largest = max([1, other, *leaves])
    sent = [
        (kind, [prod(map(int, filter(None, sizes.split(",")))) for sizes in _SHAPE.findall(result)])
        for result, kind in _COLLECTIVE.findall(re.sub(r"/\*.*?\*/", "", compiled.as_text()))
    ]
    wrong = [(kind, sizes) for kind, sizes in sent if kind != "all-reduce" or max(sizes) > largest]
    assert not wrong, f"sent beside sums of at most {largest} values: {wrong}"
