import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops.dense import dense
from tests.support import assert_close, assert_known_answers, known_answers, rng_array


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3), (2, 1, 4, 3)])
def test_the_last_axis_is_multiplied(shape):
    x, kernel, bias = (rng_array(*s, dtype=np.float64) for s in (shape, (3, 2), (2,)))
    assert_close(dense(x, kernel), np.tensordot(x, kernel, 1))
    assert_close(dense(x, kernel, bias), np.tensordot(x, kernel, 1) + bias)


def test_known_answers():
    assert_known_answers(dense, known_answers("conv"), "dense")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32(dtype):
    x, kernel, bias = jnp.ones((4096, 4096), dtype), jnp.ones((4096, 1), dtype), jnp.zeros(1, dtype)
    y = dense(x[:1], kernel, bias)
    assert y.dtype == dtype
    assert float(y[0, 0]) == 4096
    gradients = jax.grad(lambda *a: dense(x[:, :1], *a).astype(jnp.float32).sum(), (0, 1))(kernel[:1], bias)
    assert [(g.dtype, float(g.ravel()[0])) for g in gradients] == [(dtype, 4096)] * 2


X, KERNEL = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("x", "kernel", "bias", "sentence"),
    [
        (
            X,
            KERNEL[:2],
            None,
            r"dense: x must have 2 features for a kernel of shape \(2, 4\), got shape \(2, 3\)",
        ),
        (X[0, 0], KERNEL, None, r"dense: x must have 3 features .* got shape \(\)"),
        (X, KERNEL[0], None, r"dense: kernel must be \(F, O\), got shape \(4,\)"),
        (X, KERNEL[:, :0], None, r"dense: kernel must have no axis of size 0, got shape \(3, 0\)"),
        (
            X,
            KERNEL,
            X[0],
            r"dense: bias must have shape \(4,\), one value per output channel, got shape \(3,\)",
        ),
    ],
)
def test_a_bad_shape_raises_a_sentence(x, kernel, bias, sentence):
    with pytest.raises(ValueError, match=sentence):
        dense(x, kernel, bias)


@pytest.mark.parametrize(
    ("x", "kernel", "sentence"),
    [
        (X.astype(np.int32), KERNEL, "dense: x must be floating-point, got int32; cast it first"),
        (X, KERNEL.astype(np.float16), "dense: kernel is float16 but x is float32; cast one of them"),
    ],
)
def test_a_bad_dtype_raises_a_sentence(x, kernel, sentence):
    with pytest.raises(TypeError, match=sentence):
        dense(x, kernel)
