"""A headless Chromium, spoken to over a pipe: the DevTools protocol without a library or a port."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# Chromium reads orders from descriptor 3 and answers on 4.
_WIRED = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
_SECONDS = 30


class Page:
    """One tab, and all it reported."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _order(self, method: str, parameters: dict[str, Any]) -> None:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._orders, json.dumps(message).encode() + b"\0")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._order(method, parameters)
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, width: int, height: int, scheme: str, mobile: bool = False) -> None:
        self.visit(path.as_uri(), width, height, scheme, mobile)

    def visit(self, url: str, width: int, height: int, scheme: str, mobile: bool) -> None:
        self.emulate(width, height, scheme, mobile)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def emulate(self, width: int, height: int, scheme: str, mobile: bool) -> None:
        """Another screen and colour scheme; the page that is open follows."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def value(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, whole: bool = False) -> bytes:
        area: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            area = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.call("Page.captureScreenshot", **area)["data"])

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        middle = tuple((a + b) / 2 for a, b in zip(start, stop, strict=True))
        steps = (("mousePressed", start), ("mouseMoved", middle), ("mouseMoved", stop))
        for kind, (x, y) in (*steps, ("mouseReleased", stop)):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
                buttons=1,
            )

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else ""
            )

    def tab(self, times: int) -> None:
        """Press Tab so many times, without waiting for each."""
        key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self._order("Input.dispatchKeyEvent", {"type": kind, **key})
        self.value("0")  # answered after them

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _SECONDS
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], deadline - time.monotonic())
            assert ready, f"Chromium said nothing for {_SECONDS} s"
            data = os.read(self._answers, 1 << 20)
            assert data, "Chromium ended"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """Start a browser with a fresh profile; it ends with the block."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["sh", "-c", _WIRED, "sh", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdin
            assert process.stdout
            try:
                yield Page(process.stdin.fileno(), process.stdout.fileno())
            finally:
                process.kill()
