"""Ctrl-C between two steps, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def delayed_interrupt() -> Iterator[Callable[[], None]]:
    """Holds a ``KeyboardInterrupt`` back until the function that it yields is called.

    A step donates the state that it is given: an interrupt in its midst would lose both the old state and
    the new one. A second Ctrl-C does not wait. Outside the main thread, where no signal arrives, and where
    the handler is not Python's own, nothing changes.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None
        return

    pending = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        pending = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def release() -> None:
        if pending:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hold)
    try:
        yield release
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
