"""A character model: what does a net know about a text when it has learnt to guess the next letter?

A GRU reads pieces of Python's help pages and gives, after each letter, a distribution of the next. Its loss,
−log₂ p(next letter), is the number of bits that a coder would spend on that letter (Shannon, A Mathematical
Theory of Communication, 1948), so the net can be held against compressors. The last tenth of the text is held
out; all are measured there: letters by their frequency, and gzip and bz2 by how much longer their
file gets when that tenth is added to the rest. These two copy what they have seen, bz2 from almost any
distance, and this text repeats whole phrases. The coloured page is unseen: beginnings and names cost most.

To write, the net draws a letter and reads on. Its logits are divided by a temperature first: 0.5 plays safe.
"""

import bz2
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.sequences import prose
from jaxnn import plots

ALPHABET = np.array(sorted(set(prose())))
NET = nn.serial(nn.embedding(len(ALPHABET), 32), nn.gru(192), head=nn.dense(len(ALPHABET)))
WORD = r"\b[A-Za-z]{4,}\b"


def bits(logits: jax.Array, letters: jax.Array) -> jax.Array:
    """What each letter costs."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, letters) / jnp.log(2)


def pieces(ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The letters cut to a length, and those that follow each: twice (N, length)."""
    whole = (len(ids) - 1) // length * length
    return ids[:whole].reshape(-1, length), ids[1 : whole + 1].reshape(-1, length)


@jax.jit
def written(params: nn.Params, ids: jax.Array, temperature: float) -> jax.Array:
    """How texts (N, T) go on: (N, 160)."""

    def step(ids: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        letter = jax.random.categorical(key, NET.apply(params, ids)[:, -1] / temperature)
        return jnp.concatenate([ids[:, 1:], letter[:, None]], axis=1), letter

    return jax.lax.scan(step, ids, jax.random.split(jax.random.key(1), 160))[1].T


def learning(history: dict[str, list[float]], others: dict[str, float]) -> Figure:
    figure = plots.learning_curves({name.replace("loss", "bits a letter"): history[name] for name in history})
    axes = figure.axes[0]
    for name, value in others.items():
        axes.axhline(value, color="0.4", ls="--", lw=1)
        axes.text(1.01, value, name, transform=axes.get_yaxis_transform(), va="center")
    figure.set_size_inches(7, 3.4)
    return figure


def surprise(text: str, cost: np.ndarray, columns: int = 72) -> Figure:
    figure, ((axes,),) = panels(size=(9, 2.6))
    image = axes.imshow(cost.reshape(-1, columns), cmap="viridis", vmin=0, vmax=8, aspect="auto")
    for i, letter in enumerate(text.replace("\n", "↵")):
        style = {"color": "white" if cost[i] < 4 else "black", "family": "monospace"}
        axes.text(i % columns, i // columns, letter, ha="center", va="center", parse_math=False, **style)
    axes.set_axis_off()
    figure.colorbar(image, ax=axes, label="cost (bits)", extend="max")
    return figure


def draw(quick: bool = False) -> Exhibit:
    text = prose()[: 50_000 if quick else None]
    cut, batch, passes = len(text) * 9 // 10, 8 if quick else 32, 3 if quick else 6
    ids = np.searchsorted(ALPHABET, list(text))
    train, test = pieces(ids[:cut], 64), pieces(ids[cut:], 1024)
    schedule = optax.cosine_decay_schedule(4e-3, passes * -(-len(train[0]) // batch))
    params, history = nn.fit(
        NET, optax.flatten(optax.adam(schedule)), bits, train,
        key=jax.random.key(0), epochs=passes, batch_size=batch, validation=test, progress=False,
    )  # fmt: skip
    share = np.bincount(ids[:cut], minlength=len(ALPHABET)) + 1
    single = -np.log2(share / share.sum())[ids[cut:]].mean()
    gzip, bz = (
        8 * (len(squeezed(text.encode())) - len(squeezed(text[:cut].encode()))) / (len(text) - cut)
        for squeezed in (zlib.compress, bz2.compress)
    )
    cost = np.asarray(bits(NET.apply(params, test[0]), test[1])).ravel()
    read = "".join(ALPHABET[test[1].ravel()])
    starts = np.array([match.start() for match in re.finditer(WORD, read)])
    first, fourth = cost[starts].mean(), cost[starts + 3].mean()
    known, wrote, right = set(re.findall(WORD, text[:cut])), [], []
    for temperature in (0.5, 1.0, 1.5):
        texts = ["".join(ALPHABET[line]) for line in written(params, test[0][:16, :64], temperature)]
        right.append(np.mean([word in known for word in re.findall(WORD, " ".join(texts))]))
        shown = " ".join(texts[0].replace("`", "").split())
        wrote.append(f"at temperature {temperature} `{shown}` ({right[-1]:.0%} known words)")
    net, others = history["val_loss"][-1], {"letters by frequency": single, "gzip": gzip, "bz2": bz}
    facts = [
        fact(net < single - 1, f"A letter of unseen text costs {net:.2f} bits; by frequency {single:.2f}."),
        fact(bz < gzip < single, f"Gzip needs {gzip:.2f} bits for it, bz2 {bz:.2f}."),
        fact(first > 1.3 * fourth, f"A word's first letter costs {first:.2f} bits, its fourth {fourth:.2f}."),
        fact(right[0] > right[2] + 0.1, "It writes " + ", ".join(wrote) + "."),
    ]
    page = surprise(read[2000:2432], cost[2000:2432])
    return Exhibit({"learning": learning(history, others), "surprise": page}, facts)
