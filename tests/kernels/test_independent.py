"""NaN and ∞ reach what depends on them and nothing else, in every form of a convolution."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import jaxnn as nn
from jaxnn.kernels.convolution.cpu import banded, blocked, canonical, depthwise, grouped, phases, unfolded
from jaxnn.kernels.convolution.problem import channels_last
from jaxnn.ops.conv import conv, pad_with_values
from tests.reference import conv as reference
from tests.support import assert_close, deep, rng_array

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Form:
    """A convolution that is computed in one form.

    Attributes:
      x, kernel: the shapes; with ``members``, those of one of this many under ``vmap``.
      taken: the function that computes it, as a module and a name.
      name: the form to ask for, or None.
      looped: whether it is a step of a scan.
    """

    x: tuple[int, ...]
    kernel: tuple[int, ...]
    taken: tuple[Any, str]
    padding: Any = "VALID"
    strides: int = 1
    dilation: int = 1
    groups: int = 1
    members: int = 0
    name: str | None = None
    looped: bool = False
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self):
        axes = len(self.x) - 2
        settings = {name: (getattr(self, name),) * axes for name in ("strides", "dilation")}
        object.__setattr__(self, "settings", settings | {"padding": self.padding, "groups": self.groups})


BANDS, BLOCKS, UNFOLDED = (banded, "forward"), (blocked, "forward"), (unfolded, "forward")
GROUPS, DEPTHWISE = (grouped, "forward"), (depthwise, "forward")
BY_OUTPUT = (canonical, "kernel_gradient_by_output")
PHASES, STAMPS, DILATED = (phases, "at_once"), (phases, "stamps"), (canonical, "input_gradient")
FORMS = {
    "bands": Form((3, 6, 5, 2), (3, 3, 2, 2), BANDS, "SAME", name="banded"),
    "bands, strided, dilated": Form((2, 8, 7, 2), (2, 3, 2, 3), BANDS, 1, 2, 2, name="banded"),
    "bands of three axes": Form((2, 4, 3, 4, 2), (2, 2, 3, 2, 2), BANDS, "SAME", name="banded"),
    "blocks": Form((2, 5, 8, 3), (3, 3, 3, 2), BLOCKS, "SAME", name="blocked"),
    "blocks, strided": Form((2, 7, 18, 2), (3, 2, 2, 2), BLOCKS, 1, 2, name="blocked"),
    "blocks, REFLECT": Form((2, 5, 8, 2), (3, 3, 2, 2), BLOCKS, "REFLECT", name="blocked"),
    "blocks, CIRCULAR": Form((2, 8, 2), (3, 2, 2), BLOCKS, "CIRCULAR", 1, 2, name="blocked"),
    "blocks, CAUSAL": Form((2, 260, 4), (3, 4, 4), BLOCKS, "CAUSAL"),
    "phases at once": Form((2, 7, 6, 4), (4, 4, 4, 4), PHASES, 1, 2),
    "dilated": Form((2, 7, 6, 3), (3, 4, 3, 4), DILATED, 1, 2),
    "stamps": Form((2, 6, 6, 4), (2, 2, 4, 4), STAMPS, 0, 3),
    "by output": Form((6, 16, 15, 16), (3, 2, 16, 2), BY_OUTPUT, 1),
    "unfolded": Form((6, 7, 6, 3), (3, 2, 3, 4), UNFOLDED, 1, name="unfolded"),
    "tiles": Form((2, 6, 7, 4), (3, 3, 4, 4), UNFOLDED, 0, 3, name="unfolded"),
    "unfolded, cropped": Form((6, 9, 6, 3), (3, 2, 3, 4), UNFOLDED, -1, name="unfolded"),
    "small groups": Form((2, 5, 4, 6), (3, 2, 2, 9), GROUPS, 1, groups=3, name="grouped"),
    "small groups, strided": Form((2, 6, 5, 6), (3, 2, 2, 9), GROUPS, 1, 2, groups=3, name="grouped"),
    "few large groups": Form((2, 5, 8, 48), (3, 2, 16, 6), GROUPS, 1, groups=3, name="grouped"),
    "groups of one tap": Form((2, 5, 4, 6), (1, 1, 2, 9), GROUPS, groups=3, name="grouped"),
    "depthwise": Form((2, 6, 5, 4), (3, 3, 1, 4), DEPTHWISE, "SAME", groups=4),
    "depthwise, several outputs": Form((2, 6, 5, 4), (3, 3, 1, 8), DEPTHWISE, "SAME", groups=4),
    "depthwise, several inputs": Form((2, 6, 5, 8), (3, 3, 2, 4), DEPTHWISE, "SAME", groups=4),
    "members": Form((3, 8, 8, 3), (3, 2, 3, 40), GROUPS, "SAME", members=4),
    "members of one channel in a scan": Form((1, 9, 1), (15, 1, 9), GROUPS, "CAUSAL", members=3, looped=True),
    "members of eight channels": Form((1, 4, 4, 8), (3, 3, 8, 8), GROUPS, 1, 2, members=2),
    "members with groups": Form((2, 6, 4), (3, 2, 4), GROUPS, 1, groups=2, members=3),
}


def everything(convolution, x, kernel, dy, v):
    """The convolution; its gradients for dy; and that of the kernel's gradient in direction v, for x."""
    y, back = jax.vjp(convolution, x, kernel)
    dx, dkernel = back(dy)

    def along(x):
        return jnp.sum(jax.vjp(convolution, x, kernel)[1](dy)[1] * v)

    return y, dx, dkernel, jax.grad(along)(x)


def plain(form: Form):
    """The convolution by lax alone."""

    def convolution(x, kernel):
        pairs = reference.pads(form.padding, x.shape[1:-1], spans(form), form.settings["strides"])
        if form.padding in reference.MODES:
            x, pairs = pad_with_values(x, pairs, form.padding), "VALID"
        return lax.conv_general_dilated(
            x,
            kernel,
            form.settings["strides"],
            pairs,
            rhs_dilation=form.settings["dilation"],
            dimension_numbers=channels_last(x.ndim - 2),
            feature_group_count=form.groups,
        )

    return convolution


def spans(form: Form):
    return reference.span(form.kernel[:-2], form.settings["dilation"])


def compiled(form: Form, convolution, operands):
    function = partial(everything, convolution)
    if form.members:
        function = jax.vmap(function)
    if form.looped:
        step = function

        def function(*operands):
            return lax.scan(lambda _, now: (None, step(*now)), None, operands)[1]

    return jax.jit(function).lower(*operands).compile()


def reached(form: Form, which: int, place: np.ndarray):
    """What depends on the marked places of x, the kernel, dy or v: (surely, at most) for each result.

    Padding is read like any other zero, so a value of the kernel reaches all outputs of its channel, and one
    of dy all taps of its channel. Whether those that only multiply padding are computed is left open.
    """
    x, kernel = np.ones(form.x), np.ones(form.kernel)
    y = np.ones(reference.conv(x, kernel, **form.settings).shape)
    gradients = partial(reference.conv_gradients, **form.settings)
    nothing = tuple(np.zeros(a.shape, bool) for a in (y, x, kernel, x))
    surely, at_most = list(nothing), list(nothing)

    def mark(result, sure, more=None):
        surely[result] = np.broadcast_to(sure > 0, nothing[result].shape)
        at_most[result] = np.broadcast_to((sure if more is None else sure + more) > 0, nothing[result].shape)

    if which == 0:
        mark(0, reference.conv(place, kernel, **form.settings))
        mark(2, gradients(place, kernel, y)[1])
    elif which in (1, 3):
        stamped, more = gradients(x, place, y)[0], over_the_edge(form, place, y)
        folded = form.padding in reference.MODES  # onto places that it surely reaches too
        mark(3 if which == 3 else 1, stamped * (not folded), more)
        if which == 1:
            outputs = place.any(axis=tuple(range(place.ndim - 1)))
            mark(0, reference.conv(x, place, **form.settings), outputs)
    else:
        stamped, taps, _ = gradients(x, kernel, place)
        mark(1, stamped)
        mark(3, stamped)
        mark(2, taps, place.any(axis=tuple(range(place.ndim - 1))))
    return surely, at_most


def over_the_edge(form: Form, kernel: np.ndarray, y: np.ndarray):
    """What the kernel would reach of x if the outputs went on beyond its edges."""
    if form.padding in reference.MODES:
        return gradient_everywhere(form, kernel)
    sizes, strides = form.x[1:-1], form.settings["strides"]
    pairs = reference.pads(form.padding, sizes, spans(form), strides)
    more = [-(-(n + k) // s) for n, k, s in zip(sizes, spans(form), strides, strict=True)]
    y = np.pad(y, [(0, 0), *((m, m) for m in more), (0, 0)], constant_values=1)
    axes = zip(y.shape[1:-1], strides, spans(form), strict=True)
    canvas = np.zeros((form.x[0], *((n - 1) * s + k for n, s, k in axes), form.x[-1]))
    stamped = reference.conv_gradients(canvas, kernel, y, **form.settings | {"padding": "VALID"})[0]
    for axis, (m, s, n, (low, _)) in enumerate(zip(more, strides, sizes, pairs, strict=True), start=1):
        stamped = np.take(stamped, range(m * s + low, m * s + low + n), axis)
    return stamped


def gradient_everywhere(form: Form, kernel: np.ndarray):
    """The channels of x that the kernel reaches."""
    c_in = kernel.shape[-2]
    groups = kernel.reshape(-1, c_in, form.groups, kernel.shape[-1] // form.groups).any(axis=(0, 3))
    return np.swapaxes(groups, 0, 1).reshape(-1)


#: By default each way to multiply by zeros once.
FEW = ("bands", "blocks", "phases at once", "stamps", "unfolded", "small groups", "depthwise", "members")


@pytest.mark.parametrize("name", [name if name in FEW else deep(name) for name in FORMS])
def test_what_is_not_finite_reaches_what_depends_on_it(name):
    form = FORMS[name]
    out = reference.conv(np.ones(form.x), np.ones(form.kernel), **form.settings).shape
    outer = (2,) * form.looped + (form.members,) * bool(form.members)
    shapes = (form.x, form.kernel, out, form.kernel)
    operands = [rng_array(*outer, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    module, function = form.taken
    with patch.object(module, function, wraps=getattr(module, function)) as taken:
        run = compiled(form, partial(conv, **form.settings, implementation=form.name), operands)
        assert taken.called
    by_lax = compiled(form, plain(form), operands)
    undisturbed = jax.tree.map(np.asarray, run(*operands))
    draw = np.random.default_rng(0)
    for which, operand in enumerate(operands):
        at = tuple(draw.integers(n) for n in operand.shape)
        member, place = at[: len(outer)], np.zeros(shapes[which])
        place[at[len(outer) :]] = 1
        surely, at_most = reached(form, which, place)
        for value in (np.nan, np.inf, LARGEST):
            disturbed = list(operands)
            disturbed[which] = operand.copy()
            disturbed[which][at] = value
            results, expected = (jax.tree.map(np.asarray, f(*disturbed)) for f in (run, by_lax))
            for result, before, wanted, sure, maybe in zip(
                results, undisturbed, expected, surely, at_most, strict=True
            ):
                touched, touchable = (np.zeros(result.shape, bool) for _ in range(2))
                touched[member], touchable[member] = sure, maybe
                # To the bit between groups, members and examples; within one of them to rounding.
                apart = bool(form.members) or form.groups > 1
                compare = np.testing.assert_array_equal if apart else assert_close
                compare(result[~touchable], before[~touchable])
                if not apart and which in (0, 2) and result.shape[0] == form.x[0]:
                    others = np.arange(form.x[0]) != at[0]
                    if not touchable[others].any():
                        np.testing.assert_array_equal(result[others], before[others])
                np.testing.assert_allclose(result[touched], wanted[touched], rtol=1e-4, atol=1e-4)


@pytest.mark.deep
def test_a_diverging_member_of_a_sweep_leaves_the_others_alone():
    """Training at several rates as one program."""
    net = nn.serial(
        nn.conv(3, 3, padding="SAME"),
        nn.relu,
        nn.conv(4, 3, strides=2, padding=1),
        nn.conv_transpose(4, 4, strides=2, padding=1, groups=2),
        nn.flatten,
        nn.dense(2),
    )
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)
    step = nn.make_step(net, optimizer, optax.softmax_cross_entropy_with_integer_labels)
    x, labels = rng_array(4, 8, 8, 1), np.arange(4, dtype=np.int32) % 2

    def trained(rate, key):
        state = nn.training.init_state(net, optimizer, key, x.shape)
        state.opt_state.hyperparams["learning_rate"] = rate
        return lax.scan(lambda state, _: (step(state, x, labels)[0], None), state, length=4)[0].params

    sweep, keys = jax.jit(jax.vmap(trained)), jax.random.split(jax.random.key(0), 3)
    sane, absurd = (sweep(jnp.asarray(rates), keys) for rates in ([0.1, 0.2, 0.3], [0.1, 1e38, 0.3]))
    for alone, beside in zip(jax.tree.leaves(sane), jax.tree.leaves(absurd), strict=True):
        np.testing.assert_array_equal(np.delete(beside, 1, 0), np.delete(alone, 1, 0))
    assert not all(np.isfinite(leaf[1]).all() for leaf in jax.tree.leaves(absurd.weights))
