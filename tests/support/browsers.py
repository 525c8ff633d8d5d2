"""A real browser, and what is wrong with a page in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_CHROMIUM = "/usr/bin/chromium"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield Debian's Chromium; as root it has no sandbox."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        yield browser
        browser.close()


def listen_to(page: Page | BrowserContext, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Return a list to which all is added that a page complains of: errors, refusals of its policy, dialogs."""
    told: list[str] = []

    def add(text: str) -> None:
        if not any(part in text for part in ignore):
            told.append(text)

    page.on("console", lambda message: add(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: add(dialog.message))
    if not hasattr(page, "new_page"):
        page.on("pageerror", lambda error: add(str(error)))
    else:
        page.on("weberror", lambda error: add(str(error.error)))
    return told


def serious_findings(page: Page) -> list[tuple[str, str, Any]]:
    """Return what axe finds that keeps people out, and where; the page has to be opened with `bypass_csp`."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 15
    return [
        (one["id"], one["help"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
