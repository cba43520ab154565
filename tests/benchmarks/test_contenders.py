"""Every installed contender computes what the reference says, for every kind of layer and every net."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks import agreement, cases, contenders, nets, ops, specs, training, work
from benchmarks.contenders import Unsupported, onednn, plain, reference
from jaxnn.kernels.tune import Race
from tests.support import assert_close, deep, on_cpu

TINY = cases.select("tiny", [])
NETS = nets.select("tiny", [])
#: By default only these, since every library compiles each; other programs of the tests compare more of them.
FEW = ("convolution", "max pool", "LSTM")
FOUND = contenders.find()


def titled(thing):
    return thing.title


def programs(make):
    """The program of every contender that has one; jaxnn and lax always do."""
    for contender in FOUND:
        try:
            yield make(contender)
        except Unsupported:
            assert contender.name not in ("jaxnn", "lax")


@pytest.mark.parametrize("case", [case if case.name in FEW else deep(case) for case in TINY], ids=titled)
def test_outputs_and_gradients_agree(case):
    task, expected = ops.answers(case, "float32")
    for program in programs(lambda contender: contender.op(replace(task, mode="both"))):
        agreement.check(program.read(program.call()), expected["both"], 1e-5)


@pytest.mark.parametrize("dtype", ["float32", deep("bfloat16")])
@pytest.mark.parametrize("name", ["embedding", deep("convolution"), deep("batch norm"), deep("LSTM")])
def test_a_step_of_a_scan_gives_the_same(name, dtype):
    (case,) = cases.select("tiny", [name])
    task, expected = ops.answers(case, dtype)
    task = replace(task, mode="both", place="scan", steps=2)
    for program in programs(lambda contender: contender.op(task)):
        agreement.check(program.read(program.call()), expected["both"], agreement.tolerance(dtype, "cpu"))


@pytest.mark.deep
@pytest.mark.parametrize("net", NETS, ids=titled)
def test_losses_of_two_training_steps_agree(net):
    task = net.task(steps=2)
    expected = training.first_losses(task)
    # A GRU's second bias is trained by the contenders that have one.
    allowed = 1e-4 if "GRU" in net.name else 1e-5
    for program in programs(lambda contender: contender.step(task)):
        agreement.check(training.probe_steps(program), expected["top"], allowed)


@pytest.mark.deep
def test_losses_of_an_epoch_agree():
    task = replace(NETS[0].task(steps=3), place="epoch")
    expected = training.first_losses(task)
    for program in programs(lambda contender: contender.step(task)):
        agreement.check(training.probe_epoch(program), expected["epoch"], 1e-5)
        assert program.read(program.call())[0].shape == (3,)


def test_the_reference_has_forms_of_its_own_for_windows():
    for kind in (specs.Conv, specs.ConvTranspose, specs.Pool, specs.Resize):
        assert reference.FORMS[kind] is not plain.LAX[kind]


def test_resizing_by_matrices_keeps_what_is_constant():
    for method in ("nearest", "linear", "cubic"):
        matrix = plain.resize_matrix(5, 3, method)
        assert_close(matrix.sum(1), np.ones(15))


def test_options_of_the_compiler_change_the_program_alone(monkeypatch):
    (case,) = cases.select("tiny", ["convolution"])
    task, expected = ops.answers(case, "float32")
    seen = []
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f, **settings: seen.append(settings) or jit(f, **settings))
    monkeypatch.setattr(onednn, "found", lambda: True)  # an older jaxlib ignores the options
    for contender in contenders.find(["jaxnn + oneDNN", "lax + oneDNN"]):
        program = contender.op(replace(task, mode="both"))
        agreement.check(program.read(program.call()), expected["both"], 1e-5)
    assert [settings["compiler_options"] for settings in seen if "compiler_options" in settings] == [
        onednn.OPTIONS
    ] * 2
    monkeypatch.setattr(onednn, "found", lambda: False)
    assert contenders.find(["lax + oneDNN"]) == []


@on_cpu
def test_tuned_programs_have_the_forms_that_are_found(monkeypatch):
    (case,) = cases.select("tiny", ["max pool"])
    task, expected = ops.answers(case, "float32")
    monkeypatch.setattr(Race, "fastest", lambda race: race.listed._replace(form=race.listed.others[-1]))
    found = contenders.find(["jaxnn", "jaxnn tuned"])
    listed, tuned = (contender.op(replace(task, mode="both")) for contender in found)
    for program in (listed, tuned):
        agreement.check(program.read(program.call()), expected["both"], 1e-5)
    assert tuned.code() != listed.code()


@pytest.mark.parametrize("place", ["top", "epoch"])
def test_a_tuned_training_step_goes_on_from_call_to_call(monkeypatch, place):
    monkeypatch.setattr(Race, "fastest", lambda race: race.listed)
    task, losses = replace(training.task_of(NETS[0], 3), place=place), []
    for contender in contenders.find(["jaxnn", "jaxnn tuned"]):
        program = contender.step(task)
        losses.append([program.read(program.call()) for _ in range(3)])
    assert_close(*losses)


def test_jaxnn_and_lax_take_part_and_unknown_names_raise():
    assert [contender.name for contender in FOUND][:2] == ["jaxnn", "lax"]
    assert [contender.name for contender in contenders.find(["lax"])] == ["lax"]
    with pytest.raises(ValueError, match=r"contenders must be of jaxnn, lax, .* got keras"):
        contenders.find(["keras"])


@pytest.mark.parametrize("name", ["convolution", "batch norm", "PReLU", "LSTM", "embedding", "dropout"])
@pytest.mark.parametrize("gradients", [False, True])
def test_the_answer_of_a_repeated_batch_is_that_of_one_of_its_parts(name, gradients):
    (case,) = cases.select("tiny", [name])
    large = cases.large(case)
    assert (large.shape[0], large.steps) == (cases.MORE * case.shape[0], 2)
    assert large.repeats == (1 if name == "embedding" else cases.MORE)
    mode = "both" if gradients else "forward"
    program = contenders.find(["lax"])[0].op(replace(ops.task_of(large, "float32"), mode=mode))
    agreement.check(program.read(program.call()), ops.answer(large, "float32", mode, gradients), 1e-5)


def test_losses_of_a_repeated_batch_are_those_of_one_of_its_parts():
    net = next(net for net in NETS if net.name == "ResNet")
    large = nets.large(net)
    assert (large.shape[0], large.repeats) == (8 * net.shape[0], 8)
    whole = training.first_losses(large.task(2))
    for place, answer in training.losses_of(large, 2).items():
        np.testing.assert_allclose(answer.arrays[0], whole[place].arrays[0], rtol=1e-12)


def test_large_cases_are_the_real_ones_with_more_examples():
    real = cases.select("real", [])
    assert [(case.name, case.spec) for case in cases.LARGE] == [(case.name, case.spec) for case in real]
    factors = {
        large.title: large.shape[0] // case.shape[0] for large, case in zip(cases.LARGE, real, strict=True)
    }
    assert set(factors.values()) == {1, 2, 8}
    assert [title for title, factor in factors.items() if factor == 1] == ["softmax 1000, 512×1000"]
    assert len({(case.family, case.title) for case in cases.LARGE}) == len(cases.LARGE)
    assert cases.select("large", ["attention"]) == [c for c in cases.LARGE if c.family == "attention"]
    assert not {net.title for net in nets.select("large", [])} & {
        net.title for net in nets.select("real", [])
    }


@pytest.mark.parametrize(("precision", "fewer"), [(None, True), ("tensorfloat32", True), ("highest", False)])
def test_pytorch_multiplies_as_jax_does(precision, fewer):
    torch = pytest.importorskip("torch")
    from benchmarks.contenders import pytorch

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    pytorch.multiply_as(precision)
    found = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert found == (fewer, fewer)


@pytest.mark.parametrize("case", [*TINY, *cases.CASES], ids=titled)
def test_shapes_and_work_of_every_case(case):
    x, weights, cotangent = case.draw()
    assert x.shape == case.shape
    assert cotangent.shape == case.spec.out(case.shape)
    assert {name: w.shape for name, w in weights.items()} == case.spec.weights(case.shape)
    forward = work.flops(case.spec, case.shape, "forward")
    assert forward <= work.flops(case.spec, case.shape, "both") <= 3 * forward
    assert work.moved(case.spec, case.shape, "forward", "float32") > 0
    assert work.moved(case.spec, case.shape, "both", "float32") == 2 * work.moved(
        case.spec, case.shape, "both", "bfloat16"
    )


def test_operations_by_hand():
    conv = specs.Conv(3, padding=1, features=8, groups=2)
    assert conv.flops((2, 5, 5, 4)) == 2 * (2 * 5 * 5 * 8) * 9 * 2
    transposed = specs.ConvTranspose(4, 2, 1, features=8)
    assert transposed.out((2, 5, 5, 4)) == (2, 10, 10, 8)
    assert transposed.flops((2, 5, 5, 4)) == 2 * (2 * 5 * 5 * 4) * 16 * 8
    assert specs.Attention(2).flops((2, 5, 24)) == 2 * 2 * (2 * 5 * 5) * 8
    assert specs.Recurrent("gru", 8).flops((2, 5, 4)) == 2 * (2 * 5) * 24 * (4 + 8)


def test_case_names_are_unique():
    titles = [(case.family, case.title) for case in cases.CASES]
    assert len(set(titles)) == len(titles)
    assert {case.size for case in cases.CASES} == {"small", "real"}
