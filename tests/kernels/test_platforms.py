"""What programs for other platforms must and must not contain, checked by lowering for them here."""

import re

import jax
import jax.export
import jax.numpy as jnp
import pytest

import jaxnn as nn
from tests.support import assert_close, rng_array

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


def test_small_groups_are_taken_together_on_nvidia_gpus_alone():
    """cuDNN takes six times as long for 32 groups of 2 channels as for 4 of 16."""

    def groups(platform, channels):
        op = gradient(lambda x, k: nn.ops.conv(x, k, groups=32), (0, 1))
        program = text(op, (64, 28, 28, channels), (3, 3, channels // 32, channels), platform=platform)
        # What repairs NaN and ∞ stands in a loop of its own, indented.
        return re.findall(r"^    %\S+ = .*convolution.* feature_group_count = (\d+)", program, re.MULTILINE)

    assert groups("cuda", 64) == ["4", "1", "4"]
    assert groups("tpu", 64) == groups("cuda", 1024) == ["32", "1", "32"]


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


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (lambda x: nn.ops.max_pool(x, 2), [(2, 4, 4, 3)]),
        (lambda *args: nn.ops.lstm(*args)[0], [(2, 5, 3), (3, 16), (4, 16)]),
        (nn.ops.layer_norm, [(2, 8, 16)]),
    ],
)
def test_one_export_of_operations_with_several_results(op, shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    exported = jax.export.export(jax.jit(gradient(op)), platforms=("cpu", "cuda"))(*args)
    values = [rng_array(*shape, seed=i) for i, shape in enumerate(shapes)]
    assert_close(exported.call(*values), jax.jit(gradient(op))(*values))


@elsewhere
def test_pools_are_sliding_windows_where_nothing_is_known_to_be_faster(platform):
    for pool in (nn.ops.max_pool, nn.ops.avg_pool):
        assert "reduce_window" in text(lambda x: pool(x, 2), (2, 8, 8, 3), platform=platform)  # noqa: B023
        assert "reduce_window" not in text(lambda x: pool(x, 2), (2, 8, 8, 3), platform="cpu")  # noqa: B023
    assert "reduce_window" in text(gradient(lambda x: nn.ops.avg_pool(x, 2)), (2, 8, 8, 3), platform=platform)


def products(program):
    """The shapes of the results of the matrix products of a program."""
    lines = (line for line in program.splitlines() if "stablehlo.dot_general" in line)
    return [line.rpartition("tensor<")[2].partition(">")[0] for line in lines]


@elsewhere
def test_a_recurrence_multiplies_the_input_of_all_steps_at_once(platform):
    shapes = (2, 5, 3), (3, 16), (4, 16)
    values = lambda *args: nn.ops.lstm(*args)[0]  # noqa: E731
    assert "2x5x16xf32" in products(text(values, *shapes, platform=platform))
    assert "2x5x16xf32" not in products(text(values, *shapes, platform="cpu"))


@elsewhere
def test_half_precision_values_are_compared_as_they_are(platform):
    """On a CPU they would be converted for every comparison, and are converted once."""
    x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.bfloat16)
    largest = jax.jit(gradient(lambda x: nn.ops.max_pool(x, 3, strides=2, padding=1))).trace(x)
    for target in (platform, "cpu"):
        lines = largest.lower(lowering_platforms=(target,)).as_text().splitlines()
        types = {line.rpartition("x")[2] for line in lines if "stablehlo.maximum" in line}
        assert types == {"f32>" if target == "cpu" else "bf16>"}


@elsewhere
def test_nothing_that_was_tuned_for_cpus_is_left_of_a_norm_and_of_resizing(platform):
    chosen, plain = (
        text(
            gradient(lambda x, name=name: nn.ops.layer_norm(x, implementation=name)),
            (2, 8, 16),
            platform=platform,
        )
        for name in (None, "lax")
    )
    assert chosen == plain
    upsampled = gradient(lambda x: nn.ops.upsample(x, 2))
    assert "stablehlo.slice" not in text(upsampled, (2, 4, 4, 3), platform=platform)
