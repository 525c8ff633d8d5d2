"""The page of a farm in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsers import listen_to, open_browser, serious_findings
from support.cuttable_proxy import CuttableProxy, cuttable_proxy
from support.farm_servers import JSON, TOKEN, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.jobs import job
from support.serve_command import serve_command
from tailrace import JobSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.web

_NO_CONNECTION = ("ERR_", "Failed to load resource")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


def opened(browser: Browser, server: FarmServer | CuttableProxy, path: str = "", **options: Any) -> Page:
    """Return a new page with the farm, as somebody sees it who opens the address that the server printed."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
    page.goto(f"{server.url}/#{TOKEN}")
    page.get_by_role("status").filter(has_text="Live").wait_for()
    if path:
        page.evaluate("path => { location.hash = path }", path)
    return page


def test_the_token_is_taken_out_of_the_address_and_is_not_asked_for_again(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        page = opened(browser, server)
        told = listen_to(page)
        assert page.url == f"{server.url}/#/"
        page.reload()
        page.get_by_text("There is no job yet").wait_for()
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]") == []
        assert told == []
        page.close()


def test_without_a_token_the_page_asks_for_it(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_label("Token").fill("a wrong one")
        assert not is_connection_told(page)
        page.get_by_role("button", name="Look").click()
        page.get_by_text("this is not the server's token").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Enter")
        page.get_by_text("There is no job yet").wait_for()
        page.get_by_role("status").filter(has_text="Live").wait_for()
        assert is_connection_told(page)
        # Without the cookie nothing is answered, though the stream of events goes on.
        page.context.clear_cookies()
        page.get_by_role("button", name="Failed").click()
        page.get_by_label("Token").wait_for()
        assert not is_connection_told(page)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Look").click()
        page.get_by_role("status").filter(has_text="Live").wait_for()
        page.close()


def is_connection_told(page: Page) -> bool:
    """Return whether the head of the page says anything of the connection, by its dot alone too."""
    dot: str = page.evaluate("getComputedStyle(document.querySelector('#connection'), '::before').content")
    return dot != "none" or page.locator("#connection").inner_text() != ""


def test_the_id_that_commands_take_is_seen_found_and_copied(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "exit 0", name="shot")
        page = opened(browser, server)
        told = listen_to(page)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("link", name=f"shot {job_id}").click()
        page.get_by_role("button", name="Copy the id").click()
        page.get_by_role("alert").filter(has_text="copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == job_id
        page.get_by_role("main").get_by_text(job_id, exact=True).click()
        assert page.evaluate("String(getSelection())") == job_id
        assert told == []
        page.close()


def test_jobs_appear_move_and_are_found(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        page = opened(browser, server)
        told = listen_to(page)
        first = submit(server, "exit 0", name="prologue <b>1</b>", owner="ada", tags=["night"])
        row = page.get_by_role("link", name="prologue <b>1</b>")
        row.get_by_text("completed", exact=True).wait_for()
        submit(server, "exit 3", name="storm")
        page.get_by_role("link", name="storm").get_by_text("chunk 0 failed: sh exited with status 3").wait_for()
        page.get_by_label("Search").fill("NIGHT ada")
        page.get_by_role("link", name="storm").wait_for(state="detached")
        assert row.count() == 1
        page.get_by_label("Search").fill("")
        page.get_by_role("button", name="Failed").click()
        row.wait_for(state="detached")
        page.get_by_role("button", name="All", exact=True).click()
        row.click()
        page.wait_for_url(f"**/#/job/{first}")
        page.get_by_role("heading", name="prologue <b>1</b>", level=1).wait_for()
        assert told == []
        page.close()


def test_jobs_are_picked_by_their_state(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, slots=1) as server:
        jobs = {
            "completed": submit(server, "exit 0"),
            "failed": submit(server, "exit 3"),
            "cancelled": submit(server, held(tmp_path, "gate")),
            "paused": submit(server, held(tmp_path, "gate"), comment="the sky is too dark"),
        }
        for state, action in (("cancelled", "cancel"), ("paused", "pause")):
            assert server.send("POST", f"/api/v1/jobs/{jobs[state]}/{action}", "{}", JSON).status == 200
        for state in ("completed", "failed", "cancelled"):
            ended(server, jobs[state])
        page = opened(browser, server, viewport={"width": 360, "height": 740})
        rows = page.get_by_role("list", name="Jobs").get_by_role("listitem")
        for state in jobs:
            page.get_by_role("button", name=state).click()
            page.wait_for_function("() => document.querySelectorAll('.jobs > li').length === 1")
            rows.get_by_text(state, exact=True).wait_for()
        page.get_by_role("button", name="All").click()
        page.get_by_label("Search").fill("sky dark")
        page.wait_for_function("() => document.querySelectorAll('.jobs > li').length === 1")
        rows.get_by_text("paused", exact=True).wait_for()
        page.close()


def test_when_a_job_ends_is_guessed_in_whole_seconds(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        page = opened(browser, server)
        told = page.evaluate(
            """async () => {
              const [{ now }, { timing }] = [await import("/page/api.js"), await import("/page/jobs.js")];
              return [-5, 0.2, 3.2, 75.2, 99.7, 125.2, 7620].map((seconds) => timing({ eta: now() + seconds }));
            }"""
        )
        times = ["1 s", "1 s", "3 s", "75 s", "1 min 40 s", "2 min 05 s", "2 h 07 min"]
        assert told == [f"ends in {time}" for time in times]
        page.close()


def test_a_job_is_paused_resumed_cancelled_and_run_again_by_click(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, slots=1) as server:
        job_id = submit(server, "exit 0", held(tmp_path, "gate"), "exit 0", name="shot")
        page = opened(browser, server, f"#/job/{job_id}")
        told = listen_to(page)
        legend = page.get_by_role("group", name="States")
        legend.get_by_text("1 running").wait_for()
        page.get_by_role("button", name="Pause", exact=True).click()
        state = page.locator(".when .pill")
        state.get_by_text("paused").wait_for()
        page.get_by_role("button", name="Resume").click()
        state.get_by_text("running").wait_for()
        page.get_by_role("button", name="Cancel").click()
        # A click too many loses nothing.
        page.get_by_role("button", name="Back").click()
        state.get_by_text("running").wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
        state.get_by_text("cancelled").wait_for()
        legend.get_by_text("2 cancelled").wait_for()
        page.get_by_role("button", name="Retry what is left").click()
        legend.get_by_text("1 running").wait_for()
        open_gate(tmp_path, "gate")
        state.get_by_text("completed").wait_for()
        legend.get_by_text("3 completed").wait_for()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
        page.get_by_text("There is no job yet").wait_for()
        assert told == []
        page.close()


def test_what_the_command_line_submits_is_watched_live_at_the_address_that_the_server_prints(
    tmp_path: Path, browser: Browser
) -> None:
    first = f"echo begins; {held(tmp_path, 'one')}; echo ends; {held(tmp_path, 'two')}"
    (tmp_path / "job.json").write_text(job(first, "exit 0").model_dump_json(by_alias=True))
    with serve_command(tmp_path, "--slots", "1") as serving:
        page = browser.new_page()
        told = listen_to(page)
        page.goto(f"{serving.url}/#{serving.token}")
        page.get_by_text("There is no job yet").wait_for()
        command = [sys.executable, "-m", "tailrace", "job", "submit", "job.json", "--name", "by hand"]
        job_id = subprocess.check_output(command, env=serving.environment, cwd=tmp_path, text=True).strip()
        page.get_by_role("link", name="by hand").click()
        page.get_by_role("button", name="1 running").click()
        page.wait_for_url(f"**/#/job/{job_id}/chunks/0")
        log = page.get_by_role("log")
        log.get_by_text("begins").wait_for()
        assert "ends" not in log.inner_text()
        open_gate(tmp_path, "one")
        log.get_by_text("ends").wait_for()
        page.get_by_role("button", name="1 pending").wait_for()
        open_gate(tmp_path, "two")
        page.get_by_role("button", name="2 completed").wait_for()
        assert told == []
        page.close()


def test_a_job_may_begin_now_that_waits_for_a_time_and_not_for_a_node(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        server.send("POST", "/api/v1/nodes/drain?name=")
        for_node, for_time = submit(server, "true"), submit(server, "true", notBefore=2e9)
        page = opened(browser, server, f"#/job/{for_node}")
        page.get_by_text("no more is started on any node").wait_for()
        assert page.get_by_role("button", name="Begin now").count() == 0
        page.evaluate("path => { location.hash = path }", f"#/job/{for_time}")
        page.get_by_role("button", name="Begin now").wait_for()
        page.close()


def test_a_chunk_is_found_by_the_keyboard_looked_at_and_run_again(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        settings = JobSettings(fail_fast=False).model_dump(mode="json", by_alias=True)
        job_id = submit(server, "exit 0", "exit 0", "exit 7", "exit 0", settings=settings)
        ended(server, job_id)
        page = opened(browser, server, f"#/job/{job_id}")
        told = listen_to(page)
        page.get_by_role("button", name="1 failed").click()
        page.get_by_role("region", name="Chunk 2").get_by_text("exited with status 7").first.wait_for()
        page.get_by_role("listbox").press("ArrowRight")
        page.get_by_role("listbox").press("Enter")
        region = page.get_by_role("region", name="Chunk 3")
        region.get_by_text("completed").wait_for()
        region.get_by_role("button", name="Retry").click()
        page.get_by_role("dialog").get_by_role("button", name="Run it again").click()
        region.locator("dd").get_by_text("2", exact=True).wait_for()
        assert told == []
        page.close()


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844), (700, 400)])
def test_what_is_found_in_a_log_is_in_sight_with_the_field_it_was_asked_in(
    tmp_path: Path, browser: Browser, width: int, height: int
) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "seq -f 'line %.0f.' 30 >&2")
        ended(server, job_id)
        path = f"#/job/{job_id}/chunks/0"
        page = opened(browser, server, path, viewport={"width": width, "height": height})
        page.get_by_role("log").get_by_text("line 30.").wait_for()
        page.keyboard.press("/")
        for line, scrolled in (("line 28.", "0"), ("line 1.", "document.body.scrollHeight")):
            page.keyboard.press("Control+A")
            page.keyboard.type(line)
            page.get_by_text("1 of 1", exact=True).wait_for()
            page.evaluate(f"scrollTo(0, {scrolled})")
            page.keyboard.press("Enter")
            page.wait_for_function(_IS_IN_SIGHT, arg=line)
        page.close()


_IS_IN_SIGHT = """
(text) => {
  const [found] = CSS.highlights.get("log-chosen");
  if (String(found) !== text) return false;
  const box = (name) => document.querySelector(name).getBoundingClientRect();
  const [line, log, field] = [found.getBoundingClientRect(), box(".log-text"), box(".log-search")];
  const isSeen = ({ top, bottom }) => top >= box(".bar").bottom && bottom <= innerHeight;
  return line.top >= log.top && line.bottom <= log.bottom && isSeen(line) && isSeen(field);
}
"""


def test_the_line_under_the_chunks_tells_the_state_as_it_changes(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, slots=1) as server:
        job_id = submit(server, held(tmp_path, "gate"), held(tmp_path, "end"))
        page = opened(browser, server, f"#/job/{job_id}")
        page.get_by_role("button", name="1 running").click()
        line = page.locator(".grid-tip")
        line.get_by_text("Chunk 0, running").wait_for()
        open_gate(tmp_path, "gate")
        line.get_by_text("Chunk 0, completed").wait_for()
        page.get_by_role("option", name="Chunk 0, completed").wait_for()
        open_gate(tmp_path, "end")
        page.close()


def test_the_priority_and_the_name_of_a_job_are_changed(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, slots=1) as server:
        submit(server, held(tmp_path, "gate"))
        job_id = submit(server, "exit 0", name="shot")
        page = opened(browser, server, f"#/job/{job_id}")
        page.get_by_role("button", name="Priority").click()
        page.get_by_label("Jobs with a higher one go first").fill("7")
        page.get_by_role("button", name="Set").click()
        page.get_by_text("priority 7").wait_for()
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_role("button", name="Edit").click()
        page.get_by_label("Name").fill("sh020 <i>")
        page.get_by_label("Chunks at a time").fill("2")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("heading", name="sh020 <i>").wait_for()
        found = server.send("GET", f"/api/v1/jobs/{job_id}").json()
        assert (found["priority"], found["settings"]["maxRunning"]) == (7, 2)
        page.get_by_role("button", name="Edit").click()
        page.get_by_label("Chunks at a time").fill("-1")
        page.get_by_role("button", name="Save").click()
        assert "maxRunning" in page.get_by_role("alert").inner_text()
        open_gate(tmp_path, "gate")
        page.close()


def test_who_may_only_look_sees_no_buttons(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, settings={"view_token": "a-token-to-look-only"}) as server:
        job_id = submit(server, "exit 0")
        page = browser.new_page()
        page.goto(f"{server.url}/#a-token-to-look-only")
        page.get_by_role("link", name="completed").click()
        page.get_by_role("button", name="1 completed").wait_for()
        page.get_by_role("listbox").click(position={"x": 5, "y": 5})
        page.get_by_role("region", name="Chunk 0").wait_for()
        page.wait_for_url(f"**/{job_id}/chunks/0")
        names = page.get_by_role("button").all_inner_texts()
        assert not {"Delete", "Retry", "Cancel", "Edit", "Mark as done"} & set(names)
        page.close()


def test_a_page_that_lost_the_server_says_so_and_is_right_when_it_is_back(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path, slots=1) as server, cuttable_proxy(server.port) as proxy:
        job_id = submit(server, held(tmp_path, "gate"), "exit 0")
        page = opened(browser, proxy, f"#/job/{job_id}")
        told = listen_to(page, ignore=_NO_CONNECTION)
        page.get_by_text("1 running").wait_for()
        proxy.cut()
        page.get_by_text("Not connected").wait_for()
        open_gate(tmp_path, "gate")
        ended(server, job_id)
        proxy.mend()
        page.get_by_text("2 completed").wait_for()
        page.get_by_role("status").filter(has_text="Live").wait_for()
        assert told == []
        page.close()


def test_all_tabs_share_one_stream_of_events(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server, cuttable_proxy(server.port) as proxy:
        context = browser.new_context()
        pages = [context.new_page() for _ in range(7)]
        for page in pages:
            page.goto(f"{proxy.url}/#{TOKEN}")
            page.get_by_role("status").filter(has_text="Live").wait_for()
        submit(server, "exit 0")
        for page in pages:
            page.get_by_role("link", name="completed").wait_for()
        assert sum("/events" in line for line in proxy.request_lines) == 1
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_page(tmp_path: Path, browser: Browser, scheme: Any) -> None:
    with serving(tmp_path) as server:
        settings = JobSettings(fail_fast=False).model_dump(mode="json", by_alias=True)
        job_id = submit(server, "exit 0", "exit 7", settings=settings, tags=["night"])
        ended(server, job_id)
        page = opened(browser, server, bypass_csp=True, color_scheme=scheme)
        page.get_by_role("link", name="failed").wait_for()
        assert serious_findings(page) == []
        for path in (f"#/job/{job_id}/chunks/1", f"#/job/{job_id}/frames", f"#/job/{job_id}/times", "#/nodes"):
            page.evaluate("path => { location.hash = path }", path)
            page.wait_for_timeout(500)
            assert serious_findings(page) == [], path
        page.evaluate("path => { location.hash = path }", f"#/job/{job_id}/chunks")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").wait_for()
        assert serious_findings(page) == []
        page.close()


@pytest.mark.parametrize("width", [1400, 390, 360])
def test_the_page_fits(tmp_path: Path, browser: Browser, width: int) -> None:
    with serving(tmp_path) as server:
        settings = JobSettings(fail_fast=False).model_dump(mode="json", by_alias=True)
        job_id = submit(server, *["exit 0"] * 30, "exit 7", name="A_name_without_spaces_" * 5, settings=settings)
        ended(server, job_id)
        page = opened(browser, server, viewport={"width": width, "height": 800})
        page.get_by_role("link", name=re.compile("A_name")).wait_for()
        for path in ("#/", f"#/job/{job_id}/chunks/30", f"#/job/{job_id}/frames", f"#/job/{job_id}/times", "#/nodes"):
            page.evaluate("path => { location.hash = path }", path)
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == width, path
        page.close()
