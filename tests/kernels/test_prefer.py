"""Preferred forms: where they are taken, and where not."""

import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.kernels import Choice, explain, prefer
from jaxnn.ops.pool import max_pool
from tests.kernels.test_forms import ENTRIES, operands, value_and_gradients
from tests.support import assert_close, deep, on_cpu, rng_array

X = np.ones((2, 6, 6, 3), np.float32)


def pooled(x):
    return max_pool(x, 2)


def forms(function, *args, **options):
    return [choice.form for choice in explain(function, *args, **options)]


def other(x=X, form="unfolded"):
    """A choice that no list makes for this pool."""
    (choice,) = explain(pooled, x, platform="cpu")
    assert choice.form != form
    return [choice._replace(form=form)]


def test_the_preferred_form_is_taken_for_the_same_problem_only():
    wide = np.ones((2, 6, 6, 5), np.float32)

    def elsewhere():
        return [
            forms(pooled, wide, platform="cpu"),
            forms(lambda x: max_pool(x, 3), X, platform="cpu"),
            forms(pooled, X.astype(np.float16), platform="cpu"),
            forms(pooled, X, platform="cpu", devices=2),
            forms(pooled, X, platform="tpu"),
        ]

    chosen = elsewhere()
    with prefer(other()):
        assert forms(pooled, X, platform="cpu") == ["unfolded"]
        assert elsewhere() == chosen
    assert forms(pooled, X, platform="cpu") != ["unfolded"]


def test_a_form_that_was_asked_for_by_name_is_taken():
    def named(x):
        return max_pool(x, 2, implementation="lax")

    with prefer([choice._replace(form="unfolded") for choice in explain(named, X, platform="cpu")]):
        assert forms(named, X, platform="cpu") == ["lax"]


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_programs_are_written_with_it(platform):
    def text(*platforms):
        return jax.jit(pooled).trace(X).lower(lowering_platforms=platforms).as_text()

    chosen, on_rocm = text(platform), text("rocm")
    with prefer([choice._replace(platform=platform) for choice in other()]):
        assert text(platform) != chosen
        assert text("rocm") == on_rocm
    assert text(platform) == chosen


def test_a_program_for_several_platforms_has_the_form_of_each():
    def text():
        return jax.jit(pooled).trace(X).lower(lowering_platforms=("cpu", "cuda")).as_text()

    chosen = text()
    for platform in ("cpu", "cuda"):
        with prefer([choice._replace(platform=platform) for choice in other()]):
            assert text() != chosen


def test_the_inner_context_adds_to_the_outer_one():
    wide = np.ones((2, 6, 6, 5), np.float32)
    chosen = forms(pooled, wide, platform="cpu")
    with prefer(other()):
        with prefer(other(wide)):
            assert forms(pooled, X, platform="cpu") == forms(pooled, wide, platform="cpu") == ["unfolded"]
            with prefer([choice._replace(form="lax") for choice in explain(pooled, X, platform="cpu")]):
                assert forms(pooled, X, platform="cpu") == ["lax"]
        assert forms(pooled, wide, platform="cpu") == chosen


@on_cpu
def test_equal_preferences_share_their_programs():
    run = jax.jit(pooled)
    expected = run(X)
    for _ in range(2):
        with prefer(other()):
            assert_close(run(X), expected)
    assert_close(run(X), expected)
    assert run._cache_size() == 2


def test_other_threads_choose_as_ever():
    found = []
    with prefer(other()):
        thread = threading.Thread(target=lambda: found.extend(forms(pooled, X, platform="cpu")))
        thread.start()
        thread.join()
    assert found == forms(pooled, X, platform="cpu")


def test_json_keeps_choices():
    choices = other()
    kept = [Choice(*fields) for fields in json.loads(json.dumps(choices))]
    assert [choice.problem for choice in kept] == [choice.problem for choice in choices]
    with prefer(kept):
        assert forms(pooled, X, platform="cpu") == ["unfolded"]


@on_cpu
def test_a_layer_is_trained_with_preferred_forms():
    net = nn.serial(nn.conv(4, 3), nn.relu, nn.flatten, nn.dense(2))
    x, y = rng_array(8, 6, 6, 2), rng_array(8, 2, seed=1)

    def fitted():
        settings = {"key": jax.random.key(0), "epochs": 2, "batch_size": 4, "progress": False}
        return nn.fit(net, optax.sgd(0.1), optax.l2_loss, (x, y), **settings)[0]

    params = net.init(jax.random.key(0), (4, 6, 6, 2))
    step = jax.grad(lambda p, x: jnp.sum(net.apply(p, x)))
    listed = explain(step, params, x[:4])
    others = [choice._replace(form=choice.others[0]) for choice in listed if choice.others]
    assert len(others) >= 3
    expected = fitted()
    with prefer(others):
        assert forms(step, params, x[:4]) != [choice.form for choice in listed]
        assert_close(fitted().weights, expected.weights)


#: Those that choose a form for shapes like theirs.
CHOOSING = [entry for entry in ENTRIES if entry.name != "softmax"]


@pytest.mark.parametrize("entry", CHOOSING, ids=lambda entry: entry.name)
def test_every_form_of_every_operation_can_be_preferred(entry):
    """By a description that is the same in every trace."""
    args = operands(entry)

    def programs():
        return lambda *args: value_and_gradients(entry.op, *args)

    listed = explain(programs(), *args, platform="cpu")
    assert listed
    assert not any(" at 0x" in choice.settings for choice in listed)
    for choice in listed:
        for form in choice.others:
            with prefer([choice._replace(form=form)]):
                found = explain(programs(), *args, platform="cpu")
            assert (choice.problem, form) in [(other.problem, other.form) for other in found]


@pytest.mark.parametrize(
    "entry", [e if e.name == "max-pool" else deep(e) for e in CHOOSING], ids=lambda entry: entry.name
)
def test_one_operation_in_another_form_changes_nothing(entry):
    """What an operation leaves to the next, as which value of a window is the largest, means the same in all
    forms.
    """
    args = operands(entry)
    run = jax.jit(lambda *args: value_and_gradients(entry.op, *args))
    expected, listed = run(*args), explain(run, *args)
    for choice in listed:
        for form in choice.others:
            with prefer([choice._replace(form=form)]):
                assert_close(run(*args), expected)


def test_wrong_names():
    (choice,) = other()
    with pytest.raises(ValueError, match="prefer: no operation is called 'jaxnn_pools'"):  # noqa: SIM117
        with prefer([choice._replace(operation="jaxnn_pools")]):
            pass
    sentence = (
        "prefer: form of jaxnn_pool_extremes on 'cpu' must be one of 'lax', 'slices', 'unfolded', got 'tiles'"
    )
    with pytest.raises(ValueError, match=sentence), prefer([choice._replace(form="tiles")]):
        pass


def test_what_prefer_takes_are_choices():
    for wrong in ("slices", 3, None, other()[0]):
        with pytest.raises(TypeError, match="prefer: choices must be a sequence of"), prefer(wrong):
            pass
    for wrong in (["slices"], json.loads(json.dumps(other()))):
        with pytest.raises(TypeError, match=r"prefer: each of choices must be .*Choice\(\*fields\)"):  # noqa: SIM117
            with prefer(wrong):
                pass


@pytest.mark.parametrize(
    "field",
    [
        {"operation": ["x"]},
        {"operands": None},
        {"operands": "float32[2]"},
        {"operands": [["x"]]},
        {"form": 3},
        {"settings": ["x"]},
        {"platform": None},
        {"devices": "1"},
    ],
    ids=str,
)
def test_choices_hold_texts(field):
    wrong = [choice._replace(**field) for choice in other()]
    with pytest.raises(TypeError, match="prefer: a choice must hold texts"), prefer(wrong):
        pass


def test_within_a_traced_function_it_changes_nothing():
    def inside(x):
        with prefer(other()):
            return pooled(x)

    def text(run):
        run.__name__ = "run"
        return jax.jit(run).trace(X).lower(lowering_platforms=("cpu",)).as_text()

    assert text(inside) == text(lambda x: pooled(x))
    assert forms(inside, X, platform="cpu") == forms(pooled, X, platform="cpu")


def test_a_gpu_has_the_name_that_programs_are_lowered_for():
    with pytest.raises(ValueError, match="explain: platform must be 'cuda' or 'rocm' for a GPU, got 'gpu'"):
        explain(pooled, X, platform="gpu")
