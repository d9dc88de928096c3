"""A headless Chromium, driven through chromedriver's own protocol (W3C WebDriver) without a package for it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


class Browser:
    """One window."""

    def __init__(self, root: str) -> None:
        self._root = root

    @classmethod
    def open(cls, server: str) -> Browser:
        """A window of a driver that listens."""
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        found = _post(f"{server}/session", {"capabilities": {"alwaysMatch": wanted}})
        return cls(f"{server}/session/{found['sessionId']}")

    def go(self, path: Path) -> None:
        """Open a file."""
        _post(f"{self._root}/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        """The value of a script's `return`."""
        return _post(f"{self._root}/execute/sync", {"script": script, "args": []})

    def click(self, selector: str) -> None:
        """Click as a person would: what is covered or hidden cannot be clicked."""
        _post(f"{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field; or press keys on what has the focus."""
        _post(f"{self._element(selector)}/value", {"text": text})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since the last call: `browser` or `performance`."""
        found: list[dict[str, Any]] = _post(f"{self._root}/se/log", {"type": kind})
        return found

    def tell(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return _post(f"{self._root}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, width: int, dark: bool) -> None:
        """A screen of a width in CSS pixels, and what its owner prefers: colours, and that nothing glides."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme, still])

    def screenshot(self, path: Path) -> None:
        """A PNG of the whole page."""
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        _post(self._root, {}, "DELETE")

    def _element(self, selector: str) -> str:
        found = _post(f"{self._root}/element", {"using": "css selector", "value": selector})
        return f"{self._root}/element/{next(iter(found.values()))}"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A window of a driver of its own; both end with the block."""
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert driver.stdout is not None
        said = (re.search(r"started successfully on port (\d+)", line) for line in driver.stdout)
        port = next(found[1] for found in said if found)
        browser = Browser.open(f"http://127.0.0.1:{port}")
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait()


def _post(url: str, content: dict[str, Any], method: str = "POST") -> Any:
    body = json.dumps(content).encode() if method == "POST" else None
    request = Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from error
