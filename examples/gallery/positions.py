"""Positions: can attention tell order?

What a step reads is a weighted mean of values, and a mean has no order. Shuffle the steps of a sequence, and
attention alone gives the same outputs, shuffled alike: to it a sentence is a bag of words. So the place must
be put into the steps, or into how a query meets a key.

- *Sinusoidal* positions add sines and cosines of the place to each step (Vaswani et al., 2017).
- *Learnt* positions add a row of weights for each place. There are rows only for places seen in training.
- *Rotary* positions turn queries and keys by angles that grow with the place: their product then depends on
  how far apart they stand (Su et al., RoFormer, 2021).
- A *causal* mask hides later steps, and that alone tells which of two came first.

The task is to say which of two marks comes first in a sequence of random letters. Guessing is right in half
of all cases, and a net of one block without positions cannot do better, however long it learns. All learn
from sequences of one length. The panel on the right asks about others: what was learnt of places, or of
distances, that were never seen is of little use there, while the mask says "earlier" at any length.
"""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.attention import trained
from examples.gallery.exhibit import Exhibit, fact, panels

LETTERS, FEATURES, LENGTH, LONGEST = 16, 32, 16, 64


def network(positions: nn.Layer, **attention: object) -> nn.Layer:
    """Letters (N, T) → logits of which mark is first (N, 2)."""
    return nn.serial(
        embedding=nn.embedding(LETTERS, FEATURES),
        positions=positions,
        attention=nn.residual(nn.multi_head_attention(FEATURES, 4, **attention)),
        hidden=nn.residual(nn.layer_norm(), nn.dense(2 * FEATURES), nn.gelu, nn.dense(FEATURES)),
        mean=lambda x: x.mean(axis=1),
        head=nn.dense(2),
    )


NOTHING = nn.as_layer(nn.linear)
NETS = {
    "nothing": network(NOTHING),
    "sinusoidal": network(nn.sinusoidal_positions()),
    "learnt": network(nn.position_embedding(LONGEST)),
    "rotary": network(NOTHING, rotary=True),
    "a causal mask": network(NOTHING, causal=True),
}


def marked(key: jax.Array, length: int = LENGTH, rows: int = 64) -> tuple[jax.Array, jax.Array]:
    """Letters from 2 on with the marks 0 and 1 at two places, (rows, length); and which mark is first."""
    letters, places = jax.random.split(key)
    x = jax.random.randint(letters, (rows, length), 2, LETTERS)
    order = jnp.argsort(jax.random.uniform(places, (rows, length)), axis=1)
    row = jnp.arange(rows)
    return x.at[row, order[:, 0]].set(0).at[row, order[:, 1]].set(1), (order[:, 1] < order[:, 0]).astype(int)


def figure_of(curves: dict[str, np.ndarray], lengths: list[int], found: dict[str, list[float]]) -> Figure:
    figure, ((learning, longer),) = panels(1, 2, size=(9, 3.2), sharey=True)
    for style, (name, curve) in zip(("-", "-", "--", "-.", ":"), curves.items(), strict=True):
        smooth = curve[: len(curve) // 20 * 20].reshape(-1, 20).mean(axis=1)
        learning.plot(20 * np.arange(len(smooth)) + 10, smooth, style, label=name)
        longer.plot(lengths, found[name], style, marker="o", markersize=4)
    learning.set(xlabel="step of training", ylabel="accuracy", title=f"{LENGTH} letters", ylim=(0.4, 1.02))
    longer.set(xlabel="length of unseen sequences (letters)", title="After training")
    longer.set_xticks(lengths, lengths)
    figure.legend(*learning.get_legend_handles_labels(), loc="outside right center")
    return figure


def draw(quick: bool = False) -> Exhibit:
    steps, rows, lengths = (300, 256, [16, 64]) if quick else (1000, 1024, [8, 16, 32, 48, 64])
    start = {name: net.init(jax.random.key(0), jnp.zeros((1, LENGTH), int)) for name, net in NETS.items()}
    runs = {name: trained(net, start[name], marked, steps) for name, net in NETS.items()}
    asked = {length: marked(jax.random.key(2), length, rows) for length in lengths}
    right = {
        name: [float(nn.accuracy(net.apply(runs[name][0], x), y).mean()) for x, y in asked.values()]
        for name, net in NETS.items()
    }
    at = {name: shares[lengths.index(LENGTH)] for name, shares in right.items()}
    far = {name: shares[-1] for name, shares in right.items()}
    bag, x = nn.multi_head_attention(FEATURES, 4), jax.random.normal(jax.random.key(3), (1, LENGTH, FEATURES))
    params, order = bag.init(jax.random.key(0), x), np.random.default_rng(0).permutation(LENGTH)
    off = float(jnp.abs(bag.apply(params, x[:, order]) - bag.apply(params, x)[:, order]).max())
    told = [name for name in NETS if name != "nothing"]
    listed = ", ".join(f"{at[name]:.1%} ({name})" for name in told)
    facts = [
        fact(off < 1e-5, f"Attention to shuffled steps is what it was, shuffled alike, within {off:.0e}."),
        fact(abs(at["nothing"] - 0.5) < 0.1, f"Without positions {at['nothing']:.1%} are right."),
        fact(min(at[name] for name in told) > 0.9, f"With them {listed}."),
        fact(True, f"Of {LONGEST} letters: " + ", ".join(f"{far[name]:.1%} ({name})" for name in told) + "."),
    ]
    return Exhibit(
        {"order": figure_of({n: np.asarray(c) for n, (_, c) in runs.items()}, lengths, right)}, facts
    )
