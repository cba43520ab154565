"""A process that answers, raises, dies and hangs. No JAX in it: the functions it calls are stand-ins."""

import sys

import pytest

from benchmarks import environment
from benchmarks.worker import Crashed, Failed, TooSlow, Worker, answer

PROGRAM = """
import json, os, signal, sys, time
def function(how, value=None):
    if how == "die":
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "leave":
        os._exit(3)
    if how == "hang":
        time.sleep(60)
    return [value, os.getpid()]
for line in sys.stdin:
    print(json.dumps({"returned": function(**json.loads(line)["with"])}), flush=True)
"""


def test_a_worker_answers_dies_hangs_and_answers_again():
    with Worker(command=[sys.executable, "-c", PROGRAM]) as worker:
        first, process = worker.ask("m:f", timeout=30, how="answer", value=1)
        assert first == 1
        assert worker.ask("m:f", timeout=30, how="answer", value=2) == [2, process]
        with pytest.raises(Crashed, match="died of SIGSEGV: the last words"):
            worker.ask("m:f", timeout=30, how="die")
        again, another = worker.ask("m:f", timeout=30, how="answer", value=3)
        assert again == 3
        assert another != process
        with pytest.raises(Crashed, match="ended with status 3"):
            worker.ask("m:f", timeout=30, how="leave")
        with pytest.raises(TooSlow, match="stopped after 0 s"):
            worker.ask("m:f", timeout=0.1, how="hang")
        assert worker.ask("m:f", timeout=30, how="answer", value=4)[0] == 4


def test_a_question_is_answered_by_the_function_or_with_its_exception():
    assert answer({"call": "tables:seconds", "with": {"value": 2.0}}) == {"returned": "2.00 s"}
    raised = answer({"call": "record:load", "with": {"path": "/nothing"}})["raised"]
    assert raised.startswith("FileNotFoundError: ")
    assert "raised" in answer({"call": "no_such_module:f", "with": {}})


def test_an_exception_is_handed_on():
    program = 'import sys; [print(\'{"raised": "ValueError: no"}\', flush=True) for line in sys.stdin]'
    handed_on = pytest.raises(Failed, match="ValueError: no")
    with Worker(command=[sys.executable, "-c", program]) as worker, handed_on:
        worker.ask("m:f", timeout=30)


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("cpu", "cpu", True),
        ("cuda", "gpu", True),
        ("cuda", "cpu", False),
        ("cuda,cpu", "cpu", True),
        (None, "cpu", True),
    ],
)
def test_a_platform_that_is_missing_is_not_replaced_by_the_cpu(wanted, found, fits, monkeypatch):
    given = {}
    monkeypatch.setattr(environment.jax.config, "update", lambda name, value: given.update({name: value}))
    monkeypatch.setattr(environment.jax, "default_backend", lambda: found)
    if fits:
        environment.select(wanted)
        assert given == ({"jax_platforms": "cpu" if wanted == "cpu" else "cuda,cpu"} if wanted else {})
    else:
        with pytest.raises(SystemExit, match="--platform: JAX finds no 'cuda' here"):
            environment.select(wanted)
