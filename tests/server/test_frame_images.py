"""How frames look: pictures of what renders wrote, whatever that is, for whoever asks and however often."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from support.farm_servers import BEARER, FarmServer, serving
from support.frame_files import noise, numpy_picture, png_head, video
from support.frame_jobs import copying, frames_job, rendered
from support.processes import descendants_marked
from support.workers import Answer, wait_until
from tailrace import check_frame
from tailrace._frames import decoder
from tailrace.server import _frame_images
from tailrace.server._frame_images import FrameImages


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmServer]:
    """A farm for all tests that need none of their own."""
    with serving(tmp_path_factory.mktemp("farm")) as running:
        yield running


def image(
    server: FarmServer, job_id: str, frame: int | str, query: str = "?chunk=0", headers: dict[str, str] | None = None
) -> Answer:
    """Ask for a picture."""
    return server.send("GET", f"/api/v1/jobs/{job_id}/frames/{frame}/image{query}", headers=BEARER | (headers or {}))


def refusal(answer: Answer) -> tuple[int, str]:
    """Return why there is no picture, which is told in one line."""
    message: str = answer.json()["error"]["message"]
    assert answer.headers["Content-Type"] == "application/json"
    assert "\n" not in message
    return answer.status, message


def size_of(answer: Answer, folder: Path) -> tuple[int | None, int | None]:
    """Return the width and the height of a picture that can be decoded to its end."""
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg"), answer.body[:300]
    (folder / "told.jpg").write_bytes(answer.body)
    found = check_frame(folder / "told.jpg")
    assert (found.reason, found.format) == (None, "jpeg")
    return found.width, found.height


@pytest.mark.parametrize("suffix", ["png", "jpg", "exr", "tif", "dpx", "mp4"])
def test_what_renderers_write_is_shown_as_a_jpeg(server: FarmServer, tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"a.{suffix}"
    if suffix == "mp4":
        video(source)
    else:
        noise(source, type_="half" if suffix == "exr" else "uint8")
    spec = frames_job(f"cp {source} shot.{suffix}", output_file=f"shot.{suffix}")
    job_id = rendered(server, spec, tmp_path / "job")
    assert size_of(image(server, job_id, 1), tmp_path) == (160, 96)
    assert size_of(image(server, job_id, 1, "?chunk=0&size=full"), tmp_path) == (160, 96)


def test_a_render_goes_before_pictures_of_its_frames(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1)), tmp_path / "job")
        before = {*descendants_marked("tailrace._frames.child.main")}
        assert image(server, job_id, 1).status == 200
        decoders = [
            process
            for process in {*descendants_marked("tailrace._frames.child.main")} - before
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        ]
        assert [os.getpriority(os.PRIO_PROCESS, process) for process in decoders] == [10]
        # Where the kernel has a group of the scheduler for each session, the group decides.
        with suppress(FileNotFoundError):
            group = Path(f"/proc/{decoders[0]}/autogroup").read_text().split()
            assert not group or group[-1] == "10"


def test_a_picture_is_as_large_as_it_is_asked_for(server: FarmServer, tmp_path: Path) -> None:
    source = numpy_picture(tmp_path / "a.png", "pixels = np.tile(pixels, (20, 20, 1))", type_="uint8")
    job_id = rendered(server, frames_job(copying(source, 1)), tmp_path / "job")
    assert size_of(image(server, job_id, 1), tmp_path) == (290, 174)
    assert size_of(image(server, job_id, 1, "?chunk=0&size=full"), tmp_path) == (1600, 960)
    assert image(server, job_id, 1, "?chunk=0&size=huge").status == 422


def test_a_browser_asks_whether_its_picture_is_still_right(server: FarmServer, tmp_path: Path) -> None:
    job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1)), tmp_path / "job")
    first = image(server, job_id, 1)
    tag = str(first.headers["ETag"])
    assert (first.headers["Cache-Control"], first.headers["X-Content-Type-Options"]) == ("private, no-cache", "nosniff")
    again = image(server, job_id, 1, headers={"If-None-Match": tag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    noise(tmp_path / "job" / "shot.0001.png", seed=2)
    other = image(server, job_id, 1, headers={"If-None-Match": tag})
    assert other.status == 200
    assert other.body != first.body
    assert other.headers["ETag"] != tag


def test_what_is_damaged_is_shown_as_far_as_it_can_be_read(server: FarmServer, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(noise(tmp_path / "a.png").read_bytes()[:-5000])
    job_id = rendered(server, frames_job(copying(cut, 1)), tmp_path / "job", checkFrames="whole")
    assert (tmp_path / "job" / "shot.0001.png.damaged").exists()
    assert not (tmp_path / "job" / "shot.0001.png").exists()
    assert size_of(image(server, job_id, 1), tmp_path) == (160, 96)


def test_hostile_pictures_are_refused_in_a_line_and_the_server_goes_on(server: FarmServer, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (tmp_path / "bomb").write_bytes(png_head(60_000, 60_000))
    os.truncate(tmp_path / "bomb", 1 << 28)
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    spec = frames_job(
        "cp ../bomb shot.0001.png",
        "cp ../large shot.0002.png",
        "mkfifo shot.0003.png",
        "ln -s /dev/zero shot.0004.png",
        "printf '<script>alert(1)</script>' > shot.0005.png",
        "mkdir shot.0006.png",
        "true",
        "touch shot.0008.png",
        "ln -s shot.0009.png shot.0009.png",
        copying(noise(tmp_path / "a.png"), 10),
    )
    job_id = rendered(server, spec, job)
    told = {frame: refusal(image(server, job_id, frame, f"?chunk={frame - 1}")) for frame in range(1, 10)}
    status, reason = told[1]
    assert (status, reason.startswith("shot.0001.png has 60000 x 60000 pixels of 3 channels, ")) == (422, True)
    assert told[2][0] == 422 and told[2][1].startswith("shot.0002.png is no picture that can be read")
    assert told[3] == (422, "shot.0003.png is not a file")
    assert told[4] == (422, "shot.0004.png is not a file")
    assert told[5][0] == 422 and told[5][1].startswith("shot.0005.png is no picture that can be read")
    assert told[6] == (422, "shot.0006.png is not a file")
    assert told[7] == (404, "shot.0007.png cannot be found: No such file or directory")
    assert told[8] == (422, "shot.0008.png is empty")
    assert told[9] == (404, "shot.0009.png cannot be found: Too many levels of symbolic links")
    assert image(server, job_id, 10, "?chunk=9").status == 200


def test_no_address_leads_to_a_file_that_the_job_does_not_name(server: FarmServer, tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    job = tmp_path / "job"
    job.mkdir()
    noise(job / "shot.0002.png")
    job_id = rendered(server, frames_job(copying(picture, 1)), job)
    assert image(server, job_id, 1).status == 200
    assert refusal(image(server, job_id, 2)) == (404, f"frame 2 of chunk 0 of job {job_id} is not rendered")
    assert image(server, job_id, 1, "?chunk=1").status == 404
    assert image(server, "nix", 1).status == 404
    for frame in ("..%2Fa.png", "1.0", "0x1", "%F0%9D%9F%8F", "9" * 30, "--1"):
        assert image(server, job_id, frame).status in (404, 422), frame
    for query in ("", "?chunk=x", "?chunk=0&path=../a.png", "?chunk=0&size=../a.png"):
        assert image(server, job_id, 1, query).status == 422


def test_a_link_is_followed_as_the_render_wrote_it(server: FarmServer, tmp_path: Path) -> None:
    noise(tmp_path / "a.png")
    job_id = rendered(server, frames_job("ln -s ../a.png shot.0001.png"), tmp_path / "job")
    assert size_of(image(server, job_id, 1), tmp_path) == (160, 96)


def test_whatever_goes_wrong_with_a_picture_others_are_made(
    server: FarmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1, 2, 3), frames=3), tmp_path / "job")

    async def fail(*arguments: object, **options: object) -> object:
        raise ValueError("what nobody thought of")

    with monkeypatch.context() as patch:
        patch.setattr(_frame_images, "show", fail)
        for frame in (1, 2, 3):
            told = (500, "something went wrong in the server: its log says what")
            assert refusal(image(server, job_id, frame)) == told
    assert "what nobody thought of" in caplog.text
    assert [image(server, job_id, frame).status for frame in (1, 2, 3)] == [200] * 3


def test_a_picture_that_many_ask_for_is_made_once_and_two_at_a_time(
    server: FarmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    at_once = []
    running = 0
    make = _frame_images._make

    async def counting(*arguments: object) -> object:
        nonlocal running
        running += 1
        made.append(arguments[1].path)  # type: ignore[attr-defined]
        at_once.append(running)
        await anyio.sleep(0.1)
        try:
            return await make(*arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(_frame_images, "_make", counting)
    script = copying(noise(tmp_path / "a.png"), *range(1, 7))
    job_id = rendered(server, frames_job(script, frames=6), tmp_path / "job")
    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(lambda number: image(server, job_id, number % 6 + 1), range(60)))
    assert {answer.status for answer in answers} == {200}
    assert len(made) == len(set(made)) == 6
    assert max(at_once) == 2


def test_who_has_left_is_not_waited_for(server: FarmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, made = threading.Event(), []
    make = _frame_images._make

    async def held(*arguments: object) -> object:
        made.append(arguments[1].path)  # type: ignore[attr-defined]
        await anyio.to_thread.run_sync(gate.wait)
        return await make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_frame_images, "_make", held)
    job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), *range(1, 9)), frames=8), tmp_path / "job")
    images: FrameImages = server.app._frames._images
    connections = []
    try:
        for frame in range(1, 9):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connections.append(connection)
            path = f"/api/v1/jobs/{job_id}/frames/{frame}/image?chunk=0"
            bearer = f"Authorization: {BEARER['Authorization']}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n\r\n".encode())
            wait_until(lambda count=frame: len(images._wanted) == count)  # type: ignore[misc]
    finally:
        for connection in connections:
            connection.close()
        try:
            # Those that are being made are made to their end.
            wait_until(lambda: len(images._wanted) == 2)
        finally:
            gate.set()
    wait_until(lambda: not images._wanted)
    assert len(made) == 2
    assert image(server, job_id, 8).status == 200


def test_what_is_kept_of_pictures_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_frame_images, "_ROOM", 20_000)
    with serving(tmp_path) as server:
        script = copying(noise(tmp_path / "a.png"), *range(1, 7))
        job_id = rendered(server, frames_job(script, frames=6), tmp_path / "job")
        sizes = [len(image(server, job_id, frame).body) for frame in range(1, 7)]
        images: FrameImages = server.app._frames._images
        assert sum(sizes) > 20_000 >= images._size > 0
        assert images._size == sum(map(_frame_images._size_of, images._kept.values()))
        assert [image(server, job_id, frame).status for frame in range(1, 7)] == [200] * 6


def test_without_what_pictures_need_the_answer_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that what decodes finds nothing else.
    monkeypatch.setattr(decoder, "_NEEDED", ("tailrace",))
    monkeypatch.setattr("tailrace._frames.answers.lacking", lambda *_: ["OpenImageIO: pip install 'tailrace[frames]'"])
    with serving(tmp_path) as server:
        job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1)), tmp_path / "job")
        status, message = refusal(image(server, job_id, 1))
        assert (status, message) == (501, "a look at a picture needs numpy: pip install 'tailrace[frames]'")
        lacks = server.send("GET", f"/api/v1/jobs/{job_id}/frames").json()["lacks"]
        assert lacks == ["OpenImageIO: pip install 'tailrace[frames]'"]


def test_a_decoder_that_is_killed_is_another_time_a_picture(
    server: FarmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = rendered(server, frames_job(copying(noise(tmp_path / "a.png"), 1)), tmp_path / "job")
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "_PROGRAM", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        pool_of_its_own = _frame_images.FrameImages()

        async def ask() -> object:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool_of_its_own.run)
                found = await pool_of_its_own.get(str(tmp_path / "a.png"), "thumb")
                tasks.cancel_scope.cancel()
            return found

        found = anyio.run(ask)
    assert isinstance(found, _frame_images.NoPicture)
    assert found.status == 503
    assert "was killed" in found.message
    assert not pool_of_its_own._kept
    assert image(server, job_id, 1).status == 200
