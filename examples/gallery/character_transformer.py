"""A character transformer: does attention guess letters better than a recurrent net?

The GRU of the character model carries what it has read in one vector of fixed size; a transformer keeps all
of it and looks back. Here both learn the same letters of Python's help pages, the same number of times, in
pieces of 128, with about as many weights, and are asked about a tenth of the text that they have not seen.
The score is what a letter costs, −log₂ p(next letter), as on the page before.

How far the cost of a letter falls with what could be read before it shows how much a net makes of its past.
Here the GRU is ahead, in less time: nets and texts as small as these do not show what attention gains.
To write, a transformer need not read its text again for each letter: keys and values of the letters before
stay as they are, so `nn.generate` keeps them, and writes letter by letter the same.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery import character_model
from examples.gallery.character_model import ALPHABET, bits, pieces
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.sequences import paragraphs

LENGTH, PROMPT, WRITTEN = 128, 32, 96
NETS = {
    "GRU": character_model.NET,
    "transformer": nn.models.gpt(len(ALPHABET), features=80, heads=4, depth=2, rotary=True),
}


def learnt(name: str, train: tuple[np.ndarray, np.ndarray], passes: int) -> tuple[nn.Params, float]:
    """The params after so many passes, and the processor time per pass."""
    steps, started = passes * -(-len(train[0]) // 16), time.process_time()
    schedule = optax.warmup_cosine_decay_schedule(0.0, 4e-3, steps // 20, steps)
    optimizer = optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)))
    key, settings = jax.random.key(0), {"epochs": passes, "batch_size": 16, "progress": False}
    params = nn.fit(NETS[name], optimizer, bits, train, key=key, **settings).params
    return params, (time.process_time() - started) / passes


def anew(net: nn.Layer, params: nn.Params, prompt: jax.Array) -> jax.Array:
    """The likeliest letters after a prompt, all before each read again: (N, P) → (N, WRITTEN)."""

    def step(ids: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
        letter = jnp.argmax(net.apply(params, ids)[:, place - 1], axis=-1)
        return ids.at[:, place].set(letter), None

    ids = jnp.pad(prompt, ((0, 0), (0, WRITTEN)))
    return jax.lax.scan(step, ids, PROMPT + jnp.arange(WRITTEN))[0][:, PROMPT:]


def kept(net: nn.Layer, params: nn.Params, prompt: jax.Array) -> jax.Array:
    """The same by ``nn.generate``."""
    return nn.generate(net, params, prompt, steps=WRITTEN, temperature=0)


def per_second(write: Callable[[], jax.Array]) -> float:
    """Letters per second of processor time, the best of five."""
    jax.block_until_ready(write())
    taken = []
    for _ in range(5):
        started = time.process_time()
        jax.block_until_ready(write())
        taken.append(time.process_time() - started)
    return WRITTEN / min(taken)


def by_place(costs: dict[str, np.ndarray]) -> Figure:
    figure, ((axes,),) = panels(size=(6.5, 3.2))
    for style, (name, cost) in zip(("-", "--"), costs.items(), strict=True):
        edges = np.unique(np.geomspace(1, LENGTH, 16).astype(int)) - 1
        mean = [cost[:, a:b].mean() for a, b in pairwise(edges)]
        axes.semilogx(edges[:-1] + 1, mean, style, marker="o", markersize=4, label=name)
    axes.set(xlabel="letters read before", ylabel="cost of a letter (bits)")
    axes.set_xticks(ticks := [1, 2, 4, 8, 16, 32, 64], ticks)
    axes.minorticks_off()
    axes.legend()
    return figure


def draw(quick: bool = False) -> Exhibit:
    text, passes = paragraphs()[: 40_000 if quick else 250_000], 4 if quick else 5
    ids = np.searchsorted(ALPHABET, list(text)).astype(np.int32)
    train, test = pieces(ids[: len(ids) * 9 // 10], LENGTH), pieces(ids[len(ids) * 9 // 10 :], LENGTH)
    costs, seconds, weights, speeds, same = {}, {}, {}, {}, []
    for name, net in NETS.items():
        params, seconds[name] = learnt(name, train, passes)
        costs[name] = np.asarray(bits(net.apply(params, test[0]), test[1]))
        weights[name] = sum(leaf.size for leaf in jax.tree.leaves(params.weights))
        prompt = jnp.asarray(test[0][:1, :PROMPT])
        again = jax.jit(anew, static_argnames="net")
        same.append(np.mean(again(net, params, prompt) == kept(net, params, prompt)))
        speeds[name] = [per_second(partial(way, net, params, prompt)) for way in (kept, again)]
    gru, other = (cost.mean() for cost in costs.values())
    late = {name: cost[:, LENGTH // 2 :].mean() for name, cost in costs.items()}
    listed = "; ".join(f"{name} {a:,.0f} and {b:,.0f}" for name, (a, b) in speeds.items())
    facts = [
        fact(max(gru, other) < 4.6, f"A letter costs the GRU {gru:.2f} bits, the transformer {other:.2f}."),
        fact(True, f"In the second half of a piece {late['GRU']:.2f} and {late['transformer']:.2f}."),
        fact(True, f"They have {weights['GRU']:,} and {weights['transformer']:,} weights."),
        fact(
            True, f"A pass takes {seconds['GRU']:.0f} s and {seconds['transformer']:.0f} s of processor time."
        ),
        fact(min(same) == 1, "With what it keeps each writes the letters that it writes without."),
        fact(True, f"Letters per second of processor time, with what is kept and anew: {listed}."),
    ]
    return Exhibit({"places": by_place(costs)}, facts)
