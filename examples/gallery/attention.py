"""Attention: what does a head read?

A step of a sequence asks a question, its *query*; every step before it holds up a *key* and a *value*. The
step gets the mean of the values, weighted by softmax(query · key / √D) (Vaswani et al., Attention Is All You
Need, 2017). A recurrent net must carry all it may need through every step; attention looks back.

The task shows both. A sequence of random letters ends with a bar; then the net must say the letters again. At
each step of the copy it has to read the letter after the one that it has just said. A net of one block with
one head learns to: the maps are what each step reads before and after training. The head reads a place at a
fixed distance, which the positions tell it. Without positions (right) it sees which letters there were, not
where, and guesses one of them.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels

LETTERS, FEATURES, BATCH = 16, 48, 32
OPTIMIZER = optax.flatten(optax.adam(3e-3))
Batch = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def network(positions: nn.Layer, length: int) -> nn.Layer:
    """Letters (N, 2 · length) → logits of the letters that follow from the bar on (N, length, LETTERS)."""
    return nn.serial(
        embedding=nn.embedding(LETTERS + 1, FEATURES),
        positions=positions,
        attention=nn.residual(head=nn.multi_head_attention(FEATURES, 1, causal=True)),
        hidden=nn.residual(nn.layer_norm(), nn.dense(4 * FEATURES), nn.gelu, nn.dense(FEATURES)),
        copy=lambda x: x[:, length:],
        head=nn.dense(LETTERS),
    )


def copies(key: jax.Array, length: int, rows: int = BATCH) -> tuple[jax.Array, jax.Array]:
    """Letters, a bar, the letters but for the last, (rows, 2 · length); and what is to be said."""
    letters = jax.random.randint(key, (rows, length), 0, LETTERS)
    bar = jnp.full((rows, 1), LETTERS)
    return jnp.concatenate([letters, bar, letters[:, :-1]], axis=1), letters


@partial(jax.jit, static_argnames=("net", "batch", "steps"))
def trained(net: nn.Layer, params: nn.Params, batch: Batch, steps: int) -> tuple[nn.Params, jax.Array]:
    """The params after so many batches, and the accuracy at each, before it was learnt."""

    def step(carry: tuple[nn.Params, optax.OptState], key: jax.Array) -> tuple[object, jax.Array]:
        params, opt_state = carry
        x, target = batch(key)

        def loss(weights: object) -> tuple[jax.Array, jax.Array]:
            logits = net.apply(params._replace(weights=weights), x)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
            return losses.mean(), nn.accuracy(logits, target).mean()

        grads, accuracy = jax.grad(loss, has_aux=True)(params.weights)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        return (params._replace(weights=optax.apply_updates(params.weights, updates)), opt_state), accuracy

    start = params, OPTIMIZER.init(params.weights)
    (params, _), accuracy = jax.lax.scan(step, start, jax.random.split(jax.random.key(1), steps))
    return params, accuracy


def read(net: nn.Layer, params: nn.Params, ids: jax.Array) -> np.ndarray:
    """The weights of the head for one sequence, (T, T): row t is what step t reads."""
    x = nn.activations(net, params, ids)["positions"]
    weights = params.weights["attention"]["head"]
    q, k = (x @ weights[f"{part}_kernel"] + weights[f"{part}_bias"] for part in ("query", "key"))
    scores = q[0] @ k[0].T / FEATURES**0.5
    return np.asarray(nn.softmax(jnp.where(jnp.tri(len(scores), dtype=bool), scores, -jnp.inf)))


def maps(shown: dict[str, np.ndarray], ids: np.ndarray) -> Figure:
    figure, axes = panels(1, len(shown), size=(10, 3.9))
    names = ["|" if letter == LETTERS else chr(ord("a") + letter) for letter in ids]
    for ax, (title, weights) in zip(axes[0], shown.items(), strict=True):
        image = ax.imshow(weights, vmin=0, vmax=1, cmap="viridis")
        ax.set(xlabel="step that is read", title=title)
        for set_ticks in (ax.set_xticks, ax.set_yticks):
            set_ticks(range(len(names)), names, fontsize=6)
    axes[0, 0].set_ylabel("step that reads")
    figure.colorbar(image, ax=axes, label="weight")
    return figure


def draw(quick: bool = False) -> Exhibit:
    length, steps = (6, 400) if quick else (12, 1000)
    told, untold = network(nn.sinusoidal_positions(), length), network(nn.as_layer(nn.linear), length)
    ids, said = copies(jax.random.key(7), length, 64)
    start = told.init(jax.random.key(0), ids)
    batch = partial(copies, length=length)
    params, _ = trained(told, start, batch, steps)
    blind, _ = trained(untold, untold.init(jax.random.key(0), ids), batch, steps)
    nets = (told, params), (untold, blind)
    right, guessed = (float(nn.accuracy(net.apply(p, ids), said).mean()) for net, p in nets)
    before, after, none = (read(net, p, ids[:1]) for net, p in ((told, start), *nets))
    back = np.diagonal(after, -length).mean()  # step t reads the step t − length
    moved = ids.at[:, :length].set(ids[:, length - 1 :: -1])  # the letters before the bar, back to front
    other, same = (float(jnp.abs(net.apply(p, ids) - net.apply(p, moved))[:, 0].max()) for net, p in nets)
    facts = [
        fact(right > 0.95, f"With positions {right:.1%} of the letters of unseen sequences are said right."),
        fact(back > 0.5, f"In the copy {back:.0%} of what the head reads is the step {length} before."),
        fact(guessed < 0.6 < right, f"Without positions {guessed:.0%} are right."),
        fact(same < 1e-4, f"Letters reversed move the logits by {other:.1f}, without positions {same:.0e}."),
    ]
    shown = {"before training": before, "after training": after, "without positions": none}
    return Exhibit({"maps": maps(shown, np.asarray(ids[0]))}, facts)
