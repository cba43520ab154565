"""jaxnn: a run is one program, from the weights to the accuracy.

The images are bytes on the device. Each step of a scan takes its rows and shifts and mirrors them in one
gather, then makes a step of ``nn.make_step``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn as nn
from benchmarks.cifar import recipe as numbers
from benchmarks.cifar.recipe import CLASSES, SIDE, Images, Recipe


def net(recipe: Recipe, *, shifts: bool = True) -> nn.Layer:
    """Whitening, three blocks, and the head; with ``shifts`` the biases of the whitened patches are trained.

    Otherwise nothing before the first block has a gradient, and its largest one need not be computed.
    """
    whiten = nn.frozen(nn.conv(2 * 3 * numbers.PATCH**2, numbers.PATCH, bias=False))
    given = (lambda bias: bias) if shifts else jax.lax.stop_gradient
    shift = nn.stateless(
        "shift", lambda key, x: {"bias": jnp.zeros(x.shape[-1], x.dtype)}, lambda w, x: x + given(w["bias"])
    )
    layers = nn.serial(
        nn.named("whiten", whiten), nn.named("shift", shift), gelu,
        *(layer for width in recipe.widths for layer in block(width)),
        nn.max_pool(3), nn.flatten,
        nn.named("head", nn.dense(CLASSES, bias=False, kernel_init=uniform)), lambda x: x * numbers.LOGITS,
    )  # fmt: skip
    return layers if recipe.dtype == "float32" else nn.mixed_precision(layers, recipe.dtype)


def block(width: int) -> tuple[Any, ...]:
    conv = partial(nn.conv, width, 3, padding="SAME", bias=False, kernel_init=dirac)
    norm = partial(nn.batch_norm, momentum=numbers.STATISTICS, epsilon=numbers.NORM_EPSILON, scale=False)
    return conv(), nn.max_pool(2), norm(), gelu, conv(), norm(), gelu


def gelu(x: Any) -> jax.Array:
    return nn.gelu(x, approximate=False)


def uniform(key: Any, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Up to ±1 / √(inputs of an output)."""
    most = np.prod(shape[:-1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -most, most)


def dirac(key: Any, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    """The first outputs are the inputs; further ones are ``uniform``."""
    height, width, channels, _ = shape
    same = jnp.zeros((*shape[:-1], channels), dtype).at[height // 2, width // 2].set(jnp.eye(channels))
    return jnp.concatenate([same, uniform(key, shape, dtype)[..., channels:]], -1)[..., : shape[-1]]


def whitening(images: Any) -> jax.Array:
    """The eigenvectors of patches, divided by the deviation along each, and the same with the other sign."""
    x, end = normalised(images), SIDE - numbers.PATCH + 1
    places = [(i, j) for i in range(numbers.PATCH) for j in range(numbers.PATCH)]
    patches = jnp.concatenate([x[:, i : i + end, j : j + end] for i, j in places], -1).reshape(
        -1, 3 * len(places)
    )
    covariance = jnp.matmul(patches.T, patches, precision="highest") / len(patches)
    values, vectors = jnp.linalg.eigh(covariance)
    filters = (vectors / jnp.sqrt(values + numbers.EPSILON)).reshape(numbers.PATCH, numbers.PATCH, 3, -1)
    return jnp.concatenate([filters, -filters], -1)


def init(recipe: Recipe, key: Any, images: Any) -> nn.Params:
    """Fresh params, the first filters from images."""
    params = net(recipe).init(key, (1, SIDE, SIDE, 3))
    kept = params.state["whiten"]
    whiten = {**kept, "weights": {"kernel": whitening(images[: numbers.WHITENED])}}
    return params._replace(state={**params.state, "whiten": whiten})


def optimizer(recipe: Recipe, examples: int) -> optax.GradientTransformation:
    """SGD by kind of weights, see ``Recipe``."""
    places, heights = map(jnp.array, recipe.triangle(examples))

    def sgd(kind: str) -> optax.GradientTransformation:
        def rate(step: Any) -> jax.Array:
            now = recipe.peak(kind) * jnp.interp(step, places, heights)
            return jnp.where(step < recipe.fixed_from(examples), now, 0.0) if kind == "shift" else now

        return optax.chain(
            optax.add_decayed_weights(recipe.pull(kind)),
            optax.trace(recipe.momentum, nesterov=True),
            optax.scale_by_learning_rate(rate),
        )

    def kinds(weights: Any) -> Any:
        of = {"shift": "shift", "batch": "bias"}
        return {
            name: jax.tree.map(lambda _, name=name: of.get(name.split("_")[0], "kernel"), part)
            for name, part in weights.items()
        }

    return optax.multi_transform({kind: sgd(kind) for kind in ("kernel", "bias", "shift")}, kinds)


def loss(recipe: Recipe, logits: Any, labels: Any) -> jax.Array:
    smooth = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), recipe.smoothing)
    return optax.softmax_cross_entropy(logits, smooth)


def normalised(images: Any) -> jax.Array:
    return (images.astype(jnp.float32) - 255 * numbers.MEAN) / (255 * numbers.DEVIATION)


class Moves(NamedTuple):
    """Which images, by how many rows and columns each is shifted, and whether it is mirrored."""

    index: jax.Array
    shifts: jax.Array
    mirrored: jax.Array


def moved(images: Any, moves: Moves) -> jax.Array:
    """Images shifted, with edges that reflect, in one gather."""
    pixels = jnp.arange(SIDE)
    columns = jnp.where(moves.mirrored[:, None], SIDE - 1 - pixels, pixels)
    rows = reflected(pixels + moves.shifts[:, :1])
    columns = reflected(columns + moves.shifts[:, 1:])
    places = moves.index[:, None, None], rows[:, :, None], columns[:, None, :]
    return images.at[places].get(mode="promise_in_bounds")


def reflected(pixels: Any) -> jax.Array:
    return SIDE - 1 - jnp.abs(SIDE - 1 - jnp.abs(pixels))


def drawn(recipe: Recipe, key: Any, examples: int, steps: int) -> Moves:
    """The moves of each step. An image that one epoch mirrors is not mirrored in the next."""
    order_key, shift_key, mirror_key = jax.random.split(key, 3)
    each = recipe.steps_of_epoch(examples)
    keys = jax.random.split(order_key, -(-steps // each))
    orders = jax.lax.map(lambda key: jax.random.permutation(key, examples)[: each * recipe.batch], keys)
    index = orders.reshape(-1, recipe.batch)[:steps]
    most = recipe.translate
    shifts = jax.random.randint(shift_key, (*index.shape, 2), -most, most + 1)
    if not recipe.mirror:
        return Moves(index, shifts, jnp.zeros(index.shape, bool))
    odd = jnp.arange(steps) // each % 2 == 1
    return Moves(index, shifts, jax.random.bernoulli(mirror_key, 0.5, (examples,))[index] ^ odd[:, None])


def trained(
    recipe: Recipe, steps: int, state: nn.TrainState, key: Any, images: Any, labels: Any, *, first: int = 0
) -> tuple[nn.TrainState, nn.Params, jax.Array]:
    """The state after so many steps, the slow params of Lookahead, and the losses.

    ``first`` is the number of the first step, where it isn't that of a run: by it the biases of the whitened
    patches are trained or fixed, in a scan of its own.
    """
    examples, chosen = len(images), optimizer(recipe, len(images))

    def one(step: Any, carry: Any, moves: Moves) -> Any:
        state, slow = carry
        state, scores = step(state, normalised(moved(images, moves)), labels[moves.index])
        fast, slow = lookahead(recipe.steps(examples), state.step, state.params, slow)
        return (state._replace(params=fast), slow), scores["loss"]

    carry, losses, moves = (state, state.params), [], drawn(recipe, key, examples, steps)
    fixed = min(max(recipe.fixed_from(examples) - first, 0), steps)
    for begin, end, shifts in ((0, fixed, True), (fixed, steps, False)):
        if begin < end:
            step = nn.make_step(net(recipe, shifts=shifts), chosen, partial(loss, recipe))
            part = jax.tree.map(lambda a, begin=begin, end=end: a[begin:end], moves)
            carry, found = jax.lax.scan(partial(one, step), carry, part)
            losses.append(found)
    return *carry, jnp.concatenate(losses)


def lookahead(steps: int, step: Any, fast: nn.Params, slow: nn.Params) -> tuple[nn.Params, nn.Params]:
    """Every few steps the slow params come nearer to the fast ones, which go on from there.

    A choice of values, since a branch would stop a GPU's queue at every step. The running statistics, which
    belong to the weights, are averaged with them.
    """
    due = step % numbers.EVERY == 0
    kept = numbers.KEPT * jnp.minimum(step / steps, 1.0) ** 3
    slow = jax.tree.map(lambda s, f: jnp.where(due, kept * s + (1 - kept) * f, s), slow, fast)
    return jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast), slow


def right(recipe: Recipe, params: nn.Params, images: Any, labels: Any) -> jax.Array:
    """The share of images whose class is found, by the mean logits of their views."""
    model, mirrors = net(recipe), (False, True) if recipe.views > 1 else (False,)

    def logits(image: Any) -> Any:
        rows = jnp.zeros(len(image), jnp.int32) + jnp.arange(len(image))
        total = jnp.zeros((len(image), CLASSES))
        for shift, weight in numbers.CROPS[recipe.views]:
            for mirrored in mirrors:
                shifts = jnp.broadcast_to(jnp.array(shift), (len(image), 2))
                x = moved(image, Moves(rows, shifts, jnp.full(len(image), mirrored)))
                total += weight * model.apply(params, normalised(x))
        return total

    def found(batch: Any) -> Any:
        return logits(batch).argmax(-1)

    n = len(images)
    size = next(size for size in range(min(n, 2000), 0, -1) if n % size == 0)
    classes = jax.lax.map(found, images.reshape(-1, size, *images.shape[1:])).reshape(n)
    return (classes == labels).mean()


def first_losses(
    recipe: Recipe, params: nn.Params, x: np.ndarray, y: np.ndarray, examples: int
) -> np.ndarray:
    """Of a batch of normalised images, before and after the first step on it."""
    chosen = optimizer(recipe, examples)
    step = nn.make_step(net(recipe), chosen, partial(loss, recipe))
    state = nn.init_state(net(recipe), chosen, jax.random.key(0), x.shape, params=params)
    found = []
    for _ in range(2):
        state, scores = step(state, x, y)
        found.append(float(scores["loss"]))
    return np.array(found)


def loop(recipe: Recipe, data: Images, steps: int) -> Callable[[], Any]:
    """So many steps per call, of a run that goes on from where the biases of whitened patches are fixed."""
    images, labels = jax.device_put((data.x, data.y))
    params = jax.jit(partial(init, recipe))(jax.random.key(1), images)
    first = recipe.fixed_from(len(images))
    state = nn.init_state(net(recipe), optimizer(recipe, len(images)), jax.random.key(0), params=params)
    state = state._replace(step=jnp.array(first, jnp.int32))
    key = jax.random.key(2)
    run = jax.jit(partial(trained, recipe, steps, first=first), donate_argnums=0)
    compiled = run.lower(state, key, images, labels).compile()

    def call() -> Any:
        nonlocal state, key
        key, now = jax.random.split(key)
        state, slow, losses = compiled(state, now, images, labels)
        return jax.block_until_ready((slow, losses))[1]

    return call


def whole(recipe: Recipe, data: Images) -> Callable[[int], float]:
    """A run by its seed: gives the accuracy on the test set."""
    arrays = jax.device_put(tuple(data))

    def run(key: Any, x: Any, y: Any, test_x: Any, test_y: Any) -> Any:
        init_key, key = jax.random.split(key)
        params = init(recipe, init_key, x)
        state = nn.init_state(net(recipe), optimizer(recipe, len(x)), key, params=params)
        _, slow, _ = trained(recipe, recipe.steps(len(x)), state, key, x, y)
        return right(recipe, slow, test_x, test_y)

    compiled = jax.jit(run).lower(jax.random.key(0), *arrays).compile()
    return lambda seed: float(compiled(jax.random.key(seed), *arrays))
