"""A headless Chromium for tests, over the pipe of its DevTools protocol: no driver and no package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
PATIENCE = 20.0  # seconds for one answer
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowRight": (39, ""), "ArrowDown": (40, "")}
SHIFT = 8


class Browser:
    """One browser with one tab, cut off from the network. Every request that the tab wants to make is in `requests`."""

    def __init__(self, profile: Path) -> None:
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        ends = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs_read, theirs_write)]
        flags = ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run", "hide-scrollbars")
        command = [PROGRAM, *(f"--{one}" for one in (*flags, "remote-debugging-pipe", f"user-data-dir={profile}"))]
        # The protocol lives on descriptors 3 and 4 of the browser; all others close by themselves.
        self.process = subprocess.Popen(
            command,
            close_fds=False,
            preexec_fn=lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for one in (theirs_read, theirs_write, *ends):
            os.close(one)
        self.incoming, self.outgoing = ours_read, ours_write
        self.waiting, self.number, self.session = b"", 0, ""
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.complaints: list[str] = []
        self.blocked: list[str] = []  # why requests never left, such as csp
        self.loads = 0
        tab = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self.incoming)
        os.close(self.outgoing)

    def ask(self, method: str, /, **values: Any) -> Mapping[str, Any]:
        """One command of the protocol and its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": values}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.outgoing, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            said = self._next(until, method)
            if said.get("id") == self.number:
                assert "error" not in said, (method, said.get("error"))
                return dict(said["result"])
            self._heard(said)

    def _next(self, until: float, waited_for: str) -> Mapping[str, Any]:
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.incoming], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self.incoming, 1 << 20) if ready else b""
            assert more, f"the browser did not answer {waited_for}"
            self.waiting += more
        line, _, self.waiting = self.waiting.partition(b"\0")
        return dict(json.loads(line))

    def _heard(self, said: Mapping[str, Any]) -> None:
        event, values = said.get("method"), said.get("params", {})
        if event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        if event == "Network.loadingFailed" and values.get("blockedReason"):
            self.blocked.append(values["blockedReason"])
        if event == "Page.javascriptDialogOpening":
            self.dialogs.append(values["message"])
            self.ask("Page.handleJavaScriptDialog", accept=True)
        if event == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"].get("text")))
        if event == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.complaints.append(values["entry"]["text"])
        if event == "Page.loadEventFired":
            self.loads += 1

    def open(self, page: Path) -> None:
        """Show a file, and wait until it is there."""
        before, until = self.loads, time.monotonic() + PATIENCE
        self.ask("Page.navigate", url=page.as_uri())
        while self.loads == before:
            self._heard(self._next(until, "Page.navigate"))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """The size of the window, in CSS pixels; below 600 it is a phone."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                 mobile=width < 600)  # fmt: skip

    def scheme(self, name: str) -> None:
        """What the person prefers: light or dark."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def script(self, works: bool) -> None:
        """Whether pages opened from now on may run scripts."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not works)

    def press(self, key: str, shift: bool = False) -> None:
        """One key down and up."""
        code, text = KEYS[key]
        values = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": SHIFT * shift}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **values)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **values)

    def point(self, x: float, y: float, click: bool = False) -> None:
        """Move the mouse to a place in the window, and press its button there."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, place: Path) -> None:
        """All of the page, from top to bottom, as PNG."""
        box = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        place.write_bytes(base64.b64decode(shot["data"]))
