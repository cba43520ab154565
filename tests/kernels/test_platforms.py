"""What programs for other platforms must and must not contain, checked by lowering for them here."""

import jax
import jax.numpy as jnp
import pytest

import jaxnn as nn

elsewhere = pytest.mark.parametrize("platform", ["cuda", "tpu"])


def text(function, *shapes, platform):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def gradient(op, argnums=0):
    return jax.grad(lambda *args: jnp.sum(jnp.square(op(*args))), argnums)


@elsewhere
@pytest.mark.parametrize("settings", [{"window": 2}, {"window": 3, "strides": 2, "padding": 1}])
def test_the_gradient_of_max_pooling_scatters_nothing(platform, settings):
    program = text(gradient(lambda x: nn.ops.max_pool(x, **settings)), (2, 8, 8, 3), platform=platform)
    for slow in ("select_and_scatter", "reduce_window", "stablehlo.scatter"):
        assert slow not in program


@elsewhere
def test_the_kernel_gradient_of_a_transposed_convolution_dilates_no_input(platform):
    """GPU libraries have no fast code for a dilated input: other libraries are 30 times slower for it."""
    program = text(
        gradient(lambda x, k: nn.ops.conv_transpose(x, k, strides=2, padding=1), 1),
        (2, 5, 5, 4),
        (4, 4, 4, 3),
        platform=platform,
    )
    convolutions = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    kernel_gradient = [line for line in convolutions if "tensor<4x4x3x4xf32>" in line.rpartition("->")[2]]
    assert kernel_gradient
    assert all("lhs_dilate = [1, 1]" in line for line in kernel_gradient)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_mark_for_cpus_stands_in_programs_for_cpus_alone(platform):
    program = text(gradient(lambda x: nn.ops.max_pool(x, 3, strides=1)), (2, 8, 8, 3), platform=platform)
    assert ("inlineable" in program) == (platform == "cpu")


def test_one_export_for_several_platforms_holds_the_forms_of_each():
    def loss(x, k):
        return jnp.sum(nn.ops.conv(x, k, groups=4))

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 6, 6, 4), (3, 3, 1, 4))]
    program = jax.jit(loss).trace(*shapes).lower(lowering_platforms=("cpu", "cuda")).as_text()
    assert "feature_group_count = 4" in program
    assert "stablehlo.case" in program
