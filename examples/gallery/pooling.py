"""Pooling: what is lost when a picture shrinks, and what appears that was never there?

A net looks at coarser and coarser copies of its input. Max pooling keeps the largest value of every window,
average pooling the mean; a strided convolution takes any weighted sum, so that "every fourth pixel" and the
average are two of them.

A grid s times coarser can hold waves up to 1 / (2s) cycles per old pixel. A faster one does not vanish by
itself: it comes back as a slower one that was never there, its *alias*. Look at the tiles of the roof. The
exact rings get finer outwards, and of what is left of them all but those around the middle are false. The
third figure shows what each way does to each wave: right of the line a curve should be 0. Averages help, a
wider and smoother filter (`resize` with `antialias=True`) helps most; nets whose pooling blurs first change
less when the picture moves by a pixel (Zhang, ICML 2019).

On the way back, max pooling sends a window's gradient to its largest pixel, the average to all alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxnn as nn
from examples.gallery.exhibit import Exhibit, fact, panels
from examples.photograph import photograph

STRIDE = 4


def every_fourth(x: jax.Array) -> jax.Array:
    return nn.ops.conv(x, jnp.zeros((STRIDE, STRIDE, 1, 1)).at[0, 0].set(1), strides=STRIDE)


def antialiased(x: jax.Array) -> jax.Array:
    return nn.ops.resize(x, [size // STRIDE for size in x.shape[1:-1]], method="cubic", antialias=True)


Way = Callable[[jax.Array], jax.Array]
WAYS: dict[str, Way] = {
    "every fourth pixel": every_fourth,
    "max pooling": lambda x: nn.ops.max_pool(x, STRIDE),
    "average pooling": lambda x: nn.ops.avg_pool(x, STRIDE),
    "antialiased": antialiased,
}


def gradient(way: Way) -> Way:
    return jax.grad(lambda x: way(x).sum())


def draw_pictures(x: jax.Array, name: str, ways: dict[str, Way] = WAYS, limit: float = 1) -> Figure:
    figure, axes = panels(1, 5, size=(9.8, 2.5), subplot_kw={"xticks": [], "yticks": []})
    for ax, (title, way) in zip(axes[0], {name: nn.linear, **ways}.items(), strict=True):
        y = way(x)[0, ..., 0]
        ax.imshow(y, vmin=0, vmax=limit if title in ways else 1)
        ax.set_title(f"{title}\n{y.shape[0]} × {y.shape[1]}")
    return figure


def passed(way: Way, frequencies: np.ndarray, size: int = 128) -> jax.Array:
    """The share of their deviation that waves of these frequencies keep, over eight phases of each."""
    angles = frequencies[:, None, None] * jnp.arange(size) + jnp.arange(8)[:, None] / 8
    waves = jnp.sin(2 * jnp.pi * angles)
    x = jnp.broadcast_to(waves.reshape(-1, 1, size, 1), (waves.size // size, STRIDE, size, 1))
    y = way(x)[:, 0, 4:-4].reshape(len(frequencies), -1)  # without what the border changes
    return y.std(axis=1) / waves.std(axis=(1, 2))


def draw_waves(frequencies: np.ndarray) -> tuple[Figure, list[float]]:
    """How much of each wave is left; and the mean over the waves that the small grid cannot hold."""
    figure, axes = panels(size=(7, 3.2))
    false = []
    for style, (name, way) in zip(("-", "-.", "--", ":"), WAYS.items(), strict=True):
        kept = passed(way, frequencies)
        axes[0, 0].plot(frequencies, kept, style, label=name)
        false.append(float(kept[frequencies > 0.5 / STRIDE].mean()))
    axes[0, 0].axvline(0.5 / STRIDE, color="black", linewidth=1, linestyle="--")
    axes[0, 0].text(0.5 / STRIDE, 1.12, " what is left here comes back as an alias", va="top")
    axes[0, 0].set(xlabel="frequency of the wave (cycles per pixel)", ylabel="share left", ylim=(0, 1.15))
    axes[0, 0].legend(loc="center right", bbox_to_anchor=(1, 0.62))
    return figure, false


def draw(quick: bool = False) -> Exhibit:
    size = 128 if quick else 256
    whole = photograph(427).mean(axis=-1, keepdims=True)
    x, moved = (whole[:, 24 : 24 + size, left : left + size] for left in (80, 81))
    square = (jnp.arange(size) - size // 2) ** 2
    rings = (0.5 + 0.5 * jnp.cos(jnp.pi * (square[:, None] + square) / size))[None, ..., None]
    detail, gradients = x[:, 72:88, 32:48], {f"∇ {name}": gradient(way) for name, way in WAYS.items()}
    waves, (taken, _, mean, smooth) = draw_waves(np.arange(1, 65, 4 if quick else 1) / 128)
    figures = {"photograph": draw_pictures(x, "photograph"), "rings": draw_pictures(rings, "exact rings")}
    back = draw_pictures(detail, "a detail", gradients, limit=2 / STRIDE**2)
    box = nn.ops.conv(x, jnp.full((STRIDE, STRIDE, 1, 1), 1 / STRIDE**2), strides=STRIDE)
    off = float(jnp.abs(box - nn.ops.avg_pool(x, STRIDE)).max())
    moves = [float(jnp.abs(way(moved) - way(x)).mean()) for way in WAYS.values()]
    reached = [float((way(detail) != 0).mean()) for way in gradients.values()]
    listed = ", ".join(f"{move:.1%}" for move in moves)
    facts = [
        fact(off < 1e-5, f"Average pooling is a strided convolution of equal weights, to within {off:.0e}."),
        fact(taken > 0.99, f"Every fourth pixel keeps {taken:.0%} of the waves too fast for the new grid."),
        fact(2 * smooth < mean < 0.4, f"Averages keep {mean:.0%} of them, the antialiased way {smooth:.0%}."),
        fact(
            moves == sorted(moves)[::-1],
            f"A move by one pixel changes them, in the order shown, by {listed} of white.",
        ),
        fact(reached[1:3] == [1 / 16, 1], f"Max pooling's gradient reaches 1 pixel in {1 / reached[1]:.0f}."),
    ]
    return Exhibit({**figures, "waves": waves, "gradients": back}, facts)
