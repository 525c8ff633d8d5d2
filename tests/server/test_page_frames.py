"""The contact sheet of a job in a real browser."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsers import listen_to, open_browser, serious_findings
from support.cuttable_proxy import CuttableProxy, cuttable_proxy
from support.farm_servers import JSON, TOKEN, FarmServer, ended, serving
from support.farms import held, open_gate
from support.frame_files import noise
from support.frame_jobs import add, copying, frames_job, rendered
from support.tunnel import search_path
from tailrace import plan_job
from tailrace._frames import decoder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.web

_NOT_THERE = ("Failed to load resource",)
"""What the console says of a picture that is refused; the page says why."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return one for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(autouse=True)
def path_with_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs find ffmpeg, and the server too."""
    monkeypatch.setenv("PATH", search_path())


def sheet(browser: Browser, server: FarmServer | CuttableProxy, job_id: str, **options: Any) -> Page:
    """Return a page with the frames of a job."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
    page.goto(f"{server.url}/#{TOKEN}")
    page.get_by_role("status").filter(has_text="Live").wait_for()
    page.evaluate("path => { location.hash = path }", f"#/job/{job_id}/frames")
    return page


def ffmpeg_script(*, first: int, count: int = 2, hue: int = 0) -> str:
    """Return a script that has ffmpeg render some frames."""
    source = f"testsrc2=s=640x360:r=24,hue=h={hue}"
    return f"ffmpeg -v error -y -f lavfi -i {source} -frames:v {count} -start_number {first} shot.%04d.png"


def seen(page: Page, name: str) -> Locator:
    """Return the picture of that name once it is there, whole."""
    picture = page.get_by_role("list", name="Frames").get_by_role("img", name=name, exact=True)
    picture.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    return picture


def test_frames_of_an_ffmpeg_job_appear_as_they_come(tmp_path: Path, browser: Browser) -> None:
    second = f"{held(tmp_path, 'gate')}; {ffmpeg_script(first=3, hue=90)}"
    with serving(tmp_path) as server:
        job_id = add(server, frames_job(ffmpeg_script(first=1), second, frames=2), tmp_path / "job")
        page = sheet(browser, server, job_id)
        told = listen_to(page)
        first = seen(page, "Frame 1")
        assert first.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [320, 180]
        seen(page, "Frame 2")
        assert page.get_by_role("img", name="Frame 3").count() == 0
        open_gate(tmp_path, "gate")
        seen(page, "Frame 3")
        seen(page, "Frame 4")
        page.get_by_role("button", name="All 4").wait_for()
        assert told == []
        page.close()


def test_a_video_is_seen_by_its_first_frame(tmp_path: Path, browser: Browser) -> None:
    script = "ffmpeg -v error -y -f lavfi -i testsrc2=s=640x360:r=24 -frames:v 24 part_0.mp4"
    with serving(tmp_path) as server:
        spec = frames_job(script, output_file="part_CHUNK.mp4", frames=24)
        page = sheet(browser, server, rendered(server, spec, tmp_path / "job"))
        seen(page, "Frames 1-24").click()
        page.get_by_role("dialog", name="Frames 1-24").wait_for()
        page.close()


def test_frames_of_a_blender_job_appear(tmp_path: Path, browser: Browser) -> None:
    if shutil.which("blender") is None:
        pytest.fail("this test needs blender: apt install blender")
    (tmp_path / "job").mkdir()
    scene = """
import bpy
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 2
scene.cycles.use_denoising = False
"""
    (tmp_path / "job" / "scene.py").write_text(scene)
    spec = plan_job("blender", "1-4", chunk_size=2, size=(320, 180), output="f_####.exr", source="scene.py")
    with serving(tmp_path, slots=1) as server:
        job_id = add(server, spec, tmp_path / "job")
        page = sheet(browser, server, job_id)
        page.set_default_timeout(200_000)
        picture = seen(page, "Frame 1")
        # The cube is there, through a display transform: neither black nor white.
        mean = picture.evaluate(
            """async image => {
                const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
                const paper = canvas.getContext("2d");
                paper.drawImage(image, 0, 0);
                const { data } = paper.getImageData(0, 0, canvas.width, canvas.height);
                return data.reduce((sum, value) => sum + value, 0) / data.length;
            }"""
        )
        assert 70 < mean < 250
        seen(page, "Frame 4")
        assert ended(server, job_id)["state"] == "completed"
        page.close()


def test_a_frame_is_opened_by_the_keyboard_which_goes_on_to_others(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        spec = frames_job(ffmpeg_script(first=1, count=8), frames=8)
        page = sheet(browser, server, rendered(server, spec, tmp_path / "job"))
        told = listen_to(page)
        seen(page, "Frame 1")
        tile = page.get_by_role("list", name="Frames").get_by_role("button")
        tile.first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Frame 7")
        large = dialog.get_by_role("img", name="Frame 7")
        large.wait_for()
        page.wait_for_function("image => image.naturalWidth === 640", arg=large.element_handle())
        page.keyboard.press("ArrowRight")
        page.get_by_role("dialog", name="Frame 8").wait_for()
        assert page.get_by_role("button", name="Next frame").is_disabled()
        # At the end the keys still are for the dialog.
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Home")
        page.get_by_role("dialog", name="Frame 1").wait_for()
        page.keyboard.press("+")
        assert "scale(1.25)" in page.locator(".layers").evaluate("element => element.style.transform")
        page.keyboard.press("0")
        assert page.locator(".layers").evaluate("element => element.style.transform") == ""
        page.mouse.move(700, 400)
        page.mouse.wheel(0, -100)
        assert "scale(1.25)" in page.locator(".layers").evaluate("element => element.style.transform")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        # Whoever closes it goes on from the frame that was seen last.
        page.locator(":focus img[alt='Frame 2']").wait_for()
        page.keyboard.press("Enter")
        page.get_by_role("dialog").get_by_role("button", name="Chunk").click()
        page.get_by_role("region", name="Chunk 0").wait_for()
        assert told == []
        page.close()


def test_two_frames_are_compared(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        spec = frames_job(ffmpeg_script(first=1, count=4), frames=4)
        page = sheet(browser, server, rendered(server, spec, tmp_path / "job"))
        told = listen_to(page)
        seen(page, "Frame 1").click()
        page.get_by_role("dialog").get_by_role("button", name="Compare").click()
        page.get_by_text("Frame 1: choose the other one").wait_for()
        seen(page, "Frame 3").click()
        dialog = page.get_by_role("dialog", name="Comparison")
        dialog.get_by_role("heading", name="Frame 1 and Frame 3").wait_for()
        left, right = (dialog.get_by_role("img", name=f"Frame {frame}").bounding_box() for frame in (1, 3))
        assert left is not None and right is not None
        assert left["x"] + left["width"] <= right["x"]
        dialog.get_by_role("button", name="Slider").click()
        second = dialog.locator(".layers .picture").last
        assert second.evaluate("element => element.style.clipPath") == "inset(0px 0px 0px 50%)"
        page.keyboard.press("ArrowRight")
        assert second.evaluate("element => element.style.clipPath") == "inset(0px 0px 0px 50.5%)"
        page.mouse.move(350, 300)
        page.mouse.down()
        page.mouse.up()
        assert second.evaluate("element => element.style.clipPath") == "inset(0px 0px 0px 25%)"
        dialog.get_by_role("button", name="Flip", exact=True).click()
        pictures = [dialog.get_by_role("img", name=f"Frame {frame}") for frame in (1, 3)]
        assert [picture.is_visible() for picture in pictures] == [True, False]
        page.keyboard.press(" ")
        assert [picture.is_visible() for picture in pictures] == [False, True]
        dialog.get_by_role("heading", name="Frame 3").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Compare two").click()
        page.get_by_text("Choose the first of two frames").wait_for()
        seen(page, "Frame 2").click()
        page.keyboard.press("Escape")
        page.get_by_text("choose the other one").wait_for(state="hidden")
        assert told == []
        page.close()


def test_flagged_frames_say_what_is_wrong_and_can_be_seen_alone(tmp_path: Path, browser: Browser) -> None:
    picture = noise(tmp_path / "a.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:-5000])
    gate = shlex.quote(str(tmp_path / "gate"))
    script = f"{copying(picture, 1, 2)}; cp {picture} shot.0003.png; test -e {gate} || cp {cut} shot.0003.png"
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(script, frames=3), tmp_path / "job", checkFrames="whole")
        page = sheet(browser, server, job_id)
        told = listen_to(page)
        seen(page, "Frame 1")
        # As far as it can be read.
        damaged = seen(page, "Frame 3")
        before = damaged.get_attribute("src")
        tile = page.get_by_role("listitem").filter(has_text="damaged: is cut short")
        assert tile.get_attribute("class") == "tile damaged"
        page.get_by_role("button", name="Flagged 1").click()
        page.get_by_role("img", name="Frame 1").wait_for(state="detached")
        assert page.get_by_role("listitem").count() == 1
        open_gate(tmp_path, "gate")
        server.send("POST", f"/api/v1/jobs/{job_id}/retry", "{}", JSON)
        # Nothing is flagged any more, so that all are shown.
        page.get_by_role("button", name="Flagged 0").wait_for()
        seen(page, "Frame 1")
        assert seen(page, "Frame 3").get_attribute("src") != before
        assert told == []
        page.close()


def test_ten_thousand_frames_are_scrolled_through_smoothly(tmp_path: Path, browser: Browser) -> None:
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job("true", frames=10_000), tmp_path / "job")
        picture = noise(tmp_path / "a.png")
        for frame in range(1, 10_001):
            os.link(picture, tmp_path / "job" / f"shot.{frame:04}.png")
        page = sheet(browser, server, job_id)
        told = listen_to(page)
        seen(page, "Frame 1")
        page.get_by_role("button", name="All 10,000").wait_for()
        frames = page.evaluate(
            """async () => {
                const times = [];
                let last = performance.now();
                const end = last + 3000;
                while (last < end) {
                    scrollBy(0, 600);
                    await new Promise(requestAnimationFrame);
                    const now = performance.now();
                    times.push(now - last);
                    last = now;
                }
                return times;
            }"""
        )
        # Some fifty a second on a machine with nothing else to do.
        assert sorted(frames)[len(frames) // 2] < 100
        assert page.get_by_role("listitem").count() < 200
        page.get_by_role("list", name="Frames").get_by_role("button").first.focus()
        page.keyboard.press("End")
        seen(page, "Frame 10000")
        assert page.evaluate("document.activeElement.querySelector('img').alt") == "Frame 10000"
        assert page.get_by_role("listitem").count() < 200
        assert told == []
        page.close()


def test_hostile_names_and_pictures_are_text(tmp_path: Path, browser: Browser) -> None:
    name = "<img src=x onerror=alert(1)>.####.png"
    script = f"printf '<script>alert(2)</script>' > {shlex.quote(name.replace('####', '0001'))}"
    with serving(tmp_path) as server:
        page = sheet(browser, server, rendered(server, frames_job(script, output_file=name), tmp_path / "job"))
        told = listen_to(page, ignore=_NOT_THERE)
        page.get_by_text("is no picture that can be read").wait_for()
        page.get_by_role("list", name="Frames").get_by_role("button").click()
        page.get_by_role("dialog").get_by_text("chunk 0 · <img src=x onerror=alert(1)>.0001.png").wait_for()
        page.get_by_role("dialog").get_by_text("is no picture that can be read").last.wait_for()
        assert told == []
        page.close()


def test_without_what_shows_frames_the_page_says_what_to_install(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "_NEEDED", ("tailrace",))
    monkeypatch.setattr("tailrace._frames.answers.lacking", lambda *_: ["OpenImageIO: pip install 'tailrace[frames]'"])
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1)), tmp_path / "job")
        page = sheet(browser, server, job_id)
        page.get_by_text("OpenImageIO: pip install 'tailrace[frames]'").wait_for()
        page.get_by_text("a look at a picture needs numpy").wait_for()
        page.close()


def test_a_sheet_that_lost_the_server_is_right_when_it_is_back(tmp_path: Path, browser: Browser) -> None:
    picture = noise(tmp_path / "a.png")
    script = f"{copying(picture, 1, 2)}; {held(tmp_path, 'gate')}; {copying(picture, 3, 4)}"
    with serving(tmp_path) as server, cuttable_proxy(server.port) as proxy:
        job_id = add(server, frames_job(script, frames=4), tmp_path / "job")
        page = sheet(browser, proxy, job_id)
        told = listen_to(page, ignore=("ERR_", *_NOT_THERE))
        seen(page, "Frame 1").click()
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        proxy.cut()
        page.get_by_text("Not connected").wait_for()
        open_gate(tmp_path, "gate")
        assert ended(server, job_id)["state"] == "completed"
        proxy.mend()
        seen(page, "Frame 4")
        assert told == []
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_the_sheet_fits_and_axe_finds_nothing_serious_in_it(
    tmp_path: Path, browser: Browser, width: int, scheme: Any
) -> None:
    with serving(tmp_path) as server:
        spec = frames_job(
            ffmpeg_script(first=1, count=4) + "; head -c 9000 shot.0004.png > a; mv a shot.0004.png", frames=4
        )
        job_id = rendered(server, spec, tmp_path / "job", checkFrames="whole")
        viewport = {"width": width, "height": 800}
        page = sheet(browser, server, job_id, viewport=viewport, color_scheme=scheme, bypass_csp=True)
        seen(page, "Frame 1")
        page.get_by_text("damaged:").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert serious_findings(page) == []
        seen(page, "Frame 4").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("damaged: is cut short").wait_for()
        assert dialog.evaluate("element => element.scrollWidth") == width
        assert serious_findings(page) == []
        dialog.get_by_role("button", name="Compare").click()
        seen(page, "Frame 1").click()
        page.get_by_role("dialog", name="Comparison").get_by_role("button", name="Slider").click()
        assert page.get_by_role("dialog").evaluate("element => element.scrollWidth") == width
        assert serious_findings(page) == []
        page.close()
