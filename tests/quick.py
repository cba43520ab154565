"""How programs that run once are compiled: as right as for users, in a fraction of the time."""

import os
from functools import cache
from typing import Any

import jax

#: Without the emitters that set up MLIR anew for each fusion, where XLA has others (jaxlib 0.10 has, 0.12 has
#: not), and as one module of LLVM. On top of ``jax_disable_most_optimizations``, in processor time with JAX
#: 0.10.2: x + 1 takes 10 ms instead of 20, the gradient of a small convolutional net 50 ms instead of 240.
WANTED = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


@cache
def options() -> dict[str, Any]:
    """Those of ``WANTED`` that this version of XLA has."""

    def has(name: str) -> bool:
        try:
            jax.jit(lambda: 1, compiler_options={name: WANTED[name]}).lower().compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {name: value for name, value in WANTED.items() if has(name)}


def install() -> None:
    """From now on, ``jax_disable_most_optimizations`` sets ``options()`` too.

    JAX has no public setting that reaches every program. Where it has moved what is changed here, programs
    only take longer to compile.
    """
    try:
        from jax._src import compiler

        usual = compiler.get_compile_options
    except (ImportError, AttributeError):
        return
    quick = options()

    def with_quick(*args: Any, env_options_overrides: Any = None, **kwargs: Any) -> Any:
        if jax.config.read("jax_disable_most_optimizations"):
            env_options_overrides = {**quick, **(env_options_overrides or {})}
        return usual(*args, env_options_overrides=env_options_overrides, **kwargs)

    compiler.get_compile_options = with_quick


def environment() -> dict[str, str]:
    """The environment of a process that compiles as this one does."""
    if not jax.config.read("jax_disable_most_optimizations"):
        return dict(os.environ)
    flags = (f"--{name}={str(value).lower()}" for name, value in options().items())
    given = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])
    return {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "True", "XLA_FLAGS": given.strip()}
