"""Ctrl-C and SIGTERM between two steps, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """What ``delayed_interrupt`` yields: calling it raises a ``KeyboardInterrupt`` that was held back."""

    def __init__(self) -> None:
        self.count = 0  #: how often Ctrl-C was pressed
        self.at_once = False  #: whether none is held back just now

    def __call__(self) -> None:
        if self.count:
            raise KeyboardInterrupt

    @property
    def insistent(self) -> bool:
        """Whether Ctrl-C was pressed a second time: then the run ends at once, and nothing is returned."""
        return self.count > 1


@contextmanager
def delayed_interrupt() -> Iterator[Interrupt]:
    """Holds a ``KeyboardInterrupt`` back until what it yields is called.

    A step donates the state that it is given: an interrupt during it would lose both the old state and
    the new one. A second Ctrl-C does not wait. It may arrive anywhere, also where JAX turns it into another
    error; in any case a plain ``KeyboardInterrupt`` is raised. Outside the main thread, which alone receives
    signals, and where the handler is not Python's own, nothing changes.
    """
    interrupt = Interrupt()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return

    def hold(number: int, frame: FrameType | None) -> None:
        interrupt.count += 1
        if interrupt.insistent:
            # From here on Python's own handler is set, so that nothing needs restoring if more signals come.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if interrupt.insistent or interrupt.at_once:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hold)
    try:
        yield interrupt
    except BaseException:
        if interrupt.insistent:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupt.insistent:
        raise KeyboardInterrupt


class Termination:
    """What ``delayed_termination`` yields: calling it raises a ``SystemExit`` if there was a SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        self.at_once = False  #: whether none is held back just now

    def __call__(self) -> None:
        if self.asked:
            raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def delayed_termination(wanted: bool = True) -> Iterator[Termination]:
    """Holds SIGTERM, by which machines are taken back, until what it yields is called.

    Outside the main thread, which alone receives signals, or where it is not wanted, nothing changes.
    """
    termination = Termination()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield termination
        return

    def hold(number: int, frame: FrameType | None) -> None:
        termination.asked = True
        if termination.at_once:
            termination()

    before = signal.signal(signal.SIGTERM, hold)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, before)
