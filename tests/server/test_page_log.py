"""The live log of a chunk on the page, in a real browser."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsers import listen_to, open_browser, serious_findings
from support.cuttable_proxy import CuttableProxy, cuttable_proxy
from support.farm_servers import BEARER, JSON, TOKEN, FarmServer, ended, serving, submit
from support.farms import held, open_gate
from support.workers import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response

pytestmark = pytest.mark.web

_LINES = 2**20
"""Of a hundred bytes each."""
_NO_CONNECTION = ("ERR_", "Failed to load resource")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FarmServer, str]]:
    """Return a server, and the id of a job whose log has 100 MB."""
    folder = tmp_path_factory.mktemp("large")
    with serving(folder) as server:
        lines = "w(''.join('%08d %s\\n' % (n, 'Rendering tile'.ljust(90)) for n in range(k, k + 4096)))"
        job_id = submit(server, python(f"w = sys.stderr.write\nfor k in range(0, {_LINES}, 4096): {lines}", folder))
        assert ended(server, job_id)["state"] == "completed"
        yield server, job_id


def python(script: str, folder: Path) -> str:
    """Return a command that runs a script."""
    path = folder / f"script-{len(list(folder.iterdir()))}.py"
    path.write_text(f"import os, sys, time\n{script}\n")
    return shlex.join([sys.executable, str(path)])


@contextmanager
def open_log(
    browser: Browser, server: FarmServer | CuttableProxy, job_id: str, *, ignore: tuple[str, ...] = (), **options: Any
) -> Iterator[Page]:
    """Yield the page with the log of the job's first chunk; fail if it complains of anything."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 1000}, **options})
    told = listen_to(page, ignore=ignore)
    page.goto(f"{server.url}/#{TOKEN}")
    page.get_by_role("status").filter(has_text="Live").wait_for()
    page.evaluate("path => { location.hash = path }", f"#/job/{job_id}/chunks/0")
    page.get_by_role("log").wait_for()
    yield page
    page.close()
    assert told == []


def status(page: Page, text: str) -> None:
    """Return once the line below the log says so."""
    page.locator(".log-status").filter(has_text=text).wait_for()


def text_of(page: Page) -> str:
    """Return all that is laid out."""
    text: str = page.evaluate("document.querySelector('.log-rows').textContent")
    return text


def until_text(page: Page, is_so: Callable[[str], bool]) -> None:
    """Return once what is laid out is as wanted."""
    wait_until(lambda: is_so(text_of(page)) or page.wait_for_timeout(10))


def numbers(page: Page) -> list[int]:
    """Return the numbers of the lines that are laid out, which are all lines between the first and the last."""
    found = [int(number) for number in re.findall(r"^(\d{8}) ", text_of(page), re.MULTILINE)]
    assert found == list(range(found[0], found[-1] + 1))
    return found


def first_seen(page: Page) -> int:
    """Return the number of the line at the top."""
    return int(top_line(page)[:8])


def top_line(page: Page) -> str:
    """Return the first word of the line at the top."""
    line: str = page.evaluate(
        """() => {
          const box = document.querySelector(".log-text").getBoundingClientRect();
          const { startContainer, startOffset } = document.caretRangeFromPoint(box.left + 20, box.top + 10);
          const text = startContainer.textContent;
          return text.slice(text.lastIndexOf("\\n", startOffset - 1) + 1).split(/\\s/)[0];
        }"""
    )
    return line


def scroll(page: Page, script: str) -> None:
    """Scroll, and return when all that is seen is there."""
    page.evaluate(f"(() => {{ const log = document.querySelector('.log-text'); {script} }})()")
    settle(page)


def settle(page: Page) -> None:
    """Return when nothing is loaded any more, and all that is seen is laid out."""
    page.wait_for_function(
        """() => {
          const box = document.querySelector(".log-text").getBoundingClientRect();
          const rows = document.querySelector(".log-rows").getBoundingClientRect();
          return rows.top <= box.top + 2 && rows.bottom >= box.bottom - 20;
        }"""
    )
    page.wait_for_timeout(100)


def test_of_a_log_of_100_mb_only_what_is_seen_is_asked_for(large: tuple[FarmServer, str], browser: Browser) -> None:
    server, job_id = large
    sizes: list[int] = []
    with open_log(browser, server, job_id) as page:
        page.on("response", lambda answer: sizes.append(_size(answer)))
        status(page, "Ended, 100.0 MiB")
        assert numbers(page)[-1] == _LINES - 1
        log = page.get_by_role("log")
        log.press("Home")
        settle(page)
        assert (numbers(page)[0], first_seen(page)) == (0, 0)
        for _ in range(12):
            log.press("PageDown")
            settle(page)
        assert 200 < first_seen(page) < 600
        scroll(page, "log.scrollTop = log.scrollHeight / 2")
        middle = first_seen(page)
        assert abs(middle - _LINES / 2) < _LINES / 100
        # By the wheel it moves by as many lines as it should, in either direction, however much is loaded meanwhile.
        log.hover()
        for delta in (-900, 900):
            for _ in range(40):
                page.mouse.wheel(0, delta)
                page.wait_for_timeout(20)
                numbers(page)
            settle(page)
            assert abs(first_seen(page) - (middle - 2000 if delta < 0 else middle)) <= 2
        log.press("End")
        status(page, "Ended")
        settle(page)
        assert numbers(page)[-1] == _LINES - 1
        assert len(text_of(page)) < 500_000
    assert sum(sizes) < 3_000_000


def test_the_first_line_is_reached_by_scrolling_too(large: tuple[FarmServer, str], browser: Browser) -> None:
    server, job_id = large
    with open_log(browser, server, job_id) as page:
        status(page, "Ended")
        scroll(page, "log.scrollTop = 9000")
        assert 0 < first_seen(page) < 20_000
        for _ in range(200):
            page.get_by_role("log").press("PageUp")
            page.wait_for_timeout(10)
            if page.evaluate("document.querySelector('.log-text').scrollTop") == 0 and numbers(page)[0] == 0:
                break
        assert first_seen(page) == 0
        scroll(page, "log.scrollTop = log.scrollHeight")
        scroll(page, "log.scrollTop = log.scrollHeight")
        assert numbers(page)[-1] == _LINES - 1


def test_text_is_found_in_a_log_of_100_mb(large: tuple[FarmServer, str], browser: Browser) -> None:
    server, job_id = large
    with open_log(browser, server, job_id) as page:
        status(page, "Ended")
        page.keyboard.press("/")
        search = page.get_by_label("Search in the log")
        search.fill("00700000 rendering TILE")
        count = page.locator(".log-count")
        count.filter(has_text="1 of 1").wait_for()
        settle(page)
        assert abs(first_seen(page) - 700_000) < 40
        assert marked(page, "log-chosen") == ["00700000 Rendering tile"]
        search.fill("0000 Rendering")
        # From what is seen on.
        count.filter(has_text="71 of 105").wait_for()
        search.press("Enter")
        count.filter(has_text="72 of 105").wait_for()
        search.press("Shift+Enter")
        count.filter(has_text="71 of 105").wait_for()
        search.press("Shift+Enter")
        count.filter(has_text="70 of 105").wait_for()
        settle(page)
        assert abs(first_seen(page) - 690_000) < 40
        assert marked(page, "log-chosen") == ["0000 Rendering"]
        for _ in range(70):
            page.get_by_role("button", name="Previous place").click()
        count.filter(has_text="105 of 105").wait_for()
        until_text(page, lambda text: "\n01040000 " in text)
        settle(page)
        assert abs(first_seen(page) - 1_040_000) < 40
        search.fill("no such text")
        count.filter(has_text="not found").wait_for()
        search.press("Escape")
        assert (count.inner_text(), marked(page, "log-found")) == ("", [])
        assert page.evaluate("document.activeElement.getAttribute('role')") == "log"


def _size(answer: Response) -> int:
    return 0 if answer.request.method == "HEAD" else int(answer.headers.get("content-length", 0))


def marked(page: Page, name: str) -> list[str]:
    texts: list[str] = page.evaluate("name => [...CSS.highlights.get(name)].map(String)", name)
    return texts


def test_ten_thousand_lines_a_second_are_followed_and_leave_the_page_usable(tmp_path: Path, browser: Browser) -> None:
    script = """
    began = time.monotonic()
    for k in range(600):
        sys.stderr.write("".join("%08d %s\\n" % (n, "Rendering tile".ljust(90)) for n in range(k * 100, k * 100 + 100)))
        time.sleep(max(0, began + k / 100 - time.monotonic()))
    """
    with serving(tmp_path) as server:
        waiting = held(tmp_path, "go")
        job_id = submit(server, f"{waiting}; {python('if 1:' + script, tmp_path)}")
        with open_log(browser, server, job_id) as page:
            status(page, "Nothing has been written yet")
            page.evaluate(
                """() => {
                  window.frames_ = [];
                  let last = performance.now();
                  const next = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(next); };
                  requestAnimationFrame(next);
                }"""
            )
            open_gate(tmp_path, "go")
            page.wait_for_timeout(2500)
            assert numbers(page)[-1] > 10_000
            # Scrolling up stops it, while more comes.
            page.get_by_role("log").hover()
            page.mouse.wheel(0, -600)
            status(page, "Not followed")
            seen = first_seen(page)
            page.wait_for_timeout(1000)
            assert first_seen(page) == seen
            assert page.get_by_role("button", name="Follow").get_attribute("aria-pressed") == "false"
            page.get_by_role("button", name="Follow").click()
            status(page, "Following")
            page.wait_for_timeout(1000)
            assert numbers(page)[-1] > seen + 5000
            status(page, "Ended")
            frames = sorted(page.evaluate("frames_"))
            assert numbers(page)[-1] == 59_999
            assert len(text_of(page)) < 500_000
            # What was skipped is there.
            scroll(page, "log.scrollTop = log.scrollHeight / 3")
            assert 10_000 < numbers(page)[0] < 30_000
    print(f"frames: {len(frames)}, median {frames[len(frames) // 2]:.0f} ms, longest {frames[-1]:.0f} ms")
    # A quiet machine has 60 a second, of which none takes 50 ms.
    assert frames[len(frames) // 2] < 50
    assert frames[int(len(frames) * 0.99)] < 500


def test_a_dropped_connection_is_told_and_costs_no_byte(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server, cuttable_proxy(server.port) as proxy:
        script = "for k in range(90):\n  sys.stderr.write('%08d x\\n' % k)\n  sys.stderr.flush()\n  time.sleep(.03)"
        job_id = submit(server, f"{held(tmp_path, 'go')}; {python(script, tmp_path)}; {held(tmp_path, 'end')}")
        with open_log(browser, proxy, job_id, ignore=_NO_CONNECTION) as page:
            open_gate(tmp_path, "go")
            until_text(page, lambda text: "00000010" in text)
            proxy.cut()
            status(page, "Not connected")
            page.wait_for_timeout(1000)
            proxy.mend()
            status(page, "Following")
            open_gate(tmp_path, "end")
            status(page, "Ended")
            assert numbers(page) == list(range(90))


def test_what_could_not_be_had_is_there_once_the_server_is(large: tuple[FarmServer, str], browser: Browser) -> None:
    server, job_id = large
    with cuttable_proxy(server.port) as proxy, open_log(browser, proxy, job_id, ignore=_NO_CONNECTION) as page:
        status(page, "Ended")
        proxy.cut()
        page.evaluate("document.querySelector('.log-text').scrollTop = 100000")
        status(page, "Not connected")
        proxy.mend()
        status(page, "Ended")
        settle(page)
        assert 0 < first_seen(page) < 100_000


def test_a_connection_that_is_there_again_is_told_before_anything_comes(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server, cuttable_proxy(server.port) as proxy:
        job_id = submit(server, f"echo one >&2; {held(tmp_path, 'go')}")
        with open_log(browser, proxy, job_id, ignore=_NO_CONNECTION) as page:
            status(page, "Following")
            proxy.cut()
            status(page, "Not connected")
            proxy.mend()
            page.locator(".log-status").filter(has_text="Following").wait_for(timeout=10_000)
            open_gate(tmp_path, "go")
            status(page, "Ended")


def test_what_a_server_runs_anew_is_followed(tmp_path: Path, browser: Browser) -> None:
    script = f"if [ -e again ]; then echo second; else touch again; seq 1000; fi >&2; {held(tmp_path, 'go')}"
    with cuttable_proxy(0) as proxy, ExitStack() as stack:
        with serving(tmp_path) as first:
            proxy.lead_to(first.port)
            job_id = submit(first, script)
            page = stack.enter_context(open_log(browser, proxy, job_id, ignore=_NO_CONNECTION))
            until_text(page, lambda text: text.endswith("\n1000\n"))
            proxy.cut()
        status(page, "Not connected")
        with serving(tmp_path) as second:
            proxy.lead_to(second.port)
            proxy.mend()
            until_text(page, lambda text: text == "second\n")
            status(page, "Following")
            second.send("POST", f"/api/v1/jobs/{job_id}/pause", '{"now": true}', JSON)
            status(page, "Ended")
            second.send("POST", f"/api/v1/jobs/{job_id}/resume", headers=BEARER)
            page.get_by_label("Attempt").locator("option", has_text="Attempt 3").wait_for(state="attached")
            until_text(page, lambda text: text == "second\n")
            status(page, "Following")
            open_gate(tmp_path, "go")
            status(page, "Ended")
            # The page would go on to ask while the server ends.
            proxy.cut()


def test_another_attempt_is_followed_and_each_can_be_chosen(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        second = f"echo two >&2; echo out; {held(tmp_path, 'go')}"
        first = f"touch one; echo one >&2; {held(tmp_path, 'again')}; exit 1"
        job_id = submit(server, f"if [ -e one ]; then {second}; else {first}; fi", settings={"retries": 1})
        with open_log(browser, server, job_id) as page:
            until_text(page, lambda text: text == "one\n")
            open_gate(tmp_path, "again")
            until_text(page, lambda text: text == "two\n")
            choice = page.get_by_label("Attempt")
            choice.select_option("Attempt 1")
            status(page, "Ended")
            assert text_of(page) == "one\n"
            choice.select_option("Last attempt")
            status(page, "Following")
            page.get_by_role("button", name="stdout").click()
            until_text(page, lambda text: text == "out\n")
            assert page.get_by_role("log").get_attribute("aria-label") == "stdout of chunk 0"
            with page.expect_download() as download:
                page.get_by_role("link", name="Download").click()
            assert download.value.path().read_text() == "out\n"
            assert download.value.suggested_filename == f"{job_id}-chunk-0-stdout.log"
            open_gate(tmp_path, "go")
            status(page, "Ended, ")


def test_the_stream_that_has_something_is_shown(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, f"{held(tmp_path, 'begin')}; echo out; {held(tmp_path, 'go')}; echo err >&2")
        with open_log(browser, server, job_id) as page:
            status(page, "Nothing has been written yet")
            open_gate(tmp_path, "begin")
            until_text(page, lambda text: text == "out\n")
            open_gate(tmp_path, "go")
            status(page, "Ended")
            assert text_of(page) == "out\n"
            page.get_by_role("button", name="stderr").click()
            until_text(page, lambda text: text == "err\n")


def test_who_reads_an_earlier_attempt_goes_on_to_read_it(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        first = f"touch one; seq 1000 >&2; {held(tmp_path, 'again')}; exit 1"
        script = f"if [ -e one ]; then echo two >&2; {held(tmp_path, 'go')}; else {first}; fi"
        job_id = submit(server, script, settings={"retries": 1, "retryDelay": 0})
        with open_log(browser, server, job_id) as page:
            until_text(page, lambda text: text.endswith("\n1000\n"))
            scroll(page, "log.scrollTop = 1800")
            open_gate(tmp_path, "again")
            page.locator(".facts").filter(has_text="Attempts2").wait_for()
            status(page, "Ended")
            assert top_line(page) == "101"
            page.get_by_label("Attempt").select_option("Last attempt")
            until_text(page, lambda text: text == "two\n")
            open_gate(tmp_path, "go")
            status(page, "Ended")


def test_a_log_that_is_not_seen_asks_for_nothing(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        script = f"echo one >&2; {held(tmp_path, 'more')}; echo two >&2; {held(tmp_path, 'go')}"
        job_id = submit(server, script)
        with open_log(browser, server, job_id) as page:
            page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.isAway ?? false })")
            until_text(page, lambda text: text == "one\n")
            page.wait_for_timeout(500)
            turn = "isAway => { window.isAway = isAway; document.dispatchEvent(new Event('visibilitychange')); }"
            with page.expect_event("requestfailed", lambda request: "/output/next" in request.url):
                page.evaluate(turn, True)
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            open_gate(tmp_path, "more")
            page.wait_for_timeout(1000)
            assert ([url for url in asked if "/output" in url or "/log" in url], text_of(page)) == ([], "one\n")
            page.evaluate(turn, False)
            until_text(page, lambda text: text == "one\ntwo\n")
            open_gate(tmp_path, "go")
            status(page, "Ended")


def test_the_line_at_the_top_stays_there_when_long_lines_are_wrapped(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        lines = "sys.stderr.write(''.join('%d \\x1b[3%dm%s\\n' % (n, n % 8, 'x' * (n % 900)) for n in range(5000)))"
        job_id = submit(server, python(lines, tmp_path))
        with open_log(browser, server, job_id) as page:
            status(page, "Ended")
            scroll(page, "log.scrollTop = log.scrollHeight / 2")
            line = top_line(page)
            for _ in range(2):
                page.get_by_role("button", name="Wrap").click()
                page.wait_for_timeout(300)
                settle(page)
                assert top_line(page) == line


def test_lines_without_an_end_and_bytes_that_are_no_text_are_shown(tmp_path: Path, browser: Browser) -> None:
    script = """
write = sys.stderr.buffer.write
for n in range(200000): write(b"%08d-" % n)
for n in range(200000): write(b"\\r%08d %%" % n)
write(b"\\r\\nbad \\xff\\xc3 byte \\xc3\\xa4 \\xf0\\x9f\\x8e\\xac\\n" + b"x" * 3000000 + b" the end")
"""
    with serving(tmp_path) as server:
        job_id = submit(server, python(script, tmp_path))
        with open_log(browser, server, job_id) as page:
            status(page, "Ended")
            settle(page)
            assert text_of(page).endswith("x the end")
            for wrap in (False, True):
                if wrap:
                    page.get_by_role("button", name="Wrap").click()
                    settle(page)
                scroll(page, "log.scrollTop = log.scrollHeight / 2")
                page.get_by_role("log").press("Home")
                settle(page)
                text = text_of(page)
                assert text.startswith("00000000-00000001-00000002-")
                assert re.fullmatch(r"(\d{8}-)+\d*", text)
                page.get_by_label("Search in the log").fill(f"byte ä{' ' if wrap else ''}")
                page.locator(".log-count").filter(has_text="1 of 1").wait_for()
                shown = "00199998 %\n00199999 %\nbad �� byte ä 🎬\nxxxx"
                until_text(page, lambda text: shown in text)  # noqa: B023
                settle(page)
                assert len(text_of(page)) < 500_000
                box = page.evaluate("document.querySelector('.log-text').clientWidth")
                width = page.evaluate("document.querySelector('.log-text').scrollWidth")
                assert (width == box) is wrap


_HOSTILE = {
    b"<script>alert(1)</script><img src=x onerror=alert(2)>": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    b"\x1b]8;;https://example.org/\x1b\\a link\x1b]8;;\x1b\\ goes": "a link goes",
    b"\x1b]0;title\x07\x1b[2J\x1b[10;10H\x1b[?25l\x1b(Bmoved": "moved",
    b"\x1b]never ended": "",
    b"\x1bP1$r\x1b\\\x1b_x\x1b\\dropped": "dropped",
    b"nul \0 bell \a back \b delete \x7f": "nul ␀ bell ␇ back ␈ delete ␡",
    b"lone \x1b\x01 escape": "lone ␛␁ escape",
    "\u202egnp.exe and \x9b31m".encode(): "<U+202E>gnp.exe and <U+009B>31m",
}


def test_what_a_renderer_writes_is_text_and_does_nothing(tmp_path: Path, browser: Browser) -> None:
    lines = b"".join(line + b"\n" for line in _HOSTILE)
    with serving(tmp_path) as server:
        job_id = submit(server, python(f"sys.stderr.buffer.write({lines!r})", tmp_path))
        with open_log(browser, server, job_id) as page:
            status(page, "Ended")
            assert text_of(page).splitlines() == list(_HOSTILE.values())
            found = page.evaluate("[...document.querySelectorAll('.log-rows *')].map(one => one.tagName)")
            assert set(found) == {"DIV"}
            assert page.title() != "title"


def test_what_is_copied_is_what_was_written(large: tuple[FarmServer, str], browser: Browser) -> None:
    server, job_id = large
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    try:
        page = context.new_page()
        page.goto(f"{server.url}/#{TOKEN}")
        page.get_by_role("status").filter(has_text="Live").wait_for()
        page.evaluate("path => { location.hash = path }", f"#/job/{job_id}/chunks/0")
        status(page, "Ended")
        settle(page)
        page.get_by_role("log").press("Home")
        # Until it is laid out in several pieces.
        while page.evaluate("document.querySelector('.log-rows').children.length") == 1:
            page.get_by_role("log").press("PageDown")
            settle(page)
        first = numbers(page)[0]
        page.evaluate("getSelection().selectAllChildren(document.querySelector('.log-rows'))")
        page.keyboard.press("Control+c")
        copied = page.evaluate("navigator.clipboard.readText()")
        lines = copied.splitlines()
        assert copied == "".join(f"{n:08d} {'Rendering tile'.ljust(90)}\n" for n in range(first, first + len(lines)))
    finally:
        context.close()


_STYLES = [
    (b"\x1b[1;3;4;9mx\x1b[22;23;24;29my", [("x", "bold italic underline strike"), ("y", None)]),
    (b"\x1b[2mx\x1b[my", [("x", "dim"), ("y", None)]),
    (b"\x1b[31mx\x1b[39my", [("x", "colored rgb(205 49 49)"), ("y", None)]),
    (b"\x1b[1m\x1b[92mx\x1b[0;1my", [("x", "bold colored rgb(35 209 139)"), ("y", "bold")]),
    (b"\x1b[38;5;196mx\x1b[38;5;250my", [("x", "colored rgb(255 0 0)"), ("y", "colored rgb(188 188 188)")]),
    (
        b"\x1b[38;2;1;2;3mx\x1b[38:2::4:5:6my\x1b[38:2:7:8:9mz",
        [("x", "colored rgb(1 2 3)"), ("y", "colored rgb(4 5 6)"), ("z", "colored rgb(7 8 9)")],
    ),
    (b"\x1b[38;5mx\x1b[38;2;999;0;0my\x1b[38;9;1mz", [("xyz", None)]),
    (b"\x1b[7mx\x1b[27my", [("x", "inverse"), ("y", None)]),
    (b"\x1b[4:3mx\x1b[4:0my", [("x", "underline"), ("y", None)]),
    (b"\x1b[>4;2mx\x1b[1 my\x1b[?1mz", [("xyz", None)]),
    (b"\x1b[31ma\r\n\x1b[Kb\x1b[0m\n", [("a\nb", "colored rgb(205 49 49)"), ("\n", None)]),
]


@pytest.mark.parametrize(("written", "shown"), _STYLES, ids=[written.decode() for written, _ in _STYLES])
def test_colours_and_styles_are_read(
    large: tuple[FarmServer, str], browser: Browser, written: bytes, shown: list[tuple[str, str | None]]
) -> None:
    with bare_page(browser, large[0]) as page:
        found = page.evaluate(
            """async (text) => {
              const { PLAIN, render } = await import("/page/ansi.js");
              const style = (span) => `${span.className} ${span.style.getPropertyValue("--color")}`.trim();
              const nodes = [...render(text, PLAIN).nodes.childNodes];
              return nodes.map((node) => [node.textContent, node instanceof Element ? style(node) : null]);
            }""",
            written.decode(),
        )
        merged: list[tuple[str, str | None]] = []
        for text, style in found:
            if merged and merged[-1][1] == style:
                merged[-1] = (merged[-1][0] + text, style)
            else:
                merged.append((text, style))
        assert merged == shown


@contextmanager
def bare_page(browser: Browser, server: FarmServer, **options: Any) -> Iterator[Page]:
    page = browser.new_page(**options)
    page.goto(f"{server.url}/#{TOKEN}")
    yield page
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read_in_either_scheme(
    large: tuple[FarmServer, str], browser: Browser, scheme: Any
) -> None:
    with bare_page(browser, large[0], color_scheme=scheme) as page:
        least = page.evaluate(
            """async () => {
              const { PLAIN, render } = await import("/page/ansi.js");
              const codes = [];
              for (let n = 0; n < 256; n++) {
                for (const more of ["", ";1", ";2", ";7", `;48;5;${(n * 7) % 256}`, `;7;48;5;${(n * 11) % 256}`])
                  codes.push(`38;5;${n}${more}`);
                codes.push(`48;5;${n}`, `48;5;${n};7`, `48;5;${n};2`);
              }
              codes.push("2", "7");
              const box = document.createElement("div");
              const rows = document.createElement("div");
              box.className = "log-text";
              rows.className = "log-rows";
              box.append(rows);
              document.body.append(box);
              for (const code of codes) rows.append(render(`\\x1b[${code}mx`, PLAIN).nodes);
              const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
              const bytes = (color) => {
                context.clearRect(0, 0, 1, 1);
                context.fillStyle = color;
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data];
              };
              const luminance = ([red, green, blue]) => {
                const linear = (share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
                return 0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
              };
              const ground = bytes(getComputedStyle(box).backgroundColor);
              return [...rows.children].map((span, index) => {
                const style = getComputedStyle(span);
                const own = bytes(style.backgroundColor);
                const pair = [luminance(bytes(style.color)), luminance(own[3] ? own : ground)].sort((a, b) => b - a);
                return [(pair[0] + 0.05) / (pair[1] + 0.05), codes[index]];
              }).sort(([a], [b]) => a - b)[0];
            }"""
        )
        assert least[0] >= 4.5, least


def test_axe_finds_nothing_serious_in_a_log(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = submit(server, "printf '\\033[31mred\\033[0m plain \\033[2mdim\\n' >&2")
        ended(server, job_id)
        with open_log(browser, server, job_id, bypass_csp=True) as page:
            status(page, "Ended")
            assert serious_findings(page) == []
