"""The time line, the plots and the failures of a job on the page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browsers import listen_to, open_browser
from support.farm_servers import TOKEN, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.report_pages import parse

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


def opened(browser: Browser, server: FarmServer, job_id: str) -> Page:
    """Return a new page with the times of a job."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{server.url}/#{TOKEN}")
    page.get_by_role("status").filter(has_text="Live").wait_for()
    page.evaluate("path => { location.hash = path }", f"#/job/{job_id}/times")
    return page


def test_what_happens_is_drawn_while_what_is_looked_at_stays(tmp_path: Path, browser: Browser) -> None:
    scripts = ["echo 'a <b>bad</b> day' >&2; exit 3", held(tmp_path, "first"), held(tmp_path, "second")]
    with serving(tmp_path, slots=1) as server:
        job_id = submit(server, *scripts, settings={"failFast": False})
        page = opened(browser, server, job_id)
        told = listen_to(page)
        page.locator("rect.running[data-chunk='1']").wait_for()
        failure = page.get_by_role("article")
        failure.get_by_text("a <b>bad</b> day", exact=True).wait_for()
        failure.get_by_role("button", name="Chunk 0").focus()
        page.evaluate("window.seen = document.querySelector(\"rect[data-chunk='1']\")")
        page.evaluate("scrollTo(0, 200)")
        place = page.evaluate("scrollY")
        assert place > 0
        open_gate(tmp_path, "first")
        page.locator("rect.completed[data-chunk='1']").wait_for()
        page.locator("rect.running[data-chunk='2']").wait_for()
        assert page.evaluate("seen.isConnected && seen.classList.contains('completed')")
        assert page.evaluate("document.activeElement.dataset.chunk") == "0"
        assert page.evaluate("scrollY") == place
        open_gate(tmp_path, "second")
        page.locator("rect.completed[data-chunk='2']").wait_for()
        page.locator(".times dd").get_by_text("2 of 3").wait_for()
        assert told == []
        page.close()


def test_a_click_on_a_bar_a_dot_or_a_failure_opens_its_chunk(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "sleep 0.3", "sleep 0.2; exit 3", "sleep 0.1", settings={"failFast": False})
        ended(server, job_id)
        page = opened(browser, server, job_id)
        for what, chunk_id in (("rect[data-chunk='0']", 0), ("circle[data-chunk='2']", 2), ("article button", 1)):
            page.locator(what).first.click()
            page.wait_for_url(f"**/#/job/{job_id}/chunks/{chunk_id}")
            page.go_back()
        page.close()


def test_the_whole_report_is_saved_by_a_click(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "true")
        ended(server, job_id)
        page = opened(browser, server, job_id)
        with page.expect_download() as download:
            page.get_by_role("link", name="Report").click()
        assert download.value.suggested_filename == f"report-{job_id}.html"
        assert parse(download.value.path().read_text()).section("time-line") is not None
        page.close()


def test_a_job_that_has_not_begun_is_said_to_be_one(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        first = submit(server, held(tmp_path, "go"))
        page = opened(browser, server, submit(server, "true", after=[first]))
        page.get_by_text("Nothing has begun.").wait_for()
        open_gate(tmp_path, "go")
        page.get_by_text("1 of 1", exact=True).wait_for()
        # It is taken away once all parts have been asked for.
        page.get_by_text("Nothing has begun.").wait_for(state="detached")
        page.close()


def test_what_no_report_has_is_taken_out_of_markup(tmp_path: Path, browser: Browser) -> None:
    hostile = (
        "<p onclick='x()' style='a:b' class=about>text<script>x()</script><img src=x onerror=x()></p><a href=x>l</a>"
        "<svg onload=x()><use href='#x'/><a href='javascript:x()'><rect width=1 /></a><circle r=3 /></svg>"
        "<iframe></iframe>"
    )
    with serving(tmp_path) as server:
        page = opened(browser, server, submit(server, "true"))
        read = "async html => (await import('/page/markup.js')).readMarkup(html).innerHTML"
        assert page.evaluate(read, hostile) == ('<p class="about">text</p><svg><circle r="3"></circle></svg>')
        page.close()
