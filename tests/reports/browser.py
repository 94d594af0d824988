"""Chromium without a window, driven by ChromeDriver's W3C WebDriver protocol over HTTP.

Needs Debian's packages chromium and chromium-driver. Where they are missing a test is skipped, and fails if `CI` is set.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
STARTED = re.compile(r"started successfully on port (\d+)")


class Browser:
    """One tab. Raises RuntimeError with the driver's own words when a command fails."""

    def __init__(self, port: int, profile: Path) -> None:
        self.address = f"http://127.0.0.1:{port}/session"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        found = self.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/{found['sessionId']}"

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        """One command of the protocol and its value."""
        body = None if method in ("GET", "DELETE") else json.dumps(content or {}).encode()
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def devtools(self, command: str, **parameters: object) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, path: Path, width: int, theme: str = "light") -> None:
        """Load a file in a window of this width, for a reader who prefers the theme."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False
        )
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.logged("browser")  # what an earlier page has logged
        self.logged("performance")
        self.ask("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        """The value that the body of a function returns in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """The log entries since the last call."""
        entries: list[dict[str, Any]] = self.ask("POST", "/se/log", {"type": kind})
        return entries

    def requested(self) -> list[str]:
        """The addresses that the page has asked for since it was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        sent = [each["params"] for each in events if each["method"] == "Network.requestWillBeSent"]
        # The browser's own first page may still be loading.
        return [each["request"]["url"] for each in sent if not each.get("documentURL", "").startswith("chrome:")]

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in `folder`; both its processes end with the block."""
    missing = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    if missing:
        sentence = f"{' and '.join(missing)} is not installed: scripts/install-test-tools.sh"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            port = next((found[1] for line in driver.stdout if (found := STARTED.search(line))), None)
            assert port is not None, "chromedriver ended at its start"
            browser = Browser(int(port), folder)
            try:
                yield browser
            finally:
                browser.ask("DELETE", "")
        finally:
            driver.terminate()
