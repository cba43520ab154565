"""Convolution: what do its settings do to a picture, and how much of it does a stack see?

A filter of k × k weights slides over the picture; each place gives one number, the weighted sum of what lies
under it. Four settings shape the result: *which* filters (each gives a channel of the output), their *size*
k, the *stride* s from place to place, and the *padding* of p zeros around the border. On each axis,
⌊(L + 2p − k) / s⌋ + 1 places come out of L. The filter of the first figure takes averages.

Filters used to be written by hand: the weights of a blur sum to 1, those of what finds edges to 0. They can
be learnt. In the second figure a layer sees pieces of the photograph and what four filters made of them, and
gradient descent on the squared error finds the very numbers.

What one output can see of the input, its receptive field, grows with every layer by (k − 1)·d·∏s, for the
dilation d and the strides s of the layers before. The derivative of the output shows it. Look at the last
picture: most of what ten layers see lies in the middle of what they could see (Luo et al., NeurIPS 2016).
"""

from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.photograph import photograph

SETTINGS = [(3, 1, 0), (9, 1, 0), (27, 1, 0), (27, 1, 13), (3, 2, 0), (3, 4, 0), (3, 8, 0), (3, 16, 0)]
BLUR, SLOPE, DOT = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]), np.array([0, 3, 0])
HAND_MADE = {"blur": np.outer(BLUR, BLUR), "upright edges": np.outer(BLUR, SLOPE),
             "level edges": np.outer(SLOPE, BLUR), "spots": (np.outer(DOT, DOT) - 1) / 10}  # fmt: skip
KERNEL = np.stack([*HAND_MADE.values()], axis=-1)[:, :, None].astype(np.float32)
#: The stride and the dilation of each layer of 3 × 3.
STACKS = {"three layers": [(1, 1)] * 3, "three of stride 2": [(2, 1)] * 3,
          "dilations 1, 2, 4": [(1, 1), (1, 2), (1, 4)], "ten layers": [(1, 1)] * 10}  # fmt: skip
BARE = {"xticks": [], "yticks": []}


def draw_settings(image: jax.Array) -> tuple[Figure, list[str]]:
    figure, axes = panels(2, 4, size=(9.6, 4.1), subplot_kw=BARE)
    sizes = []
    for ax, (k, s, p) in zip(axes.flat, SETTINGS, strict=True):
        y = nn.ops.conv(image, jnp.full((k, k, 1, 1), 1 / k**2), strides=s, padding=p)[0, ..., 0]
        ax.imshow(y, vmin=0, vmax=1)
        ax.set_title(f"size {k}, stride {s}, padding {p}\n{y.shape[0]} × {y.shape[1]}")
        sizes += [(o, (n + 2 * p - k) // s + 1) for o, n in zip(y.shape, image.shape[1:3], strict=True)]
        if p:  # the windows of row p are the first to lie wholly inside
            dark = float(y[0].mean() / y[p].mean())
    return figure, [
        fact([o == n for o, n in sizes], f"All {len(sizes)} sizes measured are ⌊(L + 2p − k) / s⌋ + 1."),
        fact(0.4 < dark < 0.7, f"Zeros darken: with 13 of them, row 0 is {dark:.0%} as bright as row 13."),
    ]


def draw_learning(image: jax.Array, pieces: jax.Array, epochs: int) -> tuple[Figure, list[str]]:
    net, data = nn.conv(len(HAND_MADE), 3, bias=False), (pieces, nn.ops.conv(pieces, KERNEL))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.3, epochs * len(pieces) // 64))
    run = {"key": jax.random.key(1), "epochs": epochs, "batch_size": 64, "progress": False}
    params, _ = nn.fit(net, optimizer, optax.squared_error, data, **run)
    learnt, found = params.weights["kernel"], net.apply(params, image)
    figure, axes = panels(3, len(HAND_MADE), size=(8, 5.7), height_ratios=(2, 3, 3), subplot_kw=BARE)
    for i, name in enumerate(HAND_MADE):
        axes[0, i].imshow(found[0, ..., i], **({"vmin": -0.2, "vmax": 0.2} if i else {}))
        axes[0, i].set_title(name)
        for ax, kernel in zip(axes[1:, i], (KERNEL, learnt), strict=True):
            ax.imshow(kernel[:, :, 0, i], cmap="RdBu_r", vmin=-1, vmax=1)
            for place, weight in np.ndenumerate(np.round(kernel[:, :, 0, i], 2) + 0):
                ax.text(*reversed(place), f"{weight:.2f}", ha="center", va="center")
    for ax, label in zip(axes[:, 0], ("what it finds", "written by hand", "learnt"), strict=True):
        ax.set_ylabel(label)
    off = float(jnp.abs(learnt - KERNEL).max())
    return figure, [fact(off < 0.01, f"The weights learnt differ from the hand-made by {off:.0e} at most.")]


def sensitivity(net: nn.Layer, x: jax.Array) -> jax.Array:
    """|∂y / ∂x| of the middle output for each pixel, averaged over the output's channels."""
    params, middle = net.init(jax.random.key(3), x.shape), nn.output_shape(net, x.shape)[1] // 2
    slopes = jax.jit(jax.jacrev(lambda x: net.apply(params, x)[0, middle, middle]))(x)
    return jnp.abs(slopes).mean(axis=(0, 1, 4))


def draw_receptive_fields(features: int) -> tuple[Figure, list[str]]:
    figure, axes = panels(1, len(STACKS), size=(9.6, 2.9))
    x = jax.random.normal(jax.random.key(2), (1, 31, 31, 1))
    widths, formula = [], []
    for ax, (name, layers) in zip(axes[0], STACKS.items(), strict=True):
        convs = [nn.conv(features, 3, strides=s, dilation=d, padding=d) for s, d in layers]
        seen = sensitivity(nn.serial(*chain(*((conv, nn.relu) for conv in convs))), x)
        widths.append(int((seen > 0).any(axis=0).sum()))
        steps = np.cumprod([1, *(s for s, _ in layers[:-1])])
        formula.append(1 + sum(2 * d * int(step) for step, (_, d) in zip(steps, layers, strict=True)))
        image = ax.imshow(seen / seen.max(), cmap="viridis", vmin=0, vmax=1)
        ax.set(title=f"{name}: {widths[-1]} × {widths[-1]}", xlabel="pixel")
    figure.colorbar(image, ax=axes[0].tolist(), label="slope, of the largest", shrink=0.8)
    inner = float(seen[10:21, 10:21].sum() / seen.sum())
    return figure, [
        fact(widths == formula, f"The receptive fields measured, {widths}, are 1 + Σ (k − 1)·d·∏s wide."),
        fact(inner > 0.65, f"Of what ten layers see, {inner:.0%} lies in the middle 11 × 11 pixels."),
    ]


def draw(quick: bool = False) -> Exhibit:
    image, large = (photograph(height).mean(axis=-1, keepdims=True) for height in (240, 427))
    pieces = large[:, :424].reshape(53, 8, 80, 8).swapaxes(1, 2).reshape(-1, 8, 8, 1)
    pieces = nn.data.standardize(pieces, *nn.data.feature_statistics(pieces))
    one, facts = draw_settings(image)
    two, further = draw_learning(image, pieces[::2], 20 if quick else 40)
    three, more = draw_receptive_fields(16 if quick else 128)
    return Exhibit({"settings": one, "learning": two, "receptive-fields": three}, facts + further + more)
