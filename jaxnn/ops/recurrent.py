"""Recurrent networks: plain, LSTM and GRU; over whole sequences, and as single steps that agree with them.

Everywhere: ``x`` is (N, T, F), ``input_kernel`` (F, gates·H), ``recurrent_kernel`` (H, gates·H), ``bias``
(gates·H,), with the gates side by side. The initial carry is zero unless given. Sums, and the carry from step
to step, are in float32 at least; outputs have the dtype of ``x``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator, widened
from jaxnn.kernels.recurrence import cells, variants
from jaxnn.kernels.recurrence.cells import Activation, HiddenAndCell
from jaxnn.kernels.recurrence.primitives import check_implementation, over_time
from jaxnn.ops import checks
from jaxnn.ops.norm_arguments import positive
from jaxnn.ops.recurrent_arguments import (
    Operands,
    candidate_bias,
    fitting,
    hidden,
    hidden_and_cell,
    operands,
)
from jaxnn.ops.sequences import checked_lengths, real_only, real_steps


def rnn(
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    carry: ArrayLike | None = None,
    *,
    activation: Activation = jnp.tanh,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    implementation: str | None = None,
    state_mask: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """A plain (Elman) recurrent network: (N, T, F) → outputs (N, T, H) and the final carry (N, H).

    hₜ = activation(xₜ·W + hₜ₋₁·R + b), and the output at t is hₜ.

    Args:
      x: (N, T, F), T at least 1.
      input_kernel: W, (F, H).
      recurrent_kernel: R, (H, H).
      bias: b, (H,), or None for none. PyTorch has two; their sum is this one.
      carry: h before the first step, (N, H), in the dtype of ``x`` or in float32 at least; None for zeros.
      activation: any elementwise function.
      lengths: (N,) integers, how many steps of each sequence are real; None for all. What stands past the end
        has no influence, not even NaN: outputs there are zero, and the final carry is that of the last real
        step, or the initial one for length 0. Values below 0 count as 0 and values above T as T.
      reverse: run each sequence from its last real step to its first. Outputs stand where their inputs stand,
        so that the last to be computed is the one at t = 0.
      implementation: a form of the values or of the derivative, by name; what has none of that name chooses,
        by platform. ``"lax"`` is a plain scan with the derivative of a scan, the only form with a mask.
      state_mask: (N, H), multiplies h in hₜ₋₁·R, the same at all steps: variational dropout of the state. In
        the dtype of ``x`` or in float32 at least; None for none.

    Returns:
      The outputs in the dtype of ``x``; the final carry in the dtype of the given one, or without one in the
      dtype of accumulation (float32, for float64 input float64), so that a sequence fed in pieces equals
      the whole.

    Raises:
      ValueError: if a shape does not fit the others, T is 0, or there is no such form.
      TypeError: if an array is not floating-point, the dtypes differ, or ``lengths`` are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> y, h = nn.ops.rnn(jnp.ones((2, 5, 3)), jnp.ones((3, 4)), jnp.ones((4, 4)))
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 4))

    Elman, "Finding structure in time", 1990.
    """
    checks.function("rnn", "activation", activation)
    checks.flags("rnn", reverse=reverse)
    check_implementation("rnn", implementation)
    _require_plain("rnn", implementation, state_mask)
    given = operands("rnn", 1, "(N, T, F)", x, input_kernel, recurrent_kernel, bias)
    start = hidden("rnn", carry, given)
    outputs, final = _over_sequences(
        cells.rnn_cell(activation),
        given,
        None,
        start,
        _lengths("rnn", lengths, given),
        _mask("rnn", state_mask, given),
        reverse=reverse,
        implementation=implementation,
    )
    return outputs, as_given(final, carry)


def rnn_step(
    carry: ArrayLike,
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: Activation = jnp.tanh,
    state_mask: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """One step of ``rnn``: carry (N, H), x (N, F) → the new carry (N, H) and the output (N, H).

    Results are in the order that ``jax.lax.scan`` wants. The new carry has the dtype of the old one, the
    output that of ``x``. Weights, equation and errors are those of ``rnn``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> h, y = nn.ops.rnn_step(jnp.zeros((2, 4)), jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones((4, 4)))
    >>> h.shape, y.shape
    ((2, 4), (2, 4))
    """
    checks.function("rnn_step", "activation", activation)
    given = operands("rnn_step", 1, "(N, F)", x, input_kernel, recurrent_kernel, bias)
    start = hidden("rnn_step", carry, given)
    final = _one_step(cells.rnn_cell(activation), given, None, start, _mask("rnn_step", state_mask, given))
    return as_given(final, carry), final.astype(given.x.dtype)


def lstm(
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    carry: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    implementation: str | None = None,
    state_mask: ArrayLike | None = None,
    projection_kernel: ArrayLike | None = None,
    input_scale: ArrayLike | None = None,
    recurrent_scale: ArrayLike | None = None,
    cell_scale: ArrayLike | None = None,
    cell_bias: ArrayLike | None = None,
    epsilon: float = 1e-5,
) -> tuple[jax.Array, HiddenAndCell]:
    """Long short-term memory: (N, T, F) → outputs (N, T, H) and the final carry (h, c), each (N, H).

    i, f, g, o = xₜ·W + hₜ₋₁·R + b  (four gates of H columns, in this order),
    cₜ = σ(f)·cₜ₋₁ + σ(i)·tanh(g),  hₜ = σ(o)·tanh(cₜ), and the output at t is hₜ.

    The variant with a forget gate and no peepholes. The gates stand as in PyTorch, Flax and Keras (Haiku:
    i, g, f, o), the carry is (h, c) as in PyTorch (Flax: (c, h)). Nothing is added to the forget gate here:
    the layer starts its bias at 1 instead.

    With a ``projection_kernel`` Q, (H, P), hₜ = (σ(o)·tanh(cₜ))·Q: outputs and h have P values, and R is
    (P, 4·H), as with PyTorch's ``proj_size``. With the three scales it is layer-normalised:
    i, f, g, o = norm(xₜ·W)·input_scale + norm(hₜ₋₁·R)·recurrent_scale + b, the norm over all 4·H values, and
    tanh(norm(cₜ)·cell_scale + cell_bias) in place of tanh(cₜ).

    Args:
      x: (N, T, F), T at least 1.
      input_kernel: W, (F, 4·H).
      recurrent_kernel: R, (H, 4·H).
      bias: b, (4·H,), or None for none. PyTorch has two; their sum is this one.
      carry: (h, c) before the first step, each (N, H), in the dtype of ``x`` or in float32 at least; None for
        zeros.
      lengths: (N,) integers, how many steps of each sequence are real; see ``rnn``.
      reverse: run each sequence from its last real step to its first; see ``rnn``.
      implementation: a form, by name; see ``rnn``. With any of what follows there is one form, "lax".
      state_mask: (N, H), or (N, P), multiplies h in hₜ₋₁·R; see ``rnn``.
      projection_kernel: Q, (H, P); None for no projection.
      input_scale: (4·H,); all three scales or none.
      recurrent_scale: (4·H,).
      cell_scale: (H,).
      cell_bias: (H,), with the scales; None for none.
      epsilon: ε > 0, inside the roots of the norms.

    Returns:
      The outputs in the dtype of ``x``; the final carry in the dtype of the given one, or without one in the
      dtype of accumulation, so that a sequence fed in pieces equals the whole.

    Raises:
      ValueError: if a shape does not fit the others, T is 0, or there is no such form.
      TypeError: if an array is not floating-point, the dtypes differ, the carry is not a pair, or ``lengths``
        are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> y, (h, c) = nn.ops.lstm(jnp.ones((2, 5, 3)), jnp.ones((3, 16)), jnp.ones((4, 16)))
    >>> y.shape, h.shape, c.shape
    ((2, 5, 4), (2, 4), (2, 4))

    Hochreiter and Schmidhuber, "Long short-term memory", 1997; with the forget gate of Gers, Schmidhuber and
    Cummins, "Learning to forget", 2000. Sak et al., 2014 (projection); Ba, Kiros and Hinton, "Layer
    normalization", 2016; Gal and Ghahramani, 2016 (the mask).
    """
    checks.flags("lstm", reverse=reverse)
    check_implementation("lstm", implementation)
    _require_plain("lstm", implementation, state_mask, projection_kernel, input_scale)
    given = operands("lstm", 4, "(N, T, F)", x, input_kernel, recurrent_kernel, bias, projection_kernel)
    norms = input_scale, recurrent_scale, cell_scale, cell_bias, epsilon
    start, mask, special = _lstm("lstm", given, carry, state_mask, norms)
    if special is not None:
        own = _lengths("lstm", lengths, given)
        outputs, final = _special_over_sequences(given.x, special, start, own, reverse=reverse)
        return outputs, as_given(final, carry)
    outputs, final = _over_sequences(
        cells.LSTM,
        given,
        None,
        start,
        _lengths("lstm", lengths, given),
        mask,
        reverse=reverse,
        implementation=implementation,
    )
    return outputs, as_given(final, carry)


def lstm_step(
    carry: tuple[ArrayLike, ArrayLike],
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    state_mask: ArrayLike | None = None,
    projection_kernel: ArrayLike | None = None,
    input_scale: ArrayLike | None = None,
    recurrent_scale: ArrayLike | None = None,
    cell_scale: ArrayLike | None = None,
    cell_bias: ArrayLike | None = None,
    epsilon: float = 1e-5,
) -> tuple[HiddenAndCell, jax.Array]:
    """One step of ``lstm``: carry (h, c), x (N, F) → the new carry (h, c) and the output (N, H).

    Results are in the order that ``jax.lax.scan`` wants. The new carry has the dtypes of the old one, the
    output that of ``x``. Weights, equations and errors are those of ``lstm``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> zeros = jnp.zeros((2, 4))
    >>> (h, c), y = nn.ops.lstm_step((zeros, zeros), jnp.ones((2, 3)), jnp.ones((3, 16)), jnp.ones((4, 16)))
    >>> h.shape, c.shape, y.shape
    ((2, 4), (2, 4), (2, 4))
    """
    op = "lstm_step"
    given = operands(op, 4, "(N, F)", x, input_kernel, recurrent_kernel, bias, projection_kernel)
    norms = input_scale, recurrent_scale, cell_scale, cell_bias, epsilon
    start, mask, special = _lstm(op, given, carry, state_mask, norms)
    if special is not None:
        final = special.step(start, special.share(given.x))
    else:
        final = _one_step(cells.LSTM, given, None, start, mask)
    return as_given(final, carry), final[0].astype(given.x.dtype)


def gru(
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    recurrent_bias: ArrayLike | None = None,
    carry: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    implementation: str | None = None,
    state_mask: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Gated recurrent unit: (N, T, F) → outputs (N, T, H) and the final carry (N, H).

    With a = xₜ·W + b and u = hₜ₋₁·R, three gates r, z, n of H columns each, in this order:
    r = σ(a_r + u_r),  z = σ(a_z + u_z),  n = tanh(a_n + r·(u_n + recurrent_bias)),
    hₜ = (1 − z)·n + z·hₜ₋₁, and the output at t is hₜ.

    The variant that resets after the recurrent product, as in PyTorch, Flax and Keras's default (Haiku resets
    before it). That is why the candidate n has a bias of its own inside the reset.

    Args:
      x: (N, T, F), T at least 1.
      input_kernel: W, (F, 3·H).
      recurrent_kernel: R, (H, 3·H).
      bias: b, (3·H,), or None for none. PyTorch's two are added for r and z.
      recurrent_bias: (H,), or None for none: PyTorch's recurrent bias of the candidate.
      carry: h before the first step, (N, H), in the dtype of ``x`` or in float32 at least; None for zeros.
      lengths: (N,) integers, how many steps of each sequence are real; see ``rnn``.
      reverse: run each sequence from its last real step to its first; see ``rnn``.
      implementation: a form, by name; see ``rnn``.
      state_mask: (N, H), multiplies h in hₜ₋₁·R, but not in z·hₜ₋₁; see ``rnn``.

    Returns:
      The outputs in the dtype of ``x``; the final carry in the dtype of the given one, or without one in the
      dtype of accumulation, so that a sequence fed in pieces equals the whole.

    Raises:
      ValueError: if a shape does not fit the others, T is 0, or there is no such form.
      TypeError: if an array is not floating-point, the dtypes differ, or ``lengths`` are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> y, h = nn.ops.gru(jnp.ones((2, 5, 3)), jnp.ones((3, 12)), jnp.ones((4, 12)))
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 4))

    Cho et al., "Learning phrase representations using RNN encoder–decoder", 2014 (version 1 resets after).
    """
    checks.flags("gru", reverse=reverse)
    check_implementation("gru", implementation)
    _require_plain("gru", implementation, state_mask)
    given = operands("gru", 3, "(N, T, F)", x, input_kernel, recurrent_kernel, bias)
    own_bias = candidate_bias("gru", recurrent_bias, given)
    start = hidden("gru", carry, given)
    outputs, final = _over_sequences(
        cells.GRU,
        given,
        own_bias,
        start,
        _lengths("gru", lengths, given),
        _mask("gru", state_mask, given),
        reverse=reverse,
        implementation=implementation,
    )
    return outputs, as_given(final, carry)


def gru_step(
    carry: ArrayLike,
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    recurrent_bias: ArrayLike | None = None,
    *,
    state_mask: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """One step of ``gru``: carry (N, H), x (N, F) → the new carry (N, H) and the output (N, H).

    Results are in the order that ``jax.lax.scan`` wants. The new carry has the dtype of the old one, the
    output that of ``x``. Weights, equations and errors are those of ``gru``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> h, y = nn.ops.gru_step(jnp.zeros((2, 4)), jnp.ones((2, 3)), jnp.ones((3, 12)), jnp.ones((4, 12)))
    >>> h.shape, y.shape
    ((2, 4), (2, 4))
    """
    given = operands("gru_step", 3, "(N, F)", x, input_kernel, recurrent_kernel, bias)
    own_bias = candidate_bias("gru_step", recurrent_bias, given)
    start = hidden("gru_step", carry, given)
    final = _one_step(cells.GRU, given, own_bias, start, _mask("gru_step", state_mask, given))
    return as_given(final, carry), final.astype(given.x.dtype)


@partial(jax.jit, static_argnames=("cell", "reverse", "implementation"))
def _over_sequences(
    cell: cells.Cell,
    given: Operands,
    recurrent_bias: jax.Array | None,
    carry: Any,
    lengths: jax.Array | None,
    state_mask: jax.Array | None,
    *,
    reverse: bool,
    implementation: str | None,
) -> tuple[jax.Array, Any]:
    """Outputs (N, T, H) in the dtype of x, and the final carry in the accumulator's.

    Compiled as a whole: called outside ``jax.jit``, the loop would be compiled again at every call.
    """

    def run(x: jax.Array, real: jax.Array | None) -> tuple[jax.Array, Any]:
        weights, recurrent = (given.input_kernel, given.bias), (given.recurrent_kernel, recurrent_bias)
        if state_mask is None:
            return over_time(
                cell, weights, recurrent, carry, x, real, reverse=reverse, implementation=implementation
            )

        def make_step(recurrent: Any) -> variants.Step:
            def step(carry: Any, share: jax.Array) -> Any:
                h = variants.masked(jax.tree.leaves(carry)[0], state_mask)
                return cell.step(carry, cell.sums(share, cells.gates(h, *recurrent)))

            return step

        shares = cells.gates(x, *weights)
        return variants.scanned(make_step, recurrent, shares, carry, real, reverse=reverse)

    return of_real_steps(run, given.x, lengths)


@partial(jax.jit, static_argnames="reverse")
def _special_over_sequences(
    x: jax.Array, special: variants.LSTM, carry: Any, lengths: jax.Array | None, *, reverse: bool
) -> tuple[jax.Array, Any]:
    def run(x: jax.Array, real: jax.Array | None) -> tuple[jax.Array, Any]:
        def make_step(special: variants.LSTM) -> variants.Step:
            return special.step

        return variants.scanned(make_step, special, special.share(x), carry, real, reverse=reverse)

    return of_real_steps(run, x, lengths)


@partial(jax.jit, static_argnames="cell")
def _one_step(
    cell: cells.Cell,
    given: Operands,
    recurrent_bias: jax.Array | None,
    carry: Any,
    state_mask: jax.Array | None,
) -> Any:
    """The next carry in the accumulator's dtype."""
    h = variants.masked(jax.tree.leaves(carry)[0], state_mask)
    recurrent = cells.gates(h, given.recurrent_kernel, recurrent_bias)
    return cell.step(carry, cell.sums(cells.gates(given.x, given.input_kernel, given.bias), recurrent))


def of_real_steps(
    run: Callable[[jax.Array, jax.Array | None], tuple[jax.Array, Any]],
    x: jax.Array,
    lengths: jax.Array | None,
) -> tuple[jax.Array, Any]:
    """``run(x, real)``, the outputs and the final carry, with nothing past the ends in x and the outputs."""
    if lengths is None:
        outputs, final = run(x, None)
        return outputs.astype(x.dtype), final
    # For the gradient too: that of the kernel multiplies x there by a zero cotangent, and NaN · 0 is NaN.
    outputs, final = run(real_only(x, lengths), real_steps(lengths, x))
    return real_only(outputs, lengths).astype(x.dtype), final


def _lengths(op: str, lengths: ArrayLike | None, given: Operands) -> jax.Array | None:
    return None if lengths is None else checked_lengths(op, lengths, given.x)


def _require_plain(op: str, implementation: str | None, *special: Any) -> None:
    """Raises if a form is named that does not know what is ``special``."""
    if implementation not in (None, "lax") and any(value is not None for value in special):
        raise ValueError(
            f"{op}: implementation must be None or 'lax' with a mask, a projection or norms, got "
            f"{implementation!r}"
        )


def _mask(op: str, state_mask: ArrayLike | None, given: Operands) -> jax.Array | None:
    size, axes = given.recurrent_kernel.shape[0], "(N, H)" if given.projection is None else "(N, P)"
    mask = fitting(op, "state_mask", state_mask, (given.x.shape[0], size), axes, given.x)
    return None if mask is None else widened(mask)


def _norms(
    op: str,
    given: Operands,
    input_scale: ArrayLike | None,
    recurrent_scale: ArrayLike | None,
    cell_scale: ArrayLike | None,
    cell_bias: ArrayLike | None,
    epsilon: float,
) -> variants.Norms | None:
    epsilon, x, gates = positive(op, epsilon), given.x, given.input_kernel.shape[1]
    of_input = fitting(op, "input_scale", input_scale, (gates,), "(4·H,)", x)
    of_state = fitting(op, "recurrent_scale", recurrent_scale, (gates,), "(4·H,)", x)
    of_cell = fitting(op, "cell_scale", cell_scale, (gates // 4,), "(H,)", x)
    bias = fitting(op, "cell_bias", cell_bias, (gates // 4,), "(H,)", x)
    if of_input is None and of_state is None and of_cell is None and bias is None:
        return None
    if of_input is None or of_state is None or of_cell is None:
        raise ValueError(
            f"{op}: input_scale, recurrent_scale and cell_scale must be given together, and with them "
            "cell_bias, got None for one of them"
        )
    return variants.Norms(of_input, of_state, of_cell, bias, np.asarray(epsilon, accumulator(x.dtype)))


def _lstm(
    op: str, given: Operands, carry: Any, state_mask: ArrayLike | None, norms: tuple[Any, ...]
) -> tuple[HiddenAndCell, jax.Array | None, variants.LSTM | None]:
    """The carry and the mask of an LSTM; and itself, if it has a projection or ``norms``."""
    start, mask = hidden_and_cell(op, carry, given), _mask(op, state_mask, given)
    checked = _norms(op, given, *norms)
    if checked is None and given.projection is None:
        return start, mask, None
    kernels = given.input_kernel, given.recurrent_kernel, given.bias
    return start, mask, variants.LSTM(*kernels, mask, given.projection, checked)


def as_given(final: Any, initial: Any) -> Any:
    """The final carry in the dtypes of the initial one, if given, as ``jax.lax.scan`` requires."""
    if initial is None:
        return final
    leaves, treedef = jax.tree.flatten(final)
    dtypes = [jnp.asarray(leaf).dtype for leaf in jax.tree.leaves(initial)]
    return jax.tree.unflatten(treedef, [leaf.astype(d) for leaf, d in zip(leaves, dtypes, strict=True)])
