"""The forms of a convolution against each other, and what the primitives promise JAX."""

from contextlib import ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from jaxnn.ops import conv_banded, conv_blocks, conv_core, conv_cpu, conv_parts, conv_plain, conv_unfolded
from jaxnn.ops.conv import conv
from jaxnn.ops.conv_settings import Settings
from tests.collectives import check_only_sums
from tests.support import assert_close, rng_array

FACES = ("forward", "input_gradient", "kernel_gradient")


def operands(s: Settings, c_in: int, c_out: int, n: int = 2):
    """What each face takes: (x, kernel), (kernel, y) and (x, y)."""
    x, kernel = rng_array(n, *s.space, c_in), rng_array(*s.window, c_in // s.groups, c_out, seed=1)
    y = rng_array(n, *s.out, c_out, seed=2)
    return dict(zip(FACES, ((x, kernel), (kernel, y), (x, y)), strict=True))


def check(s: Settings, c_in: int, c_out: int, n: int = 2):
    def faces(pairs, module):
        return {face: getattr(module, face)(a, b, s, jnp.float32) for face, (a, b) in pairs.items()}

    compare = jax.jit(lambda pairs: (faces(pairs, conv_cpu), faces(pairs, conv_plain)))
    assert_close(*compare(operands(s, c_in, c_out, n)))


@st.composite
def settings(draw):
    rank = draw(st.integers(1, 2))
    axes = range(rank)
    ints = {"space": (3, 6), "window": (1, 4), "strides": (1, 4), "dilation": (1, 3)}
    chosen = {name: tuple(draw(st.integers(*ends)) for _ in axes) for name, ends in ints.items()}
    pairs = tuple((draw(st.integers(-2, 5)), draw(st.integers(-2, 5))) for _ in axes)
    return Settings(**chosen, padding=pairs, groups=draw(st.sampled_from((1, 1, 2, 3))))


@given(s=settings(), c_in=st.integers(1, 2), c_out=st.integers(1, 2))
def test_the_forms_for_cpu_are_the_plain_ones(s, c_in, c_out):
    assume(all(out > 0 for out in s.out))
    check(s, c_in * s.groups, c_out * s.groups)


@contextmanager
def forms_for_other_sizes(form: str, floats: int = 10**6):
    """As if sizes were others: dense convolutions are ``unfolded`` in parts, ``banded`` or in ``blocks``."""
    none = {"_PAIRS": (10**9, 0), "_CHANNELS": (10**9, 10**9)}
    limits = {
        conv_parts: {"_FLOATS": floats, "_WORK": 0, "_PART": 0},
        conv_unfolded: {"_PAIRS": (0, 10**9), "_CHANNELS": (0, 0)} if form == "unfolded" else none,
        conv_banded: {"_LINES": 0 if form == "banded" else 10**9, "_BLOCK": 10**9},
        conv_blocks: {"_FEW_IN": 10**9 if form == "blocks" else 0, "_LINE": 2, "_LEAST": 0},
    }
    with ExitStack() as stack:
        for module, values in limits.items():
            stack.enter_context(patch.multiple(module, **values))
        yield


@pytest.mark.parametrize("form", ["unfolded", "banded", "blocks"])
@given(s=settings(), c_in=st.integers(1, 2), c_out=st.integers(1, 2), floats=st.sampled_from((60, 10**6)))
def test_the_forms_for_other_sizes_are_the_plain_ones(form, s, c_in, c_out, floats):
    assume(all(out > 0 for out in s.out))
    with forms_for_other_sizes(form, floats):
        check(s._replace(groups=1), c_in, c_out, n=6)


@given(s=settings(), c_in=st.integers(1, 2), c_out=st.integers(1, 2))
def test_phases_one_by_one_are_the_plain_ones(s, c_in, c_out):
    assume(all(out > 0 for out in s.out))
    with patch.multiple(conv_blocks, _CHANNELS=0):
        check(s._replace(groups=1), c_in, c_out)


def test_three_axes_by_bands():
    with forms_for_other_sizes("banded"):
        check(Settings((4, 3, 5), (2, 1, 3), (1, 2, 2), ((1, 0), (0, 0), (1, 2)), (1, 1, 2)), 2, 3)


def gradients(x, kernel):
    """The gradients of a convolution that is worth a loop over parts of the batch."""
    return jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))), (0, 1))(x, kernel)


def test_a_batch_is_parted_only_on_one_device():
    x, kernel = jnp.asarray(rng_array(32, 18, 18, 64)), jnp.asarray(rng_array(3, 3, 64, 64, seed=1))
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    parts = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    alone, apart = (jax.jit(gradients).lower(a, kernel) for a in (x, parts))
    loops = 3 if jax.__version_info__ < (0, 11) else 1
    assert alone.as_text().count("stablehlo.while") == loops
    assert apart.as_text().count("stablehlo.while") == 0
    assert_close(apart.compile()(parts, kernel), alone.compile()(x, kernel), terms=32 * 16 * 16)


def test_an_empty_batch_of_a_size_that_would_be_parted():
    x, kernel = jnp.ones((0, 8, 8, 64)), jnp.ones((3, 3, 64, 64))
    assert jax.jit(conv)(x, kernel).shape == (0, 6, 6, 64)
    assert all((g == 0).all() for g in jax.jit(gradients)(x, kernel))


def test_a_prime_number_of_small_images_is_not_parted():
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((127, 8, 8, 64), (3, 3, 64, 64)))
    assert "stablehlo.while" not in jax.jit(gradients).lower(x, kernel).as_text()


#: Groups and channels of each that make one dense convolution of one, of a few and of all groups; that make
#: shifted products, with one and with more outputs a channel; and that have too many outputs for these.
@pytest.mark.parametrize(
    ("groups", "c_in", "c_out"),
    [(3, 16, 2), (6, 8, 1), (9, 2, 3), (80, 2, 1), (5, 1, 1), (5, 1, 3), (4, 1, 6)],
)
def test_groups_of_every_size(groups, c_in, c_out):
    s = Settings((5, 4), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2), groups)
    check(s, c_in * groups, c_out * groups)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("module", [conv_cpu, conv_plain], ids=["cpu", "plain"])
def test_halves_are_summed_in_float32_and_may_meet_a_float32(module, dtype):
    s = Settings((300,), (1,), (1,), ((0, 0),), (1,))
    ones, kernel = jnp.ones((1, 300, 2), dtype), jnp.ones((1, 2, 2), dtype)
    sums = module.kernel_gradient(ones, ones.astype(jnp.float32), s, jnp.dtype(jnp.float32))
    assert sums.dtype == jnp.float32
    assert (np.asarray(sums) == 300).all()
    assert module.input_gradient(kernel, ones.astype(jnp.float32), s, jnp.dtype(dtype)).dtype == dtype
    assert module.forward(ones, kernel, s, jnp.dtype(dtype)).dtype == dtype


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("mapped", [(0, None), (None, 1), (2, 0), (-1, -2)])
def test_vmap_over_any_axis(face, groups, mapped):
    s = Settings((5,), (3,), (2,), ((1, 1),), (1,), groups)
    function = getattr(conv_core, face)
    pair = operands(s, 2 * groups, 3 * groups)[face]
    stacked = [
        np.stack([a, 2 - a, a * a], d) if d is not None else a for a, d in zip(pair, mapped, strict=True)
    ]
    result = jax.vmap(lambda a, b: function(a, b, s, jnp.float32), mapped)(*stacked)
    for i in range(3):
        row = (np.take(a, i, d) if d is not None else a for a, d in zip(stacked, mapped, strict=True))
        assert_close(result[i], function(*row, s, jnp.float32))


def test_an_ensemble_inside_a_scan_is_its_members_one_by_one():
    x, kernels = rng_array(4, 2, 6, 6, 3), jnp.asarray(rng_array(4, 3, 3, 3, 2, seed=1))

    def step(kernel, x):
        return kernel - 0.1 * jax.grad(lambda k: jnp.sum(jnp.square(conv(x, k, strides=2))))(kernel)

    def two_steps(kernels):
        return lax.scan(lambda k, _: (jax.vmap(step)(k, x), None), kernels, length=2)[0]

    members = jnp.stack([step(step(k, x[i]), x[i]) for i, k in enumerate(kernels)])
    assert_close(jax.jit(two_steps)(kernels), members)


def test_precision_is_that_of_where_it_is_traced():
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(lambda x, k: conv(x, k)).trace(np.ones((1, 3, 1), "f4"), np.ones((2, 1, 1), "f4"))
    assert traced.lower(lowering_platforms=("cuda",)).as_text().count("HIGHEST") > 0


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(platform):
    x, kernel = np.ones((2, 8, 8, 4), np.float32), np.ones((3, 3, 1, 4), np.float32)
    gradients = jax.grad(lambda *a: jnp.sum(conv(*a, groups=4, strides=2, padding=2)), (0, 1))
    text = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == (platform != "cpu")


def test_explicit_sharding_of_anything_but_the_batch_raises():
    mesh = jax.make_mesh((2,), ("space",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(np.ones((2, 4, 1), np.float32), jax.P(None, "space"))
        sentence = "conv: only the batch axis may be sharded explicitly, got .* with jax.sharding.reshard"
        with pytest.raises(ValueError, match=sentence):
            conv(x, jnp.ones((3, 1, 1)))
        assert conv(jax.sharding.reshard(x, jax.P()), jnp.ones((3, 1, 1))).shape == (2, 2, 1)


@pytest.mark.parametrize(("groups", "c_in", "c_out"), [(3, 2, 4), (4, 1, 1), (4, 1, 2)])
@pytest.mark.parametrize("module", [conv_cpu, conv_plain], ids=["cpu", "plain"])
def test_grouped_ones_leave_a_batch_on_its_devices(module, groups, c_in, c_out):
    """In the forms for other platforms too: XLA splits programs among devices before it asks for which."""
    s = Settings((5, 4), (3, 2), (2, 1), ((1, 1), (-1, 2)), (1, 2), groups)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel, y = (
        jnp.asarray(rng_array(*shape))
        for shape in (
            (12, *s.space, groups * c_in),
            (*s.window, c_in, groups * c_out),
            (12, *s.out, groups * c_out),
        )
    )

    def faces(x, kernel, y):
        return (
            conv_core.forward(x, kernel, s, jnp.float32),
            conv_core.input_gradient(kernel, y, s, jnp.float32),
            conv_core.kernel_gradient(x, y, s, jnp.float32),
        )

    expected = jax.jit(faces)(x, kernel, y)
    places = [jax.NamedSharding(mesh, spec) for spec in (jax.P("batch"), jax.P(), jax.P("batch"))]
    args = [jax.device_put(a, place) for a, place in zip((x, kernel, y), places, strict=True)]
    with patch.multiple(conv_cpu, **{face: getattr(module, face) for face in FACES}):
        program = jax.jit(faces).lower(*args).compile()
    check_only_sums(program, kernel)
    assert_close(jax.device_get(program(*args)), jax.device_get(expected))


def test_halves_over_devices_are_summed_in_float32():
    s = Settings((300,), (300,), (1,), ((0, 0),), (1,), 2)
    ones, kernel = jnp.ones((2, 300, 4), "bfloat16"), jnp.ones((300, 2, 2), "bfloat16")
    assert (conv_plain.forward(ones, kernel, s, jnp.dtype("float32"), devices=2) == 600).all()
    s, y = s._replace(space=(599,)), jnp.ones((2, 300, 2), "bfloat16")
    x = conv_plain.input_gradient(kernel, y, s, jnp.dtype("float32"), devices=2)
    assert (x[:, 299] == 300).all()


@pytest.mark.parametrize("form", ["unfolded", "banded", "blocks", None])
def test_gradients_under_shard_map(form):
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel = rng_array(8, 5, 4, 2), jnp.asarray(rng_array(3, 2, 2, 2, seed=1))

    def loss(kernel, x):
        return lax.pmean(jnp.sum(jnp.square(conv(x, kernel))), "batch")

    sharded = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=(jax.P(), jax.P("batch")), out_specs=jax.P())
    whole = jax.grad(lambda k: jnp.sum(jnp.square(conv(x, k))) / 4)(kernel)
    with forms_for_other_sizes(form, 50) if form else nullcontext():
        assert_close(jax.jit(sharded)(kernel, x), whole)
