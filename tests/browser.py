"""A headless Chromium for tests of pages, where it is installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# Nothing is asked of anybody: no updates, no synchronisation, no start page.
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run", "disable-quic")


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Skips the test where there is none. `profile` is an empty folder of its own."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = binary
    # Containers have neither a sandbox nor much shared memory.
    for name in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}", *QUIET):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options, ChromeService(driver)) as opened:
        yield Browser(opened)


class Browser:
    """What tests ask of a browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Opens a page from disk, in a window of this width."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.complaints()
        self.requests()
        self.driver.get(page.absolute().as_uri())

    def complaints(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """The addresses asked for since the last call, but for data within the page and the browser's own pages."""
        entries = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        asked = [item["params"]["request"]["url"] for item in messages if item["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("data:", "chrome:"))]

    def ask(self, script: str) -> Any:
        """What an expression of JavaScript gives."""
        return self.driver.execute_script(f"return {script}")


def check_page(browser: Browser, page: Path) -> None:
    """What must hold of every page, at three widths and in both schemes."""
    for width, dark in ((1200, False), (768, True), (375, False), (375, True)):
        browser.open(page, width=width, dark=dark)
        asked, complaints = browser.requests(), browser.complaints()
        assert asked == [page.absolute().as_uri()], asked
        assert complaints == [], complaints
        # Only tables and code may be wider than the window, in regions of their own.
        assert browser.ask("document.documentElement.scrollWidth") <= width
    ids = browser.ask("[...document.querySelectorAll('[id]')].map((item) => item.id)")
    assert len(set(ids)) == len(ids)
    assert browser.ask(UNNAMED) == []
    assert browser.ask("document.querySelectorAll('h1').length") == 1


# Pictures without a text, links to nowhere, and choices without a label.
UNNAMED = """[
  ...[...document.querySelectorAll('svg[role=img]')].filter((item) => !item.querySelector('title')?.textContent),
  ...[...document.querySelectorAll('img')].filter((item) => !item.alt),
  ...[...document.querySelectorAll('a[href^="#"]')].filter((item) => !document.getElementById(item.hash.slice(1))),
  ...[...document.querySelectorAll('select')].filter((item) => !item.labels.length),
].map((item) => item.outerHTML)"""
