import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.combinators import weight_norm
from jaxnn.layers.dense import dense
from jaxnn.params import Params
from tests.combinators.wrapped import WRAPPED, every_layer
from tests.support import assert_close, rng_array


@every_layer
def test_weight_norm_starts_as_the_layer_itself(name, key):
    layer, shape = WRAPPED[name]
    x = rng_array(*shape)
    plain, params = layer.init(key, shape), weight_norm(layer).init(key, shape)
    both = lambda layer: jax.jit(lambda params: (layer.apply(params, x), layer.train(params, x)))  # noqa: E731
    assert_close(both(weight_norm(layer))(params), both(layer)(plain))
    assert_close(params.state, plain.state)


def test_weight_norm_separates_direction_and_magnitude(key):
    layer = weight_norm(dense(4, bias=False))
    params = layer.init(key, (1, 3))
    kernel = params.weights["kernel"]
    assert jax.tree.map(jnp.shape, kernel) == {"direction": (3, 4), "magnitude": (4,)}
    magnitude = jnp.array([1.0, 2.0, -3.0, 0.0])
    weights = {"kernel": {"direction": 7 * kernel["direction"], "magnitude": magnitude}}
    effective = layer.apply(Params(weights, {}), jnp.eye(3))
    direction = np.asarray(kernel["direction"])
    assert_close(effective, direction / np.linalg.norm(direction, axis=0) * magnitude[None])


def test_the_gradient_of_the_direction_stands_across_it(key):
    layer, x = weight_norm(dense(4)), rng_array(5, 3)
    weights = layer.init(key, (1, 3)).weights
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(layer.apply(Params(w, {}), x)))))(weights)["kernel"]
    along = np.sum(np.asarray(gradient["direction"]) * weights["kernel"]["direction"], 0)
    assert_close(along, np.zeros(4))
    assert np.abs(gradient["magnitude"]).min() > 0


def test_weight_norm_in_float16():
    """A direction may be of any size; a length above the largest float16 is infinite."""
    x = jnp.ones((1, 4), jnp.float16)
    kernel = {"direction": jnp.full((4, 1), 6e4, jnp.float16), "magnitude": jnp.ones(1, jnp.float16)}
    assert weight_norm(dense(1, bias=False)).apply(Params({"kernel": kernel}, {}), x) == 2
    for size, known in ((3e4, True), (6e4, False)):
        layer = weight_norm(dense(1, kernel_init=jax.nn.initializers.constant(size)))
        magnitude = layer.init(jax.random.key(0), x).weights["kernel"]["magnitude"]
        assert jnp.isfinite(magnitude).all() == known
