"""Finds by measurement which form of each operation is the fastest on this device."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from numbers import Real
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from jaxnn.kernels.explain import choice, here, operations, traced
from jaxnn.kernels.lowering.preference import Choice
from jaxnn.kernels.lowering.primitive import KERNELS, implementation
from jaxnn.kernels.prefer import prefer

#: A form is taken instead of the chosen one if it takes at most this share of its time at the top level of a
#: program, and in a loop not above the other. Measured twice, the same program differs by a few per cent.
FASTER, SLOWER = 0.95, 1.05
#: In how many rounds forms are called in turn, and the least if time is short.
ROUNDS, FEWEST = 8, 3
#: A form that takes so many times as long as the fastest is called no more.
HOPELESS = 4
#: A sample lasts at least so many seconds; on an accelerator calls are queued, up to so many.
SHORTEST, QUEUED = 0.002, 16
#: The largest error of a right result, over the largest value, by the bytes of a value. Half-precision sums
#: may be rounded at each step, and accelerators multiply float32 in fewer bits; what is wrong is so by more.
TOLERANCES = {1: 0.3, 2: 6e-2, 4: 2e-2, 8: 1e-6}
#: Forms of a sum and of a norm's moments differ in what XLA fuses with them: alone they show nothing.
WITHIN_OTHERS = ("jaxnn_sum", "jaxnn_moments")

Call = Callable[[], Any]


def tune(
    function: Callable[..., Any],
    /,
    *args: Any,
    seconds: float = 0.2,
    report: Callable[[Choice], object] | None = None,
    **kwargs: Any,
) -> list[Choice]:
    """Times all forms of each operation of ``function(*args, **kwargs)`` and says which are the fastest here.

    The lists of forms rest on measurements of other machines; this measures on the default device. Each
    operation is timed on its own, with random operands. A form is taken instead of the chosen one if its
    result is right, if it is faster by more than chance, and if it is no slower in a loop, where XLA compiles
    some in another way. ``function`` is traced and not run; most of the time goes to compiling, a second or
    so per operation. ``prefer`` takes the result. It is plain data, which JSON keeps for the next run.

    Operations that are asked for a form by ``implementation``, those of integers, sums and the moments of
    norms are left out: how long the last two take depends on what XLA fuses with them. What is found holds
    for programs of one device and inside ``shard_map``, not where the compiler spreads arrays over several
    devices.

    Args:
      function: of arrays: a training step, to tune the gradients too. If it is compiled by ``jax.jit``, its
        static arguments stay what they are.
      *args: arrays, or ``jax.ShapeDtypeStruct``.
      seconds: about how long each form may be timed.
      report: is given each choice as soon as it is known, for instance ``print``.
      **kwargs: as ``args``.

    Returns:
      A choice per operation that has more than one form, with the seconds that each took.

    Raises:
      TypeError: ``function`` or ``report`` can't be called.
      ValueError: ``seconds`` is not a positive number; an array's size is symbolic; ``tune`` is called
        within a function that is being traced.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> fastest = nn.kernels.tune(nn.ops.conv, x, kernel, seconds=0.01)
    >>> [(choice.operation, len(choice.seconds)) for choice in fastest]
    [('jaxnn_conv_forward', 4)]
    >>> with nn.kernels.prefer(fastest):
    ...     print(jax.jit(nn.ops.conv)(x, kernel).shape)
    (2, 6, 6, 4)
    """
    if not (isinstance(seconds, Real) and 0 < seconds < math.inf):
        raise ValueError(f"tune: seconds must be a positive number, got {seconds!r}")
    if report is not None and not callable(report):
        raise TypeError(f"tune: report must be callable or None, got {report!r}")
    platform, found = here(), dict[Any, Choice]()
    for eqn in operations(traced("tune", function, args, kwargs)):
        listed = choice(eqn, platform)
        if listed.problem not in found and listed.others and _can_be_timed(eqn):
            with _undisturbed():
                found[listed.problem] = Race(eqn, listed, float(seconds)).fastest()
            if report is not None:
                report(found[listed.problem])
    return list(found.values())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Outside of meshes, for which programs are others, and of what checks or refuses calls."""
    try:
        outside = jax.set_mesh(None)
    except ValueError as error:
        raise ValueError(
            "tune: can't be called within a function that is being traced: it runs programs"
        ) from error
    with (
        outside,
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.transfer_guard("allow"),
    ):
        yield


def _can_be_timed(eqn: JaxprEqn) -> bool:
    types: list[Any] = [v.aval for v in eqn.invars]
    if not all(isinstance(n, int) for t in types for n in t.shape):
        sizes = ", ".join(str(t.shape) for t in types)
        raise ValueError(f"tune: the sizes of arrays must be integers, got {sizes} for {eqn.primitive.name}")
    floats = all(jnp.issubdtype(t.dtype, jnp.floating) for t in types)
    return floats and eqn.primitive.name not in WITHIN_OTHERS and implementation(eqn.params) is None


class Race:
    """The forms of one operation against each other."""

    def __init__(self, eqn: JaxprEqn, listed: Choice, seconds: float):
        self.eqn, self.listed, self.seconds = eqn, listed, seconds
        self.operands = random_operands([v.aval for v in eqn.invars])

    @cached_property
    def stacked(self) -> list[jax.Array]:
        """Operands for each round of a loop: what doesn't change would be moved out of it."""
        return [jnp.stack([a, a]) for a in self.operands]

    def fastest(self) -> Choice:
        listed, expected = self.listed, jax.jit(partial(_plain, self.eqn))(*self.operands)
        forms = (listed.form, *listed.others)
        calls = {form: call for form in forms if (call := self.compiled(form)) and _agree(call(), expected)}
        times = self.timed(calls)
        by_time = sorted(times, key=times.__getitem__)
        taken = next((form for form in by_time if self.wins(form, calls)), listed.form)
        others = tuple(form for form in forms if form != taken)
        return listed._replace(
            form=taken, others=others, seconds=tuple(times.get(form) for form in (taken, *others))
        )

    def wins(self, form: str, calls: Mapping[str, Call]) -> bool:
        """Whether it is to be taken: it is the chosen one, or that fails, or it is shown to be faster."""
        chosen = self.listed.form
        if form == chosen or chosen not in calls:
            return True
        both = self.timed({name: calls[name] for name in (chosen, form)})
        if both[form] > FASTER * both[chosen]:
            return False
        looped = {name: call for name in (chosen, form) if (call := self.compiled(name, loop=True))}
        both = self.timed(looped)
        return form in both and (chosen not in both or both[form] <= SLOWER * both[chosen])

    def compiled(self, form: str, *, loop: bool = False) -> Call | None:
        """A call of the operation in this form, once or in a loop; None if it can't be compiled or run."""
        bound, operands = partial(self.eqn.primitive.bind, **self.eqn.params), self.operands
        arguments = self.stacked if loop else operands

        def looped(*stacked: jax.Array) -> Any:
            start = jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), jax.eval_shape(bound, *operands))
            return lax.scan(lambda _, a: (bound(*a), None), start, stacked)[0]

        try:
            with prefer([self.listed._replace(form=form)]):
                program = jax.jit(looped if loop else bound).lower(*arguments).compile()
            call = partial(program, *arguments)
            jax.block_until_ready(call())
        except Exception:  # what a compiler or a library lacks, it says in many ways
            return None
        return call

    def timed(self, calls: Mapping[str, Call]) -> dict[str, float]:
        """Seconds of a call, medians over the rounds; the calls are made in turn, forwards and backwards."""
        queued = QUEUED if self.listed.platform != "cpu" else 1
        about = {name: min(_sample(call, 1, queued) for _ in range(3)) for name, call in calls.items()}
        limit = HOPELESS * min(about.values(), default=0.0)
        samples = {name: [] if once <= limit else [once] for name, once in about.items()}
        racing = [name for name, once in about.items() if once <= limit]
        enough = time.perf_counter() + self.seconds * len(racing)
        for i in range(ROUNDS):
            if i >= FEWEST and time.perf_counter() > enough:
                break
            for name in racing[:: 1 if i % 2 == 0 else -1]:
                times = int(SHORTEST / max(about[name], 1e-6)) + 1
                samples[name].append(_sample(calls[name], times, queued))
        return {name: median(taken) for name, taken in samples.items()}


def _sample(call: Call, times: int, queued: int) -> float:
    """Seconds of a call, the mean of so many; of ``queued`` begun at once the last is waited for."""
    start, result = time.perf_counter(), None
    for i in range(1, times + 1):
        result = call()
        if i % queued == 0:
            jax.block_until_ready(result)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / times


def random_operands(types: Sequence[Any]) -> list[jax.Array]:
    """The same arrays of floats of these types at each call."""
    rng = np.random.default_rng(0)  # JAX's numbers would be compiled for each shape, longer than most forms
    # Not around 0: a sum near it would have a large error for its size in any form.
    return [jnp.asarray(rng.standard_normal(t.shape, np.float32) + 0.5, t.dtype) for t in types]


def _plain(eqn: JaxprEqn, *operands: jax.Array) -> Any:
    return KERNELS[eqn.primitive.name].plain(*operands, **eqn.params)


def _agree(results: Any, expected: Any) -> bool:
    return all(map(_is_close, jax.tree.leaves(results), jax.tree.leaves(expected)))


@jax.jit
def _is_close(result: jax.Array, expected: jax.Array) -> jax.Array:
    if not jnp.issubdtype(expected.dtype, jnp.floating):
        return jnp.array_equal(result, expected)
    error, size = jnp.max(jnp.abs(result - expected), initial=0), jnp.max(jnp.abs(expected), initial=0)
    return error <= TOLERANCES[expected.dtype.itemsize] * size
