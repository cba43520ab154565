"""A U-Net: how does a net give back an image, and a better one than it got?

An autoencoder narrows an image step by step and widens it again; what comes through is what the net has
understood. A *U-Net* (Ronneberger et al., 2015) adds bridges: at each size, what was there on the way down
stands beside what comes up, so that detail needs not go through the narrow part. Down: max pooling. Up: a
transposed convolution, 2 × 2 with stride 2, in which every pixel stamps a square of its own, without overlap
and so without a checkerboard. The level below a level is a layer like any other, so the net is recursive:

`nn.parallel(nn.linear, nn.serial(nn.max_pool(2), level(2 * n), nn.conv_transpose(n, 2, strides=2)))`

This one learns to take noise away, one colour at a time. It sees pieces of a photograph with fresh noise
(deviation 0.15) at every step, and is judged on *another* photograph by the signal-to-noise ratio, −10·log₁₀
of the mean squared error in decibels: 3 dB more is half the error.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.photograph import photograph

NOISE = 0.15


def unit(features: int) -> nn.Layer:
    return nn.serial(nn.conv(features, 3, padding="SAME"), nn.relu)


def level(features: int, deeper: int) -> nn.Layer:
    """(N, H, W, C) → (N, H, W, features), by way of ``deeper`` halvings of the size."""
    if not deeper:
        return nn.serial(unit(features), unit(features))
    lower, up = level(2 * features, deeper - 1), nn.conv_transpose(features, 2, strides=2)
    bridge = nn.parallel(nn.linear, nn.serial(nn.max_pool(2), lower, up), merge="concat")
    return nn.serial(unit(features), bridge, unit(features))


def network(features: int, halvings: int) -> nn.Layer:
    """It predicts what to add to the noisy image; at the start next to nothing."""
    start = jax.nn.initializers.normal(1e-3)
    return nn.residual(level(features, halvings), nn.conv(1, 3, padding="SAME", kernel_init=start))


@partial(jax.jit, static_argnums=(0, 2, 3))
def learn(net: nn.Layer, image: jax.Array, steps: int, size: int) -> nn.Params:
    """Adam on 16 square pieces at random places a step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    limits = jnp.array([3, image.shape[1] - size, image.shape[2] - size])[:, None, None]

    def pieces(key: jax.Array) -> jax.Array:
        """At random places, in random colours, with less contrast or more, brighter or darker."""
        where, light = jax.random.split(key)
        colour, top, left = (jax.random.uniform(where, (3, 16, 1)) * limits).astype(int)
        square = jnp.arange(size)
        clean = image[colour[..., None], (top + square)[..., None], (left + square)[:, None], :]
        gain, shift = jax.random.uniform(light, (2, 16, 1, 1, 1))
        return (0.5 + gain) * (clean - clean.mean()) + shift

    def step(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        clean = pieces(key)
        noisy = clean + NOISE * jax.random.normal(jax.random.fold_in(key, 1), clean.shape)

        def loss(weights: Any) -> jax.Array:
            return optax.squared_error(net.apply(params._replace(weights=weights), noisy), clean).mean()

        updates, state = optimizer.update(jax.grad(loss)(params.weights), state)
        return (params._replace(weights=optax.apply_updates(params.weights, updates)), state), None

    params = net.init(jax.random.key(0), (1, size, size, 1))
    keys = jax.random.split(jax.random.key(1), steps)
    return jax.lax.scan(step, (params, optimizer.init(params.weights)), keys)[0][0]


def colours(height: int, name: str) -> jax.Array:
    """A photograph as three images of one channel, their sizes divisible by 4: (3, H, W, 1)."""
    image = photograph(height, name).transpose(3, 1, 2, 0)
    return image[:, :, : image.shape[2] // 4 * 4]


def draw(quick: bool = False) -> Exhibit:
    flower, china = (colours(80 if quick else 200, name) for name in ("flower.jpg", "china.jpg"))
    net = network(8, 1) if quick else network(16, 2)
    params = learn(net, flower, 300 if quick else 800, 16 if quick else 40)
    noisy = china + NOISE * jax.random.normal(jax.random.key(9), china.shape)
    averaged = nn.ops.avg_pool(noisy, 3, strides=1, padding="SAME")
    restored = jax.jit(net.apply)(params, noisy)
    images = (china, noisy, averaged, restored)
    before, smooth, after = (float(-10 * jnp.log10(jnp.mean((y - china) ** 2))) for y in images[1:])
    titles = (
        "a photograph it has not seen", f"with noise: {before:.1f} dB",
        f"averages of 3 × 3 pixels: {smooth:.1f} dB", f"the U-Net: {after:.1f} dB",
    )  # fmt: skip
    figure, cells = panels(2, 2, size=(8, 5.6))
    for cell, title, image in zip(cells.flat, titles, images, strict=True):
        cell.imshow(np.clip(np.moveaxis(image[..., 0], 0, -1), 0, 1))
        cell.set_title(title)
        cell.set_axis_off()
    gain = (
        f"On a photograph it has not seen, the net takes the image from {before:.1f} dB to {after:.1f} dB: "
        f"{10 ** ((before - after) / 10):.0%} of the squared error is left."
    )
    beside = f"Averages of 3 × 3 pixels reach {smooth:.1f} dB, {after - smooth:.1f} dB less."
    facts = [fact(after > before + 3, gain), fact(after > smooth + (0 if quick else 0.3), beside)]
    return Exhibit({"images": figure}, facts)
