"""Importing jaxnn changes nothing for others in the same process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys, warnings, logging, os, random
import jax, numpy as np
import flax.nnx, flax.linen, equinox, haiku, optax

def seen():
    config = {name: getattr(jax.config, name) for name in dir(jax.config)
              if name.startswith("jax_") and not callable(getattr(jax.config, name))}
    return {
        "config": {name: repr(value) for name, value in config.items()},
        "environment": dict(os.environ), "warnings": list(map(repr, warnings.filters)),
        "loggers": (logging.root.level, len(logging.root.handlers)), "random": random.getstate(),
        "numpy": (np.geterr(), repr(np.random.get_state())), "recursion": sys.getrecursionlimit(),
        "patched": {f"{module.__name__}.{name}": id(value)
                    for module in (jax, jax.nn, jax.numpy, jax.lax, jax.random, flax.linen, flax.nnx,
                                   equinox, haiku, optax)
                    for name, value in vars(module).items()},
        "hooks": (sys.excepthook, sys.displayhook, list(map(repr, sys.meta_path))),
    }

before = seen()
import jaxnn as nn
import jaxnn.interop.flax, jaxnn.interop.equinox, jaxnn.interop.haiku
nn.serial(nn.dense(2)).init(jax.random.key(0), (1, 3))
after = seen()
print([part for part in before if before[part] != after[part]])
"""


def test_importing_changes_no_state_of_jax_or_of_other_libraries():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n", done.stdout
