"""Videos are decoded to their end, and their frames counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.frame_files import check, cut, ffmpeg, noise, reasons, video
from support.loops import on_one_loop
from tailrace import TailraceError

pytestmark = [pytest.mark.anyio, on_one_loop]

CODECS = {
    "mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "mov": ["-c:v", "prores", "-an"],
    "mkv": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "avi": ["-c:v", "mjpeg", "-q:v", "3"],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One video of each container."""
    folder = tmp_path_factory.mktemp("videos")
    return [video(folder / f"v.{suffix}", *options) for suffix, options in CODECS.items()]


async def test_a_whole_video_is_ok_and_its_frames_are_counted(videos: list[Path]) -> None:
    found = await check(*videos, frames=25)
    assert [(one.kind, one.reason, one.width, one.height, one.frames) for one in found] == [
        ("video", None, 160, 96, 25)
    ] * len(CODECS)


async def test_a_video_that_is_cut_short_or_has_zeros_inside_is_damaged(videos: list[Path], tmp_path: Path) -> None:
    pieces = []
    for path in videos:
        data = path.read_bytes()
        place = len(data) * 6 // 10
        pieces.append(cut(tmp_path / f"half_{path.name}", data[: len(data) // 2]))
        # To a JPEG zeros are as good as anything, and it has no checksum.
        if path.suffix != ".avi":
            pieces.append(cut(tmp_path / f"zeros_{path.name}", data[:place] + bytes(4096) + data[place + 4096 :]))
    found = await check(*pieces)
    assert [one.name for one in found if one.ok] == []


async def test_a_video_with_other_than_the_expected_number_of_frames_is_damaged(videos: list[Path]) -> None:
    (path,) = (path for path in videos if path.suffix == ".mkv")
    (fewer,) = await check(path, frames=30)
    (more,) = await check(path, frames=24)
    assert fewer.reason == "holds 25 of 30 frames"
    assert more.reason == "holds 25 frames, more than the 24 it should"


async def test_what_is_no_video_is_damaged_whatever_its_name_says(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello there\n" * 50)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {videos[0].name}\n")
    (tmp_path / videos[0].name).write_bytes(videos[0].read_bytes())
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.mp4")
    found = await check(*(tmp_path / name for name in ("text.mp4", "list.mp4", "sound.mp4")))
    assert str(found[0].reason).startswith("is no video that can be read")
    assert [one.reason for one in found[1:]] == [
        "is no video: it is a list of other files (concat)",
        "holds no video",
    ]


async def test_frames_that_are_shown_at_the_same_time_are_no_damage(tmp_path: Path) -> None:
    twice = ["-vf", "setpts='floor(N/2)*2/FR/TB'", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    found = await check(video(tmp_path / "v.mkv", *twice, sound=False), frames=25)
    assert [(one.reason, one.frames) for one in found] == [(None, 25)]


async def test_an_ffmpeg_that_is_killed_or_cannot_be_started_is_no_fault_of_the_video(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(TailraceError, match=r"v.mp4 was not looked at: ffmpeg was killed \(signal 9\): is the memory"):
        await check(videos[0])
    program.write_text("#!/nowhere\n")
    with pytest.raises(TailraceError, match=r"v.mp4 was not looked at: ffmpeg cannot be started: No such file"):
        await check(videos[0])


async def test_a_video_is_decoded_by_few_threads_whatever_the_number_of_processors(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Each takes as much memory as a few pictures, which with sixteen is more than there may be.
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec {shutil.which("ffmpeg")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (await check(videos[0]))[0].ok
    before_input = (tmp_path / "words").read_text().partition(" -i ")[0].split()
    assert 1 <= int(before_input[before_input.index("-threads") + 1]) <= 4


async def test_a_video_is_known_by_its_content(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "v.png").write_bytes(videos[0].read_bytes())
    noise(tmp_path / "n.png").rename(tmp_path / "n.mp4")
    found = await check(tmp_path / "v.png", tmp_path / "n.mp4")
    assert [(one.kind, one.ok, one.frames) for one in found] == [("video", True, 25), ("picture", True, None)]


async def test_a_path_of_a_video_may_look_like_a_pattern_or_an_address(videos: list[Path], tmp_path: Path) -> None:
    names = ["f%04d.mp4", "a\nb.mp4", "http:x.mp4", "latin\udce9.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(videos[0].read_bytes())
    assert reasons(await check(*(tmp_path / name for name in names))) == [(name, None) for name in names]


async def test_without_ffmpeg_a_video_cannot_be_looked_at_and_the_error_says_so(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TailraceError, match=r"by ffmpeg, which was not found: install it, .*`apt install ffmpeg`"):
        await check(videos[0])
    # That it is there can be seen without.
    assert (await check(videos[0], level="exist"))[0].ok
