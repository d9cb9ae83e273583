"""A headless Chromium, driven by its own protocol (Chrome DevTools Protocol) over a WebSocket."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

PROGRAM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One tab. Console messages, exceptions and requests are kept as they come."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        self._events: list[dict[str, Any]] = []
        self._log = (profile / "stderr").open("w+")
        command = [
            PROGRAM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            "--no-first-run",
        ]
        command += [f"--user-data-dir={profile}", "--hide-scrollbars", "--disable-dev-shm-usage", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._log)
        try:
            self._socket = self._stack.enter_context(connect(self._address(profile), max_size=None, open_timeout=30))
            [target] = [t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
            attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            self._session: str | None = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _address(self, profile: Path) -> str:
        self._session = None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := re.search(r"DevTools listening on (ws://\S+)", (profile / "stderr").read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"Chromium did not start: {(profile / 'stderr').read_text()[-2000:]}")

    def focus(self) -> None:
        """Let pages believe that somebody looks at them: what waits for the focus goes on."""
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            reply = self._receive()
            if reply.get("id") == number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    def _receive(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
        event, values = reply.get("method"), reply.get("params", {})
        if event:
            self._events.append(reply)
        if event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(values["exceptionDetails"]))
        elif event == "Log.entryAdded" and values["entry"]["level"] in {"error", "warning"}:
            self.errors.append(values["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and values["type"] in {"error", "warning", "assert"}:
            self.errors.append(str(values["args"]))
        return reply

    def open(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        self._call("Page.navigate", url="about:blank")
        self.errors.clear()
        self.requests.clear()
        self._events.clear()
        self._call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events) or (
            self.evaluate("location.href") == "about:blank"
        ):
            self._receive()
        # Loaded is not laid out yet: a screenshot too early is refused.
        deadline = time.monotonic() + 30
        while not self.evaluate(
            "new Promise(done => requestAnimationFrame(() => done(document.documentElement.clientWidth)))"
        ):
            assert time.monotonic() < deadline

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """The size of the window in CSS pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def emulate(self, *, scheme: str = "light", media: str = "") -> None:
        """Light or dark; screen or print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"clip": {**size, "scale": 1}} if whole else {}
        data = self._call("Page.captureScreenshot", captureBeyondViewport=whole, format="png", **clip)
        path.write_bytes(base64.b64decode(data["data"]))

    def pdf(self, path: Path) -> None:
        """The printed page, with the page's own paper size."""
        data = self._call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(data["data"]))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(Exception):
            self._stack.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
