"""The system's Chromium, which the browser tests drive by Playwright, and pages that are opened in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str:
    """$CHROMIUM, or the first of `NAMES` on the path; the test fails where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("no Chromium here: install it (apt install chromium) or set CHROMIUM to its path")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium, as Playwright's `Browser`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path())
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = 1280, theme: str = "light", **settings: Any) -> Iterator[Any]:
    """The file in a tab `width` pixels wide, as Playwright's `Page`.

    At the end: neither an error nor a warning on the console, and no request but that for the file.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **settings)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda one: said.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = path.resolve().as_uri()
    page.goto(address, wait_until="load")
    yield page
    context.close()
    assert said == []
    assert [one for one in asked if not one.startswith("data:")] == [address]
