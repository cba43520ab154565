"""Attention as primitives: forward, its tangent, and its gradient, which is the tangent's transpose.

The tangent is linear in the tangents of q, k, v and the bias; its transpose is computed by forms of its own,
so neither mode stores the weights. Second derivatives are those of the plain form, which holds all scores.
``vmap`` folds its axis into the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnn.kernels.attention import plain
from jaxnn.kernels.attention.forms import FORMS
from jaxnn.kernels.attention.problem import GRADIENT_OPERANDS, TANGENT_OPERANDS, Problem, Settings
from jaxnn.kernels.choice import Form, check_name, choose
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.primitive import primitive
from jaxnn.kernels.lowering.varying import equally_varying


def attention(operands: Sequence[jax.Array], settings: Settings) -> jax.Array:
    """The output (N, T, H, D) of q, k, v and the extras that ``settings`` name."""
    # The default precision is read while tracing: at lowering it may be another.
    settings = settings._replace(precision=jax.config.jax_default_matmul_precision)  # type: ignore[attr-defined]
    result: jax.Array = _FORWARD.bind(*equally_varying(*operands), settings=settings)[0]
    return result


def dropped(operands: Sequence[jax.Array], settings: Settings, rate: float, key: jax.Array) -> jax.Array:
    """The same where each weight is dropped with probability ``rate``; it holds all of them."""
    settings = settings._replace(precision=jax.config.jax_default_matmul_precision)  # type: ignore[attr-defined]
    p = _describe(tuple(map(jax.typeof, operands)), {"settings": settings}, 1)
    return plain.dropped(p, rate, key, *operands)


def check_implementation(owner: str, name: str | None) -> None:
    """Raises unless ``name`` is None or that of a form; all fit everywhere."""
    check_name(owner, FORMS["cpu"]["forward"], None, name)


def _describe(types: tuple[Any, ...], params: Mapping[str, Any], devices: int) -> Problem:
    q, k = types[:2]
    (n, t, heads, d), (_, s, kv_heads, _) = q.shape, k.shape
    return Problem(params["settings"], n, t, s, heads, kv_heads, d, jnp.dtype(accumulator(q.dtype)), devices)


# --- types ---


def _sharding(q: Any, *others: Any) -> tuple[Any, Any]:
    """How the batch and the heads are sharded on an explicit mesh."""
    specs = [tuple(a.sharding.spec) for a in (q, *others)]
    if any(spec[1] or spec[3] for spec in specs):
        raise ValueError(
            "attention: only the batch and the heads may be sharded explicitly, got "
            f"{', '.join(str(jax.P(*spec)) for spec in specs)}; reshard the others with "
            "jax.sharding.reshard, or run the attention with jax.sharding.auto_axes or jax.shard_map"
        )
    batch = next((spec[0] for spec in specs if spec[0]), None)
    heads = next((spec[2] for spec in specs if spec[2]), None)
    return batch, heads


def _like(q: Any, shape: Sequence[Any], dtype: Any, spec: Sequence[Any]) -> Any:
    sharding = NamedSharding(q.sharding.mesh, PartitionSpec(*spec))
    return q.update(shape=tuple(shape), dtype=jnp.dtype(dtype), weak_type=False, sharding=sharding)


def _type_of_forward(q: Any, k: Any, v: Any, *extras: Any, settings: Settings) -> Any:
    (n, t, heads, d), (batch, over_heads) = q.shape, _sharding(q, k, v)
    y = _like(q, (n, t, heads, d), q.dtype, (batch, None, over_heads, None))
    return [y, _like(q, (n, heads, t), accumulator(q.dtype), (batch, over_heads, None))]


def _type_of_tangent(q: Any, k: Any, v: Any, *rest: Any, settings: Settings) -> Any:
    batch, heads = _sharding(q, k, v)
    return [_like(q, q.shape, q.dtype, (batch, None, heads, None))]


def _type_of_gradient(q: Any, k: Any, v: Any, *rest: Any, settings: Settings) -> Any:
    batch, heads = _sharding(q, k, v)
    return [_like(q, a.shape, a.dtype, (batch, None, heads, None)) for a in (q, k, v)]


def _type_of_bias_gradient(q: Any, k: Any, v: Any, bias: Any, *rest: Any, settings: Settings) -> Any:
    return [bias.update(weak_type=False)]


# --- vmap ---


def _fold(
    which: Primitive,
    others: Sequence[str],
    args: Sequence[jax.Array],
    dims: Sequence[Any],
    settings: Settings,
) -> tuple[list[jax.Array], list[int]]:
    """The mapped axis becomes the slower part of the batch."""
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    names = settings.names(*others)[: len(args)]
    batch = args[0].shape[0 if dims[0] is None else int(dims[0] == 0)]
    # A bias and a mask may have a batch of 1, which stays so if nothing of it is mapped; a bias and its
    # tangent have one shape.
    single = {name: d is None and a.shape[0] == 1 for name, a, d in zip(names, args, dims, strict=True)}
    kept = {"mask"} if single.get("mask") else set()
    if single.get("bias") and single.get("d_bias", True):
        kept |= {"bias", "d_bias"}

    def folded(name: str, a: jax.Array, d: Any) -> jax.Array:
        if name in kept:
            return a
        a = jnp.broadcast_to(jnp.expand_dims(a, 0), (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        if name in ("bias", "d_bias", "mask") and a.shape[1] != batch:
            a = jnp.broadcast_to(a, (size, batch, *a.shape[2:]))
        return a.reshape(size * batch, *a.shape[2:])

    operands = [folded(*each) for each in zip(names, args, dims, strict=True)]
    results = which.bind(*equally_varying(*operands), settings=settings)
    return [a.reshape(size, batch, *a.shape[1:]) for a in results], [0] * len(results)


def _bias_gradient_batch(
    args: Sequence[jax.Array], dims: Sequence[Any], settings: Settings
) -> tuple[list[jax.Array], list[int]]:
    """The gradient of a bias that examples share is a sum over them, which a larger batch would mix."""

    def one(*args: jax.Array) -> jax.Array:
        p = _describe(tuple(map(jax.typeof, args)), {"settings": settings}, 1)
        # Before lowering the platform is not known; either form is right on each.
        form = choose(FORMS["cpu"]["bias_gradient"], p, settings.implementation)
        result: jax.Array = form.compute(p, *args)
        return result

    return [jax.vmap(one, tuple(dims))(*args)], [0]


# --- derivatives ---


def _plain(form: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    """A pass as the plain form computes it, as a function of its operands that JAX can differentiate."""

    def compute(*operands: jax.Array) -> Any:
        problem = _describe(tuple(map(jax.typeof, operands)), {"settings": settings}, 1)
        return form(problem, *operands)

    return compute


def _plain_results(name: str, *operands: jax.Array, settings: Settings) -> list[jax.Array]:
    results = _plain(getattr(plain, name), settings)(*operands)
    return list(results) if isinstance(results, tuple) else [results]


def _instantiated(primals: Sequence[jax.Array], tangents: Sequence[Any]) -> list[jax.Array]:
    return [
        jnp.zeros_like(a) if isinstance(d, ad.Zero) else d for a, d in zip(primals, tangents, strict=True)
    ]


def _forward_jvp(primals: Sequence[jax.Array], tangents: Sequence[Any], *, settings: Settings) -> Any:
    y, logarithms = _FORWARD.bind(*primals, settings=settings)
    count = 3 + ("bias" in settings.extras and not isinstance(tangents[3], ad.Zero))
    d_y: Any = ad.Zero(jax.typeof(y).to_tangent_aval())
    if not all(isinstance(d, ad.Zero) for d in tangents[:count]):
        linear = _instantiated(primals[:count], tangents[:count])
        operands = equally_varying(*primals, y, logarithms, *linear)
        (d_y,) = _TANGENT.bind(*operands, settings=settings)
    # Only the other passes read the logarithms; their derivatives follow from q, k, v and the bias.
    return [y, logarithms], [d_y, ad.Zero(jax.typeof(logarithms).to_tangent_aval())]


def _tangent_transpose(cotangents: Sequence[Any], *operands: Any, settings: Settings) -> list[Any]:
    count = 3 + len(settings.extras)
    residuals, linear = operands[: count + 2], operands[count + 2 :]
    (cotangent,) = cotangents
    results: list[Any] = [None] * len(operands)
    if isinstance(cotangent, ad.Zero):
        return results
    gradients = list(_GRADIENT.bind(*equally_varying(*residuals, cotangent), settings=settings))
    if len(linear) == 4 and ad.is_undefined_primal(linear[3]):
        gradients += _BIAS_GRADIENT.bind(*equally_varying(*residuals, cotangent), settings=settings)
    for i, operand in enumerate(linear):
        if ad.is_undefined_primal(operand):
            results[count + 2 + i] = gradients[i]
    return results


def _jvp_of_plain(which: Primitive, form: Callable[..., Any], residuals: int) -> Callable[..., Any]:
    """The derivative of a pass: that of the plain form.

    The output and the logarithms count as functions of q, k, v and the bias, not as operands.
    """

    def rule(primals: Sequence[jax.Array], tangents: Sequence[Any], *, settings: Settings) -> Any:
        results = which.bind(*primals, settings=settings)
        count = 3 + len(settings.extras)
        moving = [*range(3 + ("bias" in settings.extras)), *range(count + residuals, len(primals))]

        def compute(*arrays: jax.Array) -> Any:
            operands = list(primals)
            for i, array in zip(moving, arrays, strict=True):
                operands[i] = array
            made = _plain(form, settings)(*operands)
            return made if isinstance(made, tuple) else (made,)

        moved = [primals[i] for i in moving]
        along = _instantiated(moved, [tangents[i] for i in moving])
        return results, list(jax.jvp(compute, moved, along)[1])

    return rule


def _settled(name: str, form: Form) -> Form:
    """The form with a list as its result. Under explicit sharding all in between is left to the compiler."""

    def compute(problem: Problem, *operands: jax.Array) -> list[jax.Array]:
        def run(*operands: jax.Array) -> list[jax.Array]:
            results = form.compute(problem, *operands)
            return list(results) if isinstance(results, tuple | list) else [results]

        types = [jax.typeof(a) for a in operands]
        if AxisType.Explicit not in types[0].sharding.mesh.axis_types:
            return run(*operands)
        specs = [a.sharding.spec for a in _TYPES[name](*types, settings=problem.settings)]
        settled: list[jax.Array] = jax.sharding.auto_axes(run, out_sharding=specs)(*operands)
        return settled

    return form._replace(compute=compute)


_TYPES: Mapping[str, Callable[..., Any]] = {
    "forward": _type_of_forward,
    "tangent": _type_of_tangent,
    "gradient": _type_of_gradient,
    "bias_gradient": _type_of_bias_gradient,
}
#: How many products each pass needs: of queries and keys, of weights and values, and their derivatives.
_PRODUCTS = {"forward": 2, "tangent": 5, "gradient": 5, "bias_gradient": 2}


def _pass(name: str, batch: Callable[..., Any]) -> Primitive:
    return primitive(
        "attention" if name == "forward" else f"attention_{name}",
        ("settings",),
        type_of=_TYPES[name],
        forms={
            platform: tuple(_settled(name, form) for form in by_name[name])
            for platform, by_name in FORMS.items()
        },
        describe=_describe,
        batch=batch,
        flops=lambda types, _: 2 * _PRODUCTS[name] * prod(types[0].shape) * types[1].shape[1],
        plain=partial(_plain_results, name),
        several=True,
    )


_FORWARD: Primitive = _pass("forward", lambda *args, **params: _fold(_FORWARD, (), *args, **params))
_TANGENT: Primitive = _pass(
    "tangent", lambda *args, **params: _fold(_TANGENT, TANGENT_OPERANDS, *args, **params)
)
_GRADIENT: Primitive = _pass(
    "gradient", lambda *args, **params: _fold(_GRADIENT, GRADIENT_OPERANDS, *args, **params)
)
_BIAS_GRADIENT = _pass("bias_gradient", _bias_gradient_batch)
ad.primitive_jvps[_FORWARD] = _forward_jvp
ad.primitive_jvps[_TANGENT] = _jvp_of_plain(_TANGENT, plain.tangent, 2)
ad.primitive_jvps[_GRADIENT] = _jvp_of_plain(_GRADIENT, plain.gradient, 2)
ad.primitive_jvps[_BIAS_GRADIENT] = _jvp_of_plain(_BIAS_GRADIENT, plain.bias_gradient, 2)
ad.primitive_transposes[_TANGENT] = _tangent_transpose
