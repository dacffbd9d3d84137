"""A real browser for the tests of pages: headless Chromium, driven by playwright.

One that is missing skips with a reason, except where `REQUIRED` is set, as `.ci/run` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "ACTIONBENCH_BROWSER_REQUIRED"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser; skip the test, or fail it if one is required, where none is installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        reason = f"no browser is installed (one of {', '.join(PROGRAMS)}): apt-get install chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Chromium's own sandbox does not start for root, as which CI runs.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page in a window of its own, and all that it asked for or complained about."""

    def __init__(self, browser: Any, file: Path, hash: str = "", **window: Any) -> None:
        self.context = browser.new_context(**window)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # for machines that do much else meanwhile
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda said: said.type == "error" and self.complaints.append(said.text),
        )
        self.address = file.resolve().as_uri()
        self.page.goto(self.address + (f"#{hash}" if hash else ""))
        self.page.wait_for_selector("html[data-ready]")

    @property
    def outside(self) -> list[str]:
        """What it requested besides itself and what stands in it."""
        folder = self.address.rsplit("/", 1)[0] + "/"
        return [r for r in self.requests if not r.startswith(("data:", folder))]

    def close(self) -> None:
        self.context.close()


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression of JavaScript is true.

    Asked from outside again and again: playwright's own `wait_for_function` repeats it by `eval` in
    the page, which the policy of these pages forbids.
    """
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never true: {expression}")
