"""A real browser for tests: Debian's Chromium without a window, driven over its DevTools
protocol.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 60
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_LISTENING = re.compile(r"DevTools listening on (ws://\S+)")


class Chromium:
    """One browser with one tab.

    Everything that the tab complains about or asks the network for is kept.
    """

    def __init__(self, profile: Path) -> None:
        assert BINARY is not None
        self._process = subprocess.Popen(
            [BINARY, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        address = next(
            found[1] for line in self._process.stderr if (found := _LISTENING.search(line))
        )
        # a pipe that nobody empties would hold the browser up
        self._reader = threading.Thread(target=self._process.stderr.read)
        self._reader.start()
        self._connected = ExitStack()
        # no pings: a browser that draws a large page answers late
        socket = connect(address, max_size=None, open_timeout=PATIENCE_S, ping_interval=None)
        self._socket = self._connected.enter_context(socket)
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loads = 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """A command's result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        self._socket.send(
            json.dumps(message | ({"sessionId": self._session} if self._session else {}))
        )
        while (answer := self._receive()).get("id") != number:
            continue
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """A screen of so many CSS pixels, twice as many of its own."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Load a page, to its end."""
        loads = self._loads
        self.send("Page.navigate", url=url)
        self._loaded(loads)
        if (
            self.evaluate("location.href") == "about:blank"
        ):  # what has loaded was the empty page of a new tab
            self._loaded(loads + 1)

    def click(self, selector: str) -> None:
        """Follow a link or send a form, until the next page has loaded."""
        loads = self._loads
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self._loaded(loads)

    def fill(self, selector: str, text: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def evaluate(self, expression: str) -> Any:
        result = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        clip: dict[str, Any] = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip["clip"] = {
                "x": 0,
                "y": 0,
                "width": size["width"],
                "height": size["height"],
                "scale": 1,
            }
        image = self.send(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip
        )
        path.write_bytes(base64.b64decode(image["data"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connected.close()
        self._process.terminate()
        self._reader.join()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _loaded(self, loads: int) -> None:
        while self._loads == loads:
            self._receive()

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE_S))
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(f"{params['entry']['source']}: {params['entry']['text']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"console.{params['type']}: {params['args']}")
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {params['message']}")
        return message
