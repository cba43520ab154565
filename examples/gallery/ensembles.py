"""Ensembles: what do many nets know that one does not, and what do they cost in one program?

One net gives one answer, however little it has seen. Nets that start from other weights and learn from other
draws of the data (a *bootstrap*: each point counted as often as it is drawn) agree where the data are and
differ where they are not: how much is an honest measure of ignorance (Breiman, "Bagging predictors", 1996;
Lakshminarayanan et al., 2017). `nn.ensemble(net, 64)` is a layer whose weights have a leading axis of 64 and
whose output has it too; one loss, one gradient and one optimiser train them all, each as if alone.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels

NET = nn.serial(nn.dense(32), nn.tanh, nn.dense(32), nn.tanh, head=nn.dense(1))
MEMBERS = 64


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x) + x


@partial(jax.jit, static_argnums=(0, 5))
def learn(net: nn.Layer, params: nn.Params, x: Any, y: Any, counts: Any, steps: int) -> nn.Params:
    """Adam on the squared error, each point as often as it counts: for one net, or for an ensemble."""
    optimizer = optax.adam(1e-2)

    def loss(weights: Any) -> jax.Array:
        prediction = net.apply(params._replace(weights=weights), x)[..., 0]
        return (counts * optax.squared_error(prediction, jnp.broadcast_to(y, prediction.shape))).sum() / len(
            y
        )

    def step(carry: Any, _: None) -> tuple[Any, None]:
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    start = params.weights, optimizer.init(params.weights)
    return params._replace(weights=jax.lax.scan(step, start, length=steps)[0][0])


def products(net: nn.Layer, params: nn.Params, x: Any) -> int:
    """How many matrix products are in the program."""
    return jax.jit(net.apply).lower(params, x).as_text().count("dot_general ")


def draw(quick: bool = False) -> Exhibit:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-2, -0.5, 30), rng.uniform(0.7, 2, 30)]).astype(np.float32)[:, None]
    y = (curve(x) + rng.normal(0, 0.15, x.shape))[:, 0].astype(np.float32)
    counts = rng.multinomial(len(y), [1 / len(y)] * len(y), MEMBERS).astype(np.float32)
    steps, key, many = 400 if quick else 1500, jax.random.key(0), nn.ensemble(NET, MEMBERS)
    seventh = NET.init(jax.random.split(key, MEMBERS)[7], x)
    together = learn(many, many.init(key, x), x, y, counts, steps)
    alone = learn(NET, seventh, x, y, counts[7], steps)

    grid = np.linspace(-3, 3, 241, dtype=np.float32)[:, None]
    answers = np.asarray(many.apply(together, grid))[..., 0]
    apart = np.sort(np.abs(answers - NET.apply(alone, grid)[:, 0]).mean(axis=1))
    mean, deviation, truth = answers.mean(axis=0), answers.std(axis=0), curve(grid[:, 0])
    figure, ((axes,),) = panels(size=(7, 3.4))
    axes.plot(grid, answers.T, color="0.6", linewidth=0.3)
    for n, label in ((2, "± 2 deviations"), (1, "± 1 deviation")):
        axes.fill_between(
            grid[:, 0], mean - n * deviation, mean + n * deviation, color="C0", alpha=0.2, label=label
        )
    axes.plot(grid, mean, label=f"mean of {MEMBERS} nets")
    axes.plot(grid, truth, "--", label="sin 3x + x")
    axes.plot(x, y, ".", color="black", label="what they learnt from")
    axes.set(xlabel="x", ylabel="y", ylim=(-4, 5), title=f"{MEMBERS} nets trained in one program")
    axes.legend(ncol=2)

    near = np.abs(grid - x.T).min(axis=1)
    seen, unseen = deviation[near < 0.1].mean(), deviation[near > 0.4].mean()
    errors = ((answers - truth) ** 2)[:, near < 0.1].mean(axis=1)
    better = int((errors > ((mean - truth) ** 2)[near < 0.1].mean()).sum())
    one, all_of_them = products(NET, seventh, x), products(many, together, x)
    differ = f"The nets differ by {seen:.2g} (deviation) near the data, and by {unseen:.2g} away from them."
    mean_of_all = (
        f"Near the data, their mean lies nearer to the curve than {better} of the {MEMBERS} nets do."
    )
    same = (
        f"Net 7 of the ensemble, trained alone, gives the same curve: on average it is off by "
        f"{apart[0]:.1g}, and by {apart[1]:.1g} from the next most similar net."
    )
    size = f"The program of one net has {one} matrix products, that of {MEMBERS} nets {all_of_them}, batched."
    facts = [
        fact(unseen > 3 * seen, differ),
        fact(better > MEMBERS // 2, mean_of_all),
        fact(apart[0] < apart[1] / 4, same),
        fact(one == all_of_them == 3, size),
    ]
    return Exhibit({"uncertainty": figure}, facts)
