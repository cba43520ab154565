"""What a first use does, with the installed package: import, train, save, load."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxnn as nn

assert "site-packages" in nn.__file__, nn.__file__
x = jax.random.normal(jax.random.key(0), (256, 8, 8, 1))
y = (x.mean((1, 2, 3)) > 0).astype(jnp.int32)
net = nn.serial(nn.conv(8, 3), nn.batch_norm(), nn.relu, nn.max_pool(2), nn.flatten, head=nn.dense(2))
params, history = nn.fit(
    net, optax.adam(1e-2), optax.softmax_cross_entropy_with_integer_labels, (x, y),
    key=jax.random.key(1), epochs=10, batch_size=32, metrics={"accuracy": nn.accuracy}, progress=False,
)  # fmt: skip
assert history["accuracy"][-1] > 0.8, history
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "net.npz"
    nn.checkpoint.save(path, params)
    loaded = nn.checkpoint.load(path, like=params)
assert jnp.array_equal(net.apply(loaded, x), net.apply(params, x))
print(f"JAX {jax.__version__}: accuracy {history['accuracy'][-1]:.2f}; saved and loaded")
