"""Ctrl-C at any moment of a run: the first ends it with what was learnt, the second ends it at once."""

import signal
from contextlib import suppress

import jax
import numpy as np
import optax
import pytest

import jaxnn as nn
from jaxnn.training.device_loop import DeviceLoop

X = np.ones((8, 1), np.float32)


def press(times=1):
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)  # to this thread: of two sent to the process one may be lost


def fit(loss=optax.squared_error, **settings):
    run = {"key": jax.random.key(0), "epochs": 3, "batch_size": 4, "progress": False, **settings}
    return nn.fit(nn.dense(1), optax.sgd(0.1), loss, (X, X), **run)


@pytest.fixture(autouse=True)
def _the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler


def test_it_is_heard_within_a_batch_of_the_validation(capsys):
    seen = []

    def metric(prediction, target):
        def count(_):
            seen.append(1)
            if len(seen) == 7:  # four of training, and the third of the validation
                press()

        jax.debug.callback(count, prediction[0, 0])
        return prediction

    many = np.ones((4000, 1), np.float32)
    result = fit(epochs=1, batch_size=2, validation=(many, many), metrics={"metric": metric})
    assert len(seen) < 20
    assert result.history == {}
    assert "fit: interrupted after 4 steps; returning what was learnt so far" in capsys.readouterr().out


class Presses:
    """A moment of a run at which a key is pressed twice."""

    def in_a_trace(prediction, target):
        press(2)
        return optax.squared_error(prediction, target)

    def where_jax_makes_another_error_of_it(prediction, target):
        try:
            press(2)
        except KeyboardInterrupt as error:
            raise RuntimeError("INTERNAL: CpuCallback error") from error
        return optax.squared_error(prediction, target)

    def where_it_is_lost(prediction, target):
        with suppress(KeyboardInterrupt):
            press(2)
        return optax.squared_error(prediction, target)

    def and_a_third_time(prediction, target):
        try:
            press(2)
        except KeyboardInterrupt:
            press()
        return optax.squared_error(prediction, target)


@pytest.mark.parametrize("moment", [name for name in vars(Presses) if not name.startswith("_")])
@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_second_one_ends_the_run_in_a_plain_interrupt(moment, where, capsys):
    loss = getattr(Presses, moment)
    settings = {"loss": loss}
    if where == "validation":  # of batches of another size
        metric = lambda p, t: loss(p, t) if len(p) == 2 else p  # noqa: E731
        settings = {"metrics": {"metric": metric}, "validation": (X[:2], X[:2])}
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(**settings)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "returning" not in capsys.readouterr().out
    assert len(fit().history["loss"]) == 3, "the next run is whole"


def test_a_second_one_while_what_was_learnt_is_gathered(monkeypatch):
    """The first has been heard and the line about it is being printed."""
    monkeypatch.setattr("builtins.print", lambda *_, **__: press())

    def loss(prediction, target):
        press()
        return optax.squared_error(prediction, target)

    with pytest.raises(KeyboardInterrupt):
        fit(loss)


def test_an_interrupt_that_lost_the_state_returns_nothing(monkeypatch):
    """Where the handler is another's, it may raise within a step, which has taken the state by then."""

    def broken(self, state):
        for leaf in jax.tree.leaves(state.params):
            leaf.delete()
        raise KeyboardInterrupt

    monkeypatch.setattr(DeviceLoop, "advance", broken)
    with pytest.raises(KeyboardInterrupt):
        fit()
