"""Trained nets as bytes that run without the code that made them: ``export`` and ``load_exported``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any
from zlib import crc32

import jax
import jax.export
import jax.numpy as jnp
from jax.export import SymbolicScope, is_symbolic_dim, symbolic_shape
from jax.extend.core import jaxprs_in_params

from jaxnn.combinators.location import describe
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Params, require_params
from jaxnn.shapes import Spec, given_spec

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
#: What runs Python code, which is not part of an exported program.
CALLBACKS = ("debug_callback", "debug_print", "io_callback", "pure_callback")
MARK, SEAL = b"jaxnn", Struct("<5sQI")


def export(
    net: LayerLike,
    params: Params,
    shape: Spec,
    *,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> bytes:
    """``net.apply`` with its params, as bytes that ``load_exported`` runs: without the net's code, anywhere.

    The params are constants of the program; for each platform it holds the forms that jaxnn chooses there.
    The machine that exports needs none of them. An artefact for deployment, not an archive: JAX reads those
    of the last six months.

    Args:
      net: the layer.
      params: its params.
      shape: that of the input, as for ``init``, where a string is the name of a size that is only known when
        the program is called: ``("batch", 28, 28, 1)``, ``("batch", "time", 80)``. Each name is a size of at
        least 1, the same wherever it stands.
      platforms: some of ``"cpu"``, ``"cuda"``, ``"rocm"``, ``"tpu"``.

    Raises:
      ValueError: the net calls back into Python (``jax.debug.print``, ``io_callback``), or cannot be traced
        for a size that has a name; an unknown platform.
      ImportError: without flatbuffers.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.conv(8, 3), nn.relu, nn.flatten, nn.dense(10))
    >>> params = net.init(jax.random.key(0), (1, 28, 28, 1))
    >>> classify = nn.load_exported(nn.export(net, params, ("batch", 28, 28, 1)))
    >>> classify(jnp.ones((5, 28, 28, 1))).shape
    (5, 10)
    """
    _require_flatbuffers("export")
    program, spec = _program("export", net, params, shape)
    names = list(platforms) if isinstance(platforms, Sequence) and not isinstance(platforms, str) else []
    if not names or any(name not in PLATFORMS for name in names):
        rule = f"a sequence of some of {', '.join(map(repr, PLATFORMS))}"
        raise ValueError(checks.refusal("export", "platforms", rule, platforms))
    exported = jax.export.export(jax.jit(program), platforms=tuple(names))(spec)
    return _sealed(bytes(exported.serialize()))


def load_exported(data: bytes) -> Callable[[Any], Any]:
    """The function that ``export`` wrote: ``f(x)``, which may be jitted, but not mapped or differentiated.

    Args:
      data: the bytes.

    Raises:
      TypeError: ``data`` isn't bytes.
      ValueError: they are not of a whole program; from the function: an input of another shape or dtype.
      ImportError: without flatbuffers.
    """
    _require_flatbuffers("load_exported")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(checks.refusal("load_exported", "data", "bytes, as export gives them", data))
    exported = jax.export.deserialize(bytearray(_opened(bytes(data))))
    wanted = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0][0]

    def run(x: Any) -> Any:
        x = jax.tree.map(jnp.asarray, x)
        _check_input(wanted, x)
        return exported.call(x)

    return run


def stablehlo(net: LayerLike, params: Params, shape: Spec, *, platform: str = "cpu") -> str:
    """The program of ``net.apply`` with its params, as StableHLO text for one platform.

    The arguments are those of ``export``. For small nets: the params stand in the text.

    >>> import jax, jaxnn as nn
    >>> text = nn.stablehlo(nn.relu, nn.Params({}, {}), (1, 3))
    >>> "stablehlo.maximum" in text
    True
    """
    checks.choice("stablehlo", "platform", platform, PLATFORMS)
    program, spec = _program("stablehlo", net, params, shape)
    text: str = jax.export.export(jax.jit(program), platforms=(platform,))(spec).mlir_module()
    return text


def _program(owner: str, net: LayerLike, params: Params, shape: Spec) -> tuple[Callable[[Any], Any], Any]:
    """``net.apply`` with its params, traced once to see whether it can be exported, and the input's spec."""
    layer = given_layer(owner, "net", net)
    require_params(owner, params)
    spec = given_spec(owner, _symbolic(owner, shape))

    def program(x: Any) -> Any:
        return layer.apply(params, x)

    try:
        traced = jax.make_jaxpr(program)(spec)
    except jax.errors.InconclusiveDimensionOperation as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{owner}: net must work for every size that shape gives a name, got {shape}: {reason}; give "
            "numbers instead"
        ) from error
    if called := sorted(set(CALLBACKS) & _primitives(traced.jaxpr)):
        raise ValueError(
            f"{owner}: net must be a pure function, got one that runs Python code ({', '.join(called)}), "
            "which an exported program does not hold"
        )
    return program, spec


def _primitives(jaxpr: Any) -> set[str]:
    """The names of all primitives in a program, those of its calls and loops too."""
    inner = (sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params))
    return {eqn.primitive.name for eqn in jaxpr.eqns}.union(*map(_primitives, inner))


def _symbolic(owner: str, shape: Spec) -> Spec:
    """``shape`` with a symbolic size for each name in it."""
    scope = SymbolicScope()

    def size(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            (symbol,) = symbolic_shape(given, scope=scope)
        except ValueError:
            rule = "of integers and of names of sizes, such as ('batch', 28, 28, 1)"
            raise ValueError(checks.refusal(owner, "shape", rule, shape)) from None
        return symbol

    def named(node: Any) -> Any:
        if isinstance(node, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(tuple(map(size, node.shape)), node.dtype)
        return tuple(map(size, node)) if _has_names(node) else node

    return jax.tree.map(named, shape, is_leaf=_has_names)


def _has_names(node: Any) -> bool:
    if not isinstance(node, tuple | list) or not any(isinstance(size, str) for size in node):
        return False
    return all(isinstance(size, str | int) or is_symbolic_dim(size) for size in node)


def _check_input(wanted: Any, x: Any) -> None:
    """Raises unless ``x`` has the dtypes and shapes of ``wanted``; a name is the same size everywhere."""
    sizes: dict[str, int] = {}

    def agrees(spec: Any, array: Any) -> bool:
        if spec.dtype != array.dtype or len(spec.shape) != array.ndim:
            return False
        pairs = zip(spec.shape, array.shape, strict=True)
        return all(
            isinstance(got, int) and (got >= 1 and sizes.setdefault(str(size), got) == got)
            if is_symbolic_dim(size) and str(size).isidentifier()
            else is_symbolic_dim(size) or size == got
            for size, got in pairs
        )

    structures: list[Any] = [jax.tree.structure(wanted), jax.tree.structure(x)]
    if structures[0] != structures[1] or not all(map(agrees, jax.tree.leaves(wanted), jax.tree.leaves(x))):
        raise ValueError(f"load_exported: x must be {describe(wanted)}, got {describe(x)}")


def _sealed(data: bytes) -> bytes:
    """``data`` with its length and checksum behind it, which ``jax.export.deserialize`` reads over."""
    return data + SEAL.pack(MARK, len(data), crc32(data))


def _opened(data: bytes) -> bytes:
    if len(data) > SEAL.size:
        body, (mark, length, checksum) = data[: -SEAL.size], SEAL.unpack(data[-SEAL.size :])
        if mark == MARK and length == len(body) and checksum == crc32(body):
            return body
    raise ValueError(
        f"load_exported: data must be a whole program as export gives it, got {len(data)} bytes that are not"
    )


def _require_flatbuffers(owner: str) -> None:
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise ImportError(
            f"{owner}: exported programs need flatbuffers: pip install flatbuffers (the extra 'export')"
        ) from None
