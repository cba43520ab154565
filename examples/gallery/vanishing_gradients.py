"""Vanishing and exploding gradients: what is left of a gradient at the first of twenty layers?

Backwards through a layer h → f(W·h + b), a gradient is multiplied by the slopes f′ and by Wᵀ; through twenty,
twenty times: factors of 0.25 leave 10⁻¹² of it, factors of 2.8 make it 10⁹ times as large. With n inputs and
weights of deviation σ, the factor is about σ·√n·√(mean f′²). Xavier's σ = 1/√n makes it 1 where the slope is
1, as that of tanh at 0; He's √(2/n) makes up for the half of the ReLUs that are off. The slope of the sigmoid
is at most 1/4, and larger weights only saturate it. Batch normalisation sets the scale anew in every layer.
In theory ReLU's factors are 1/√2 with Xavier's σ, 1 with He's, √(π/(π − 1)) = 1.21 when normalised.

The curves show, before any training, the size of ∂loss/∂h for the output h of each layer, for handwritten
digits; the table, what plain gradient descent makes of the same nets. A gradient of the right size is
necessary, but not enough: ReLU with He's weights has one, and learns less than with batch normalisation.

Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010; He et
al., "Delving deep into rectifiers", 2015; Yang et al., "A mean field theory of batch normalization", 2019.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn.initializers import Initializer, glorot_normal, he_normal, normal
from matplotlib.figure import Figure

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels

DEPTH, HEAD, NORM = 20, nn.dense(10), "He + batch norm"
EXPECTED = (0.236, 0.32, 1.04), (0.94, 1.04, 1.11), (0.707, 1.0, 1.21)  # factors: Xavier, He, batch norm
KINDS = {"sigmoid": nn.sigmoid, "tanh": nn.tanh, "ReLU": nn.relu}
INITS = {"σ = 0.05": normal(0.05), "Xavier": glorot_normal(), "He": he_normal(), "σ = 0.5": normal(0.5)}


def layers(kind: jax.Array | int, init: Initializer, *norm: nn.Layer) -> tuple[nn.Layer, nn.Layer]:
    """A hidden layer, and the net. The activation has a number, so that one program serves for all."""
    block = nn.serial(nn.dense(64, kernel_init=init), *norm, partial(jax.lax.switch, kind, [*KINDS.values()]))
    return block, nn.serial(hidden=nn.repeat(block, DEPTH), head=HEAD)


def study(passes: int, keys: jax.Array, inits: list[Initializer], *norm: nn.Layer) -> tuple[jax.Array, ...]:
    """By activation, and by init and key: mean |∂loss/∂h| in each layer, and the accuracy once trained."""
    images, labels = map(jnp.asarray, load().train)
    x = (images.reshape(-1, 64) - images.mean()) / images.std()
    rows = np.random.default_rng(0).integers(len(x), size=(passes * (len(x) // 64), 64))
    loss, optimizer = optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.05)

    def run(kind: jax.Array, params: nn.Params) -> tuple[jax.Array, jax.Array]:
        block, net = layers(kind, he_normal(), *norm)
        copies = nn.Params(params.weights["hidden"], params.state.get("hidden", {}))

        def tapped(zeros: jax.Array) -> jax.Array:  # added to the outputs: their gradients are the outputs'
            h, _ = jax.lax.scan(lambda h, c: (block.train(c[0], h)[0] + c[1], None), x, (copies, zeros))
            return loss(HEAD.apply(nn.Params(params.weights["head"], {}), h), labels).sum()

        sizes = jnp.abs(jax.grad(tapped)(jnp.zeros((DEPTH, *x.shape)))).mean((1, 2))
        step = nn.make_step(net, optimizer, loss)
        state = nn.init_state(net, optimizer, keys[0], x.shape, params=params)
        state, _ = jax.lax.scan(lambda state, row: step(state, x[row], labels[row]), state, rows)
        return sizes, nn.accuracy(net.apply(state.params, x), labels).mean()

    starts = [layers(0, init, *norm)[1].init(key, x.shape) for init in inits for key in keys]
    runs = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))
    return runs(jnp.arange(len(KINDS)), jax.tree.map(lambda *params: jnp.stack(params), *starts))


def draw(quick: bool = False) -> Exhibit:
    passes, keys = 3 if quick else 10, jax.random.split(jax.random.key(0), 1 if quick else 3)
    results = study(passes, keys, list(INITS.values())), study(passes, keys, [he_normal()], nn.batch_norm())
    sizes, right = (np.concatenate(pair, axis=1) for pair in zip(*results, strict=True))
    sizes, right = np.exp(np.log(sizes).reshape(3, 5, -1, DEPTH).mean(2)), right.reshape(3, 5, -1).mean(2)
    factors = (sizes[..., 0] / sizes[..., -1]) ** (1 / (DEPTH - 1))  # of one layer, the geometric mean of all
    worst, without = factors[2, 3], right[::2, :4].max(1)
    facts = [
        fact(
            np.abs(found[[1, 2, 4]] / expected - 1) < 0.08,
            f"{kind}: a layer multiplies the gradient by {found[1]:.2f} with Xavier's weights, "
            f"{found[2]:.2f} with He's, {found[4]:.2f} with batch normalisation.",
        )
        for kind, found, expected in zip(KINDS, factors, EXPECTED, strict=True)
    ]
    facts.append(fact(worst > 2.4, f"ReLU, σ = 0.5: by {worst:.2f}, in all by {worst ** (DEPTH - 1):.0e}."))
    learnt = (
        f"Right with batch normalisation: sigmoid {right[0, 4]:.0%}, ReLU {right[2, 4]:.0%}; without it, at"
    )
    facts.append(fact(right[::2, 4] > without + 0.1, f"{learnt} best {without[0]:.0%} and {without[1]:.0%}."))
    return Exhibit({"depth": by_depth(sizes), "learnt": table(right, passes)}, facts)


def by_depth(sizes: np.ndarray) -> Figure:
    figure, (row,) = panels(1, 3, size=(10, 3.6), sharey=True)
    for axes, kind, lines in zip(row, KINDS, sizes, strict=True):
        axes.plot(range(1, DEPTH + 1), lines.T, ".-", label=(*INITS, NORM))
        axes.set(title=kind, xlabel="layer", yscale="log", xticks=(1, 5, 10, 15, 20))
    row[0].set_ylabel("mean |∂loss/∂h| before training")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def table(right: np.ndarray, passes: int) -> Figure:
    figure, ((axes,),) = panels(1, 1, size=(6.4, 2.6))
    axes.imshow(right, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set(title=f"Right answers after {passes} passes", xticks=range(5), xticklabels=(*INITS, NORM))
    axes.set_yticks(range(3), KINDS)
    axes.grid(visible=False)
    for (i, j), share in np.ndenumerate(right):
        axes.text(j, i, f"{share:.0%}", ha="center", va="center", color="black" if share > 0.5 else "white")
    return figure
