"""Forms chosen by measurement: by a clock of the test's own, since real times are a machine's."""

import sys
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn as nn
from jaxnn.kernels import explain, prefer, tune
from jaxnn.kernels.explain import here, operations
from jaxnn.kernels.lowering.primitive import Kernel
from jaxnn.kernels.tune import Race, _sample
from jaxnn.ops.conv import conv
from jaxnn.ops.norm import batch_norm_train, layer_norm
from jaxnn.ops.pool import max_pool
from tests.support import assert_close, deep, on_cpu, rng_array

pytestmark = on_cpu
X = rng_array(2, 6, 6, 3)


def pooled(x):
    return max_pool(x, 2)


#: The chosen form of this pool and the others.
CHOSEN, (ONE, OTHER) = explain(pooled, X)[0][2:4]


def seconds(choice):
    return dict(zip((choice.form, *choice.others), choice.seconds, strict=True))


@pytest.fixture
def clock(monkeypatch):
    """Seconds by form, at the top level and in a loop; a call in a loop has stacked operands."""
    at_top, in_loop = dict.fromkeys((CHOSEN, ONE, OTHER), 1.0), {}

    def timed(race, calls):
        if not calls:
            return {}
        looped = next(iter(calls.values())).args[0].shape != race.operands[0].shape
        source = {**at_top, **in_loop} if looped else at_top
        return {name: source[name] for name in calls}

    monkeypatch.setattr(Race, "timed", timed)
    return at_top, in_loop


def test_the_fastest_is_taken(clock):
    clock[0][ONE] = 0.5
    told = []
    (choice,) = tune(pooled, X, report=told.append)
    assert told == [choice]
    assert choice.form == ONE
    assert seconds(choice) == {ONE: 0.5, CHOSEN: 1.0, OTHER: 1.0}
    (chosen,) = explain(pooled, X)
    assert choice.problem == chosen.problem
    with prefer([choice]):
        assert explain(pooled, X)[0].form == ONE
        assert_close(jax.jit(pooled)(X), pooled(X))


def test_a_few_per_cent_are_chance(clock):
    clock[0].update({ONE: 0.96, OTHER: 0.97})
    (choice,) = tune(pooled, X)
    assert choice.form == CHOSEN
    assert seconds(choice) == {CHOSEN: 1.0, ONE: 0.96, OTHER: 0.97}


def test_what_is_slower_in_a_loop_is_left_to_the_next(clock):
    at_top, in_loop = clock
    at_top.update({ONE: 0.5, OTHER: 0.3})
    in_loop[OTHER] = 1.1
    assert tune(pooled, X)[0].form == ONE
    in_loop[ONE] = 1.1
    assert tune(pooled, X)[0].form == CHOSEN


@pytest.mark.parametrize("broken", ["fails", "is wrong", "is not finite"])
@pytest.mark.parametrize("form", [CHOSEN, OTHER])
def test_a_form_that_a_backend_breaks_is_not_taken(clock, monkeypatch, form, broken):
    clock[0].update({ONE: 2.0, OTHER: 0.1})
    compiled = Race.compiled

    def breaking(race, name, **where):
        call = compiled(race, name, **where)
        if name != form or broken == "fails":
            return None if name == form else call
        added = 0.2 if broken == "is wrong" else np.nan
        return partial(lambda *operands: call() + added, *call.args)

    monkeypatch.setattr(Race, "compiled", breaking)
    (choice,) = tune(pooled, X)
    assert choice.form == (OTHER if form == CHOSEN else CHOSEN)
    assert seconds(choice)[form] is None


def test_what_can_not_be_compiled_or_run_gives_no_call(monkeypatch):
    (eqn,) = operations(jax.make_jaxpr(pooled)(X).jaxpr)
    race = Race(eqn, explain(pooled, X)[0], 0.1)
    assert race.compiled("slices")
    assert race.compiled("slices", loop=True)

    def raising(*_):
        raise NotImplementedError

    monkeypatch.setattr(Kernel, "chosen", raising)
    jax.clear_caches()
    assert race.compiled("slices") is None


def test_operations_are_timed_once_and_named_ones_left_alone(clock):
    def function(x):
        return pooled(x) + pooled(2 * x), max_pool(x, 3), max_pool(x, 2, implementation="lax")

    assert [choice.operands for choice in tune(function, X)] == [("float32[2,6,6,3]",)] * 2


def test_integers_sums_and_moments_are_left_alone():
    assert tune(pooled, np.ones((2, 6, 6, 3), np.int32)) == []
    assert tune(layer_norm, rng_array(2, 5, 6), np.ones(6), np.zeros(6)) == []
    assert tune(lambda x: batch_norm_train(x)[0], rng_array(2, 5, 6)) == []


def test_what_surrounds_it_does_not_disturb(clock):
    """Programs for a mesh choose by other numbers of devices; the other contexts refuse or check calls."""
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    contexts = (
        lambda: jax.set_mesh(mesh),
        lambda: jax.disable_jit(),
        lambda: jax.transfer_guard("disallow_explicit"),
    )
    x = jnp.asarray(X)
    for context in contexts:
        with context():
            around = jax.sharding.get_abstract_mesh(), jax.config.jax_disable_jit
            (choice,) = tune(pooled, x)
            assert (jax.sharding.get_abstract_mesh(), jax.config.jax_disable_jit) == around
        assert None not in choice.seconds


def test_forms_are_compiled_outside_of_meshes(clock, monkeypatch):
    compiled, meshes = Race.compiled, []

    def recording(race, name, **where):
        meshes.append(jax.sharding.get_abstract_mesh())
        return compiled(race, name, **where)

    monkeypatch.setattr(Race, "compiled", recording)
    with jax.set_mesh(jax.make_mesh((1,), ("d",))):
        tune(pooled, X)
    assert meshes
    assert all(mesh.empty for mesh in meshes)


def test_a_compiled_function_keeps_its_static_arguments(clock):
    run = jax.jit(lambda x, window: max_pool(x, window), static_argnames="window")
    assert [choice.problem for choice in tune(run, X, window=2)] == [explain(pooled, X)[0].problem]
    assert explain(run, X, 2) == explain(run, X, window=2) == explain(pooled, X)


def test_it_is_traced_not_run():
    def function(x):
        jax.debug.callback(lambda: pytest.fail("it ran"))
        return pooled(x)

    assert len(tune(function, jax.ShapeDtypeStruct((2, 6, 6, 3), np.float32), seconds=0.01)) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, deep(jnp.bfloat16)])
def test_a_training_step_by_the_real_clock(dtype):
    net = nn.serial(nn.conv(3, 3), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(2))
    params, x = net.init(jax.random.key(0), (2, 6, 6, 2)), rng_array(2, 6, 6, 2).astype(dtype)
    params = jax.tree.map(lambda a: a.astype(dtype), params)

    def step(weights, x):
        return jax.grad(lambda w: jnp.sum(net.apply(params._replace(weights=w), x).astype(jnp.float32)))(
            weights
        )

    found = tune(step, params.weights, x, seconds=0.005)
    assert {"jaxnn_conv_forward", "jaxnn_conv_kernel_gradient"} <= {choice.operation for choice in found}
    for choice in found:
        assert len(choice.seconds) == 1 + len(choice.others) >= 2
        assert all(seconds > 0 for seconds in choice.seconds), choice
    expected = jax.jit(step)(params.weights, x)
    with prefer(found):
        taken = {choice.problem: choice.form for choice in explain(step, params.weights, x)}
        assert all(taken[choice.problem] == choice.form for choice in found)
        assert_close(jax.jit(step)(params.weights, x), expected)


@pytest.mark.deep
def test_members_of_an_ensemble():
    xs, kernels = rng_array(3, 2, 6, 6, 2), rng_array(3, 3, 3, 2, 4, seed=1)

    def gradient(kernels, xs):
        return jax.vmap(jax.grad(lambda kernel, x: jnp.sum(jnp.sin(conv(x, kernel)))))(kernels, xs)

    found = tune(gradient, kernels, xs, seconds=0.005)
    assert found
    expected = jax.jit(gradient)(kernels, xs)
    with prefer(found):
        assert_close(jax.jit(gradient)(kernels, xs), expected)


@pytest.mark.parametrize("queued", [1, 4])
def test_a_sample_is_a_mean(queued):
    made = []
    assert 0 < _sample(lambda: made.append(np.ones(2)), 6, queued) < 60
    assert len(made) == 6


def test_numbers_of_numpy_are_seconds(clock):
    assert tune(pooled, X, seconds=np.float32(0.1))


def test_what_can_not_be_called():
    with pytest.raises(TypeError, match="tune: function must be callable, got 3"):
        tune(3, X)
    with pytest.raises(TypeError, match="explain: function must be callable, got None"):
        explain(None, X)
    with pytest.raises(TypeError, match="tune: report must be callable or None, got 3"):
        tune(pooled, X, report=3)


def test_symbolic_sizes_have_no_time():
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b,6,6,3"), np.float32)
    with pytest.raises(ValueError, match=r"tune: the sizes of arrays must be integers, got \(b, 6, 6, 3\)"):
        tune(pooled, x)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_within_a_traced_function_nothing_can_be_timed(transform):
    with pytest.raises(ValueError, match="tune: can't be called within a function that is being traced"):
        transform(lambda x: tune(pooled, x))(X[None] if transform is jax.vmap else X)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "1", None])
def test_seconds_must_be_positive(seconds):
    with pytest.raises(ValueError, match="tune: seconds must be a positive number, got"):
        tune(pooled, X, seconds=seconds)


def test_a_gpu_is_known_by_the_name_that_programs_are_lowered_for(monkeypatch):
    """JAX calls NVIDIA's "gpu" too, which has no list of forms."""
    (client,) = {device.client for device in jax.devices()}
    module = sys.modules[here.__module__]
    monkeypatch.setattr(module, "backends", lambda: {"other": None, "cuda": client})
    assert here() == "cuda"
    assert explain(pooled, X)[0].platform == "cuda"
