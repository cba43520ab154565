"""What a compiled program sends between devices."""

from typing import Any

import jax

from jaxnn.distribution import collectives


def check_only_sums(compiled: Any, summed: Any, other: int = 0) -> None:
    """Asserts that devices send each other nothing but sums, each no larger than what may be summed.

    Args:
      compiled: the program.
      summed: the arrays whose gradients, or which themselves, are sums over the batch: weights, statistics.
      other: the size of the largest statistic that ``summed`` does not have.
    """
    leaves = [leaf.size for leaf in jax.tree.leaves(summed)]
    largest = max([1, other, *leaves])
    wrong = [
        (sent.kind, sent.sizes)
        for sent in collectives(compiled)
        if sent.kind != "all-reduce" or max(sent.sizes) > largest
    ]
    assert not wrong, f"sent beside sums of at most {largest} values: {wrong}"
