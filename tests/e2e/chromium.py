"""A headless Chromium and one page in it, over its own debugging protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)
START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 120.0


def program() -> str | None:
    """The browser to use, if this machine has one."""
    found = (shutil.which(name) for name in (os.environ.get("CHROMIUM", ""), *NAMES) if name)
    return next((path for path in found if path), str(MAC) if MAC.exists() else None)


class Page:
    """The one tab of a browser."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = count(1)

    def open(self, url: str) -> None:
        """Load a page; returns once it has loaded."""
        self._call("Page.enable")
        self._call("Page.navigate", url=url)
        self.run(
            "new Promise((done) => document.readyState === 'complete' "
            "? done() : addEventListener('load', () => done()))"
        )

    def run(self, script: str) -> Any:
        """The value of a script, awaited if it is a promise."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def look(self, *, width: int, height: int = 800, is_dark: bool = False) -> None:
        """Be a screen of this size in CSS pixels, with this colour scheme, that moves at once."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._call("Emulation.setEmulatedMedia", features=[scheme, motion])

    def screenshot(self, path: Path) -> None:
        """Keep what is on the screen as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(b64decode(shot["data"]))

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of the first element that fits, which is on the screen."""
        box = self.run(
            f"{{ const box = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect();"
            " ({ x: box.x + box.width / 2, y: box.y + box.height / 2 }); }"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)

    def press(self, key: str) -> None:
        """Type one key."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, text=key)

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(ANSWER_TIMEOUT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result


@contextmanager
def chromium(path: str, profile: Path) -> Iterator[Page]:
    """A browser of its own, its profile in a folder that may be thrown away."""
    log = profile / "log"
    with log.open("wb") as output:
        browser = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=output,
            stderr=output,
        )
    try:
        port = _port(browser, profile, log)
        with connect(_tab(port), max_size=None) as connection:
            yield Page(connection)
    finally:
        browser.terminate()
        browser.wait()


def _port(browser: subprocess.Popen[bytes], profile: Path, log: Path) -> int:
    told = profile / "DevToolsActivePort"
    give_up = time.monotonic() + START_TIMEOUT_S
    while not (told.exists() and told.read_text().strip()):
        assert browser.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < give_up, log.read_text(errors="replace")
        time.sleep(0.02)
    return int(told.read_text().split()[0])


def _tab(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        tabs = json.load(answer)
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
