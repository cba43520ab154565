"""A process of its own for work that may crash or never end: questions go in as JSON lines, answers come out.

``Worker`` is the asking side. The process answers a question ``{"call": "module:function", "with": {…}}``
with what that function of ``benchmarks`` returns. It lives until it is closed, crashes, or is stopped because
it took too long; the next question then starts a new one.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "benchmarks.worker")


class Crashed(Exception):
    """The process died before it answered; the text says how."""


class TooSlow(Exception):
    """The process was stopped since it had not answered in time."""


class Failed(Exception):
    """The function raised; the text is the exception's type and first line."""


class Worker:
    """A process that answers one question after the other.

    Args:
      platform: of JAX in it; None for its own choice.
      command: what starts it.
    """

    def __init__(self, platform: str | None = None, command: Sequence[str] = COMMAND) -> None:
        self.platform, self.command = platform, command
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, call: str, *, timeout: float, **arguments: Any) -> Any:
        """What ``benchmarks.<module>:<function>`` returns; raises ``Failed``, ``Crashed`` or ``TooSlow``."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"call": call, "with": arguments}) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close(kill=True)
            raise TooSlow(f"stopped after {timeout:.0f} s") from None
        except BrokenPipeError:
            line = None
        except BaseException:  # Ctrl-C: whatever it was doing is not wanted any more
            self.close(kill=True)
            raise
        if line is None:
            raise Crashed(self._how_it_died())
        answer = json.loads(line)
        if "raised" in answer:
            raise Failed(answer["raised"])
        return answer["returned"]

    def close(self, *, kill: bool = False) -> None:
        """Ends the process."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        if kill:
            process.kill()
        try:
            process.stdin.close()  # the end of its questions
            process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        self._reader.join()
        assert process.stdout is not None
        process.stdout.close()
        self._errors.close()

    def _start(self) -> None:
        # Several processes may share an accelerator: none may take its whole memory.
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
        if self.platform:
            environment["JAX_PLATFORMS"] = self.platform
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 — closed with the process
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True, encoding="utf-8", cwd=ROOT, env=environment,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True)
        self._reader.start()

    def _how_it_died(self) -> str:
        assert self._process is not None
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        self.close()
        try:
            how = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        except ValueError:
            how = f"died of signal {-status}"
        return f"{how}: {lines[-1]}"[:200] if lines else how


def not_started(error: Exception) -> str:
    """Why the first question of a process was not answered: its own words about the platform, if it had any.

    >>> not_started(Crashed("ended with status 1: --platform: JAX finds no 'tpu' here"))
    "--platform: JAX finds no 'tpu' here"
    """
    before, sign, after = str(error).partition("--platform")
    return sign + after if sign else f"--platform: JAX did not start in a process of its own ({before})"


def _read(file: TextIO, lines: "queue.Queue[str | None]") -> None:
    for line in file:
        lines.put(line)
    lines.put(None)


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What a question's function returns, or the exception it raised as text."""
    module, _, function = question["call"].partition(":")
    try:
        return {"returned": getattr(import_module(f"benchmarks.{module}"), function)(**question["with"])}
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return {"raised": f"{type(error).__name__}: {lines[0]}"[:200]}


def main() -> None:
    """The process: what anything prints goes to stderr, so that only answers reach the asking side."""
    from benchmarks import environment

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    environment.select(None)
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
