"""A headless Chromium or Chrome, spoken to over a pipe by the DevTools protocol: no driver, no package."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The browser of this machine: that of ``CHROMIUM``, or one on the path."""
    given = os.environ.get("CHROMIUM")
    return next((path for name in ([given] if given else NAMES) if (path := shutil.which(name))), None)


class Seen(NamedTuple):
    """What went wrong on pages since the last look: messages, and addresses that are not files."""

    errors: list[str]
    requests: list[str]


class Tab:
    """One tab. ``evaluate`` returns the value of an expression in the page."""

    def __init__(self, send: int, receive: int) -> None:
        self.output, self.input = os.fdopen(send, "wb"), os.fdopen(receive, "rb")
        self.number, self.session, self.left = 0, "", b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; events that come before its answer are kept."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.output.write(json.dumps(message).encode() + b"\0")
        self.output.flush()
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.left:
            more = os.read(self.input.fileno(), 1 << 16)
            if not more:
                raise RuntimeError("the browser has gone")
            self.left += more
        line, _, self.left = self.left.partition(b"\0")
        return json.loads(line)

    def wait(self, method: str) -> None:
        """Until an event of that name has come since the last ``open``."""
        while not any(event.get("method") == method for event in self.events[self.mark :]):
            self.events.append(self.read())

    def open(self, address: str) -> None:
        self.mark = len(self.events)
        self.call("Page.navigate", url=address)
        self.wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def dark(self, dark: bool) -> None:
        """What the reader's system prefers."""
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def seen(self) -> Seen:
        """What went wrong so far."""
        errors, requests = [], []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                errors.append(params["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
                errors.append(" ".join(str(a.get("value", a)) for a in params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    requests.append(url)
        return Seen(errors, requests)


@contextlib.contextmanager
def tab(browser: str) -> Iterator[Tab]:
    """A browser with an empty profile and one tab, ended at the end."""
    theirs_in, send = os.pipe()
    receive, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu",
            "--no-first-run", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars",
        ]  # fmt: skip
        # The protocol's file numbers are 3 and 4.
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        process = subprocess.Popen(
            ["sh", "-c", command, browser, *flags],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Tab(send, receive)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":  # prints the browser that would be taken; fails without one
    sys.exit(0 if (found := find()) and not print(found) else 1)
