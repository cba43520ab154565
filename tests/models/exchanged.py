"""A net with weights from PyTorch, and what it gives in PyTorch's names and layouts."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn as nn
from tests.known_answers.drawing import project
from tests.support import plain_jit


def results(net, state_dict, x, mode, mapping=None):
    """y, and projected: the gradients of Σ y·sin(1, 2, …) for x and every weight, in training the statistics.

    Everything is computed in float64, as one program.
    """
    spec = jax.ShapeDtypeStruct(x.shape, x.dtype if x.dtype.kind == "i" else jnp.float64)
    shapes = jax.eval_shape(net.init, jax.random.key(0), spec)
    if x.dtype.kind == "i":
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), shapes)
    params = nn.interop.torch.load_state_dict(net, shapes, state_dict, mapping)

    @plain_jit
    def run(params, x):
        def loss(weights, x):
            own = params._replace(weights=weights)
            y, state = net.train(own, x) if mode == "train" else (net.apply(own, x), params.state)
            probe = jnp.sin(jnp.arange(y.size, dtype=y.dtype) + 1).reshape(y.shape)
            return jnp.sum(y * probe), (y, state)

        wanted = (0,) if x.dtype.kind == "i" else (0, 1)
        grads, (y, state) = jax.grad(loss, wanted, has_aux=True)(params.weights, x)
        return y, grads, state

    y, (weights, *inputs), state = run(params, x)
    found = {"y": np.asarray(y)} | ({"grad": project(np.asarray(inputs[0]))} if inputs else {})
    theirs = nn.interop.torch.to_state_dict(net, nn.Params(weights, state), mapping)
    for name, array in theirs.items():
        if "running" in name:
            found |= {f"state/{name}": project(array)} if mode == "train" else {}
        elif not any(part in name for part in ("num_batches", "bias_hh", "weight.0._")):
            found[f"grad/{name}"] = project(array)
    return found
