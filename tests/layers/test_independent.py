"""One bad example, and one bad member of an ensemble, leave the others as they are, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.layers.catalogue import ENTRIES, FEWEST, few
from tests.layers.test_catalogue import batch, prepared

BAD = (np.nan, np.inf, float(np.finfo(np.float32).max))


def rest(tree, *place):
    """All but one member, or all but one example of one member."""
    return [np.delete(np.asarray(leaf)[place[:-1]], place[-1], axis=0) for leaf in jax.tree.leaves(tree)]


def with_value(array, place, value):
    changed = np.array(array)
    changed[place] = value
    return changed


@few([entry for entry in ENTRIES if not entry.integers], FEWEST)
def test_one_that_is_not_finite_leaves_the_others_alone(entry):
    """In values and in gradients for the input and for the weights."""
    layer, params, x, _ = prepared(entry)
    # In NumPy what is not under test: JAX would compile a program for each shape.
    x = np.stack([x, batch(entry, seed=1)])
    params = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), params)

    def member(params, x):
        y, back = jax.vjp(lambda w, x: layer.apply(params._replace(weights=w), x), params.weights, x)
        dweights, dx = back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))
        return (y, dx), dweights

    run = jax.jit(jax.vmap(member))
    examples, weights = run(params, x)
    for value in BAD:
        place = (1, 0, *(n // 2 for n in entry.shape[1:]))
        bad_examples, bad_weights = run(params, with_value(x, place, value))
        for before, after in (
            (rest((examples, weights), 1), rest((bad_examples, bad_weights), 1)),
            (rest(examples, 1, 0), rest(bad_examples, 1, 0)),
        ):
            jax.tree.map(np.testing.assert_array_equal, after, before)
        bad = jax.tree.map(lambda leaf: with_value(leaf, 0, value), params)  # noqa: B023
        before, after = rest((examples, weights), 0), rest(run(bad, x), 0)
        jax.tree.map(np.testing.assert_array_equal, after, before)
