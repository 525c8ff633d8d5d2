"""The report of a real job in a real browser: from disk, it asks nobody for anything, and all can read it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsers import open_browser, serious_findings
from support.tunnel import search_path

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.web

_CHUNKS = 40


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a job of which a chunk is slow, one is repeated and one fails, and return its report."""
    folder = tmp_path_factory.mktemp("job")
    chunks = []
    for chunk_id in range(_CHUNKS):
        first = chunk_id * 4 + 1
        source = f"testsrc2=s=320x180:r=24,hue=h={chunk_id * 9}"
        script = f"ffmpeg -v error -y -f lavfi -i {source} -frames:v 4 -start_number {first} shot.%04d.png"
        if chunk_id == 17:
            script = f"sleep 2; {script}"
        elif chunk_id == 23:
            blender = "Fra:93 Mem:412.30M (Peak 430.11M) | Time:00:01.20 | Syncing rock"
            script = f"echo '{blender}'; echo 'Error: Cannot read file <script>alert(1)</script>.exr'; exit 3"
        elif chunk_id == 31:
            script = f"test -e once || {{ touch once; exit 1; }}; {script}"
        output = {"id": chunk_id, "startFrame": first, "frameCount": 4, "outputFile": "shot.####.png"}
        chunks.append({**output, "command": f"sh -c {shlex.quote(script)}"})
    metadata = {"totalFrames": 4 * _CHUNKS, "fps": 24, "width": 320, "height": 180, "duration": _CHUNKS / 6}
    (folder / "job.json").write_text(json.dumps({"id": "night <b>12</b>", "metadata": metadata, "chunks": chunks}))
    options = ["--keep-going", "--retries", "1", "--concurrency", "4", "--log-dir", "logs", "--report", "report.html"]
    ran = subprocess.run(
        [sys.executable, "-m", "tailrace", "job", "run", "job.json", "-q", *options],
        cwd=folder,
        env={**os.environ, "PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ran.stderr.endswith("tailrace: report: report.html\n"), ran.stderr
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390, 360])
def test_a_report_opens_from_disk_without_a_request_or_an_error_and_fits(
    report: Path, browser: Browser, width: int, scheme: Any
) -> None:
    assert report.stat().st_size < 3_000_000
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: told.extend([] if request.url.startswith("data:") else [request.url]))
    page.goto(report.as_uri())
    page.wait_for_function("[...document.images].every(image => image.complete)")
    # Axe looks into the page by a script of its own, which the policy refuses: `told` is read before.
    assert told == [report.as_uri()]
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0) && document.images.length") == 96
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("h1").inner_text() == "night <b>12</b>"
    assert "Cannot read file <script>alert(1)</script>.exr" in page.locator("pre mark").inner_text()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_report(report: Path, browser: Browser, scheme: Any) -> None:
    page = browser.new_page(bypass_csp=True, color_scheme=scheme)
    page.goto(report.as_uri())
    assert serious_findings(page) == []
    page.close()


def test_the_table_is_sorted_by_the_keyboard_and_by_what_figures_mean(report: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    heading = page.get_by_role("columnheader", name="Took")
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert _first_column(page)[0] == "17"
    page.get_by_role("columnheader", name="State").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    page.get_by_role("columnheader", name="State").get_by_role("button").click()
    assert _first_column(page)[0] == "23"
    page.get_by_role("columnheader", name="Chunk").get_by_role("button").click()
    assert _first_column(page) == [str(number) for number in range(_CHUNKS)]
    page.close()


def test_without_a_script_the_report_has_all_of_it(report: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert _first_column(page) == [str(number) for number in range(_CHUNKS)]
    assert page.locator("th button").count() == 0
    assert page.locator("#time-line rect title").count() >= _CHUNKS
    context.close()


def _first_column(page: Page) -> list[str]:
    texts: list[str] = page.locator("#chunks tbody td:first-child").all_inner_texts()
    return texts
