"""The page as it is after hours: tabs that were hidden, clocks that are wrong, servers that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsers import listen_to, open_browser
from support.farm_servers import TOKEN, FarmServer, ended, serving, submit
from support.farms import held, open_gate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


def opened(browser: Browser, server: FarmServer, path: str = "", *, script: str = "", **options: Any) -> Page:
    """Return a page with the farm that ran a script before its own."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
    if script:
        page.add_init_script(script)
    page.goto(f"{server.url}/#{TOKEN}")
    page.get_by_role("status").filter(has_text="Live").wait_for()
    go_to(page, path)
    return page


def go_to(page: Page, path: str) -> None:
    """Have the page show another part."""
    page.evaluate("path => { location.hash = path }", path)


def test_the_skip_link_leads_to_the_content_and_nobody_is_asked_for_the_token(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        page = opened(browser, server)
        page.get_by_text("There is no job yet").wait_for()
        told = listen_to(page)
        page.get_by_role("link", name="Skip to the content").press("Enter")
        page.wait_for_function("document.activeElement.id === 'main'")
        page.wait_for_timeout(300)
        assert page.get_by_text("There is no job yet").count() == 1
        assert told == []
        page.close()


def test_a_question_is_closed_by_going_back_and_then_does_nothing(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "exit 0", name="shot")
        ended(server, job_id)
        page = opened(browser, server)
        page.get_by_role("link", name="shot").click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").wait_for()
        page.go_back()
        page.get_by_role("link", name="shot").wait_for()
        page.get_by_role("dialog").wait_for(state="detached")
        assert server.send("GET", f"/api/v1/jobs/{job_id}").status == 200
        page.close()


@pytest.mark.parametrize("hours", [-1, 1])
def test_times_are_right_where_the_clock_of_the_browser_is_not(tmp_path: Path, browser: Browser, hours: int) -> None:
    script = f"const now = Date.now; Date.now = () => now() + {hours * 3_600_000};"
    with serving(tmp_path) as server:
        job_id = submit(server, held(tmp_path, "gate"))
        page = opened(browser, server, f"#/job/{job_id}/chunks/0", script=script)
        page.get_by_text(re.compile(r"running for \d+(\.\d+)? s")).wait_for()
        page.get_by_text(re.compile(r"[1-9]\d*(\.\d+)? s so far")).wait_for()
        open_gate(tmp_path, "gate")
        page.close()


def test_chunks_whose_ids_fall_take_no_longer(tmp_path: Path, browser: Browser) -> None:
    count = 100_000
    grid = {"ids": [[n, n] for n in range(count, 0, -1)], "states": "p" * count, "lastEvent": 0}
    changes = """count => {
      const list = [];
      for (let id = 1; id <= 40000; id += 1)
        list.push({ id, change: { chunkId: (id * 7919) % count + 1, state: "running", details: {} } });
      return list;
    }"""
    with serving(tmp_path) as server:
        page = opened(browser, server)
        page.route("**/grid", lambda route: route.fulfill(json=grid))
        took = page.evaluate(
            f"""async count => {{
              const {{ createChunkGrid }} = await import("/page/chunk_grid.js");
              const grid = createChunkGrid({{ jobId: "job", onSelect() {{}} }});
              document.body.append(grid.element);
              while (!grid.element.textContent.includes("100,000 pending")) await new Promise(requestAnimationFrame);
              const messages = ({changes})(count);
              const began = performance.now();
              grid.messages(messages);
              return performance.now() - began;
            }}""",
            count,
        )
        page.get_by_role("button", name="40,000 running").wait_for()
        assert took < 3000
        page.close()


def test_a_job_that_was_left_is_told_of_no_more(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "exit 0", name="shot")
        ended(server, job_id)
        page = opened(browser, server)
        late: list[Route] = []
        page.route(f"**/jobs/{job_id}", lambda route: late.append(route))
        with page.expect_request(f"**/jobs/{job_id}"):
            go_to(page, f"#/job/{job_id}")
        go_to(page, "#/")
        page.get_by_role("link", name="shot").wait_for()
        for route in late:
            route.continue_()
        page.wait_for_timeout(500)
        assert page.title() == "tailrace"
        page.close()


def test_a_chunk_that_was_left_is_not_asked_for_any_more(tmp_path: Path, browser: Browser) -> None:
    once = tmp_path / "once"
    with serving(tmp_path) as server:
        job_id = submit(server, f"test -e {once} || {{ touch {once}; exit 3; }}; {held(tmp_path, 'gate')}")
        ended(server, job_id)
        page = opened(browser, server, f"#/job/{job_id}/chunks/0")
        late: list[Route] = []
        page.route(f"**/jobs/{job_id}/retry", lambda route: late.append(route))
        with page.expect_request(f"**/jobs/{job_id}/retry"):
            page.get_by_role("region", name="Chunk 0").get_by_role("button", name="Retry").click()
        go_to(page, "#/")
        page.get_by_role("link", name="failed").wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for route in late:
            route.continue_()
        page.get_by_role("link", name="running").wait_for()
        page.wait_for_timeout(500)
        assert [url for url in asked if job_id in url] == []
        open_gate(tmp_path, "gate")
        page.close()
