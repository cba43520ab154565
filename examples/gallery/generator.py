"""A generator: can a net draw digits that nobody wrote?

Two nets play against each other (Goodfellow et al., 2014; with convolutions, as here, DCGAN: Radford, Metz
and Chintala, 2016). The *generator* grows 16 random numbers into an image by transposed convolutions; the
*critic* is shown real and generated images and says which is which. Each step moves the critic towards the
right answer and the generator towards the critic's mistakes. Neither loss says how good the digits are, as
each depends on the other net. What draws them is a running average of the generator's weights.

Two distances say more than looking. From an image to the nearest real one: far means badly drawn, nearer
than new real digits are means copied. From new real digits to the nearest image: far means that some kind is
never drawn. Beside them stand a normal distribution with the digits' mean and covariance, digits whose pixels
are drawn one by one, and a walk around half a circle of the generator's codes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.datasets import load
from examples.gallery.exhibit import Exhibit, fact, panels
from jaxnn import plots

BATCH, CODE = 64, 16
cross_entropy, fixed = optax.sigmoid_binary_cross_entropy, jax.lax.stop_gradient


def play(real: jax.Array, features: int, epochs: int) -> tuple[nn.Layer, nn.Params, dict[str, np.ndarray]]:
    """The generator, the average of its params, and both losses over the epochs."""
    generator = nn.serial(
        nn.dense(16 * features), nn.reshape(2, 2, 4 * features), nn.batch_norm(), nn.relu,
        nn.conv_transpose(2 * features, 4, strides=2, padding="SAME"), nn.batch_norm(), nn.relu,
        nn.conv_transpose(1, 4, strides=2, padding="SAME"), nn.tanh, nn.flatten,
    )  # fmt: skip
    critic = nn.serial(
        nn.reshape(8, 8, 1), nn.conv(features, 4, strides=2, padding="SAME"), nn.leaky_relu,
        nn.conv(2 * features, 4, strides=2, padding="SAME"), nn.leaky_relu,
        nn.flatten, nn.dropout(0.3), nn.dense(1),
    )  # fmt: skip
    optimizer = optax.adam(2e-3, b1=0.5)
    answer = jnp.repeat(jnp.array([0.9, 0.0]), BATCH)[:, None]  # 0.9: the critic shall not grow too sure

    def loss(weights: Any, state: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        """Both losses, each with the other net fixed, so that one gradient moves both."""
        k = jax.random.split(key, 5)
        images = jax.random.choice(k[0], real, (BATCH,))
        fake, state = generator.train(nn.Params(weights[0], state), jax.random.normal(k[1], (BATCH, CODE)))
        # With noise on both the critic cannot go by single grey levels.
        images, fake = (x + 0.1 * jax.random.normal(k, x.shape) for x, k in ((images, k[2]), (fake, k[3])))
        fooled, _ = critic.train(nn.Params(fixed(weights[1]), {}), fake, k[4])
        told, _ = critic.train(nn.Params(weights[1], {}), jnp.concatenate([images, fixed(fake)]), k[4])
        losses = cross_entropy(fooled, 1.0).mean(), cross_entropy(told, answer).mean()
        return sum(losses), (state, losses)

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        weights, state, opt_state, average = carry
        grads, (state, losses) = jax.grad(loss, has_aux=True)(weights, state, key)
        updates, opt_state = optimizer.update(grads, opt_state)
        weights = optax.apply_updates(weights, updates)
        average = optax.incremental_update(nn.Params(weights[0], state), average, 0.01)
        return (weights, state, opt_state, average), losses

    first = generator.init(jax.random.key(0), (1, CODE))
    weights = first.weights, critic.init(jax.random.key(1), (1, 64)).weights
    keys = jax.random.split(jax.random.key(2), epochs * (len(real) // BATCH))
    start = weights, first.state, optimizer.init(weights), first
    (*_, average), losses = jax.jit(lambda start: jax.lax.scan(step, start, keys))(start)
    fooled, told = (np.reshape(each, (epochs, -1)).mean(axis=1) for each in losses)
    return generator, average, {"generator's loss": fooled, "critic's loss": told}


def to_nearest(a: np.ndarray, b: np.ndarray) -> float:
    """The median over ``a`` of the distance to the nearest of ``b``."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return float(np.median(np.sqrt(np.maximum(squares, 0).min(axis=1))))


def draw_images(rows: dict[str, np.ndarray]) -> Figure:
    figure, axes = panels(len(rows), 12, size=(9, 0.74 * len(rows)), subplot_kw={"xticks": [], "yticks": []})
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, image in zip(row, images.reshape(-1, 8, 8), strict=False):
            ax.imshow(image, vmin=-1, vmax=1)
    return figure


def draw(quick: bool = False) -> Exhibit:
    data, random = load(), np.random.default_rng(0)
    real, new = ((2 * part.images - 1).reshape(-1, 64) for part in (data.train, data.test))
    net, params, history = play(jnp.asarray(real), *((12, 55) if quick else (16, 230)))
    codes = random.normal(size=(len(real), CODE)).astype(np.float32)
    angle = np.linspace(0, np.pi, 12, dtype=np.float32)[:, None]
    codes[:12] = np.cos(angle) * codes[0] + np.sin(angle) * codes[1]
    generated = np.asarray(jax.jit(net.apply)(params, codes))
    normal = random.multivariate_normal(real.mean(axis=0), np.cov(real.T), len(real)).clip(-1, 1)
    sets = {"generated": generated[12:], "normal": normal, "single pixels": random.permuted(real, axis=0)}
    near = to_nearest(new, real)
    bad, bad_normal, bad_pixels = (to_nearest(images, real) for images in sets.values())
    far, far_normal, _ = (to_nearest(new, images) for images in sets.values())
    drawn = f"A generated digit is {bad:.1f} from the nearest real one (in the median)"
    kinds = (
        f"From a new real digit to the nearest of {len(sets['generated']):,} generated ones it is {far:.1f}"
    )
    facts = [
        fact(bad < bad_normal < bad_pixels, f"{drawn}, a draw from the normal {bad_normal:.1f}."),
        fact(near < bad, f"A new real one is {near:.1f} from it: the others are not copies, nor as good."),
        fact(near < far < far_normal, f"{kinds}, to the nearest normal draw {far_normal:.1f}."),
    ]
    images = draw_images({"new, real": new, **sets, "a walk": generated[:12]})
    return Exhibit({"losses": plots.learning_curves(history), "images": images}, facts)
