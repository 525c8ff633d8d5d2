"""A scene or a video is asked for its frames, its rate and its size, and answers exactly or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from support.loops import on_one_loop
from support.tunnel import search_path
from tailrace import FrameRange, SceneInfo, SpecError, inspect_scene

pytestmark = pytest.mark.anyio

FAKE_BLENDER = """#!{python}
import json, os, sys, time, types
args = sys.argv[1:]
values = json.loads(os.environ["SCENE"])
with open("told", "a") as told:
    told.write(json.dumps(args) + "\\n")
print("Blender 3.4.1", flush=True)
exec(values.pop("before", ""))
bpy = types.ModuleType("bpy")
render = types.SimpleNamespace(**{{name: values[name] for name in values if not name.startswith("frame")}})
scene = types.SimpleNamespace(render=render, **{{name: values[name] for name in values if name.startswith("frame")}})
bpy.context = types.SimpleNamespace(scene=scene)
sys.modules["bpy"] = bpy
exec(args[args.index("--python-expr") + 1])
print("Blender quit")
"""

SCENE = {
    "frame_start": 1,
    "frame_end": 250,
    "frame_step": 1,
    "fps": 24,
    "fps_base": 1.0,
    "resolution_x": 1920,
    "resolution_y": 1080,
    "resolution_percentage": 100,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, whose Blender does what the variable SCENE says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "blender"
    program.write_text(FAKE_BLENDER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{search_path()}")
    return tmp_path


def _scene(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    monkeypatch.setenv("SCENE", json.dumps({**SCENE, **values}))


@pytest.mark.parametrize(
    ("values", "frames", "fps", "size"),
    [
        ({}, "1-250", Fraction(24), (1920, 1080)),
        ({"frame_start": 10, "frame_end": 20, "frame_step": 3}, "10-19x3", Fraction(24), (1920, 1080)),
        ({"frame_start": 7, "frame_end": 7}, "7", Fraction(24), (1920, 1080)),
        # As Blender keeps them: numbers of four bytes.
        ({"fps": 30, "fps_base": 1.0010000467300415}, "1-250", Fraction(30000, 1001), (1920, 1080)),
        ({"fps": 25, "fps_base": 2.0}, "1-250", Fraction(25, 2), (1920, 1080)),
        ({"resolution_percentage": 50}, "1-250", Fraction(24), (960, 540)),
        ({"resolution_x": 1919, "resolution_percentage": 33}, "1-250", Fraction(24), (633, 356)),
        ({"before": "print('no end of the line', end='')"}, "1-250", Fraction(24), (1920, 1080)),
        ({"before": "print('x\\n' * 10000)"}, "1-250", Fraction(24), (1920, 1080)),
    ],
)
async def test_a_scene_says_its_frames_its_rate_and_its_size(
    values: dict[str, object],
    frames: str,
    fps: Fraction,
    size: tuple[int, int],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _scene(monkeypatch, **values)
    assert await inspect_scene("blender", "a.blend") == SceneInfo(FrameRange.parse(frames), fps, size)


async def test_a_scene_is_opened_as_the_chunks_will_open_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scene(monkeypatch)
    await inspect_scene("blender", "-a.blend", args=["--scene", "Shot", "--", "--seed", "3"])
    await inspect_scene("blender", "make.py")
    first, second = map(json.loads, (folder / "told").read_text().splitlines())
    assert first[:6] == ["--background", "--python-exit-code", "1", "./-a.blend", "--scene", "Shot"]
    assert first[6] == "--python-expr"
    assert first[-3:] == ["--", "--seed", "3"]
    assert second[:5] == ["--background", "--python-exit-code", "1", "--python", "make.py"]


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("print('Error: File format is not supported'); sys.exit(1)", "cannot read 'a.blend': File format is not supp"),
        (
            "print('Error: Python: x\\nValueError: no node\\nError: script failed'); sys.exit(1)",
            "ValueError: no node",
        ),
        ("sys.exit('no scene')", "blender cannot read 'a.blend': no scene"),
        ("sys.exit(3)", "blender cannot read 'a.blend': blender exited with status 3"),
        ("os.kill(os.getpid(), 9)", "blender cannot read 'a.blend': blender was ended by signal 9 (SIGKILL)"),
        ("sys.exit(0)", r"blender has not said what 'a.blend' has: give the frames, the rate and the size yourself"),
    ],
)
async def test_a_scene_that_cannot_be_opened_is_one_line_that_says_why(
    before: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _scene(monkeypatch, before=before)
    with pytest.raises(SpecError) as caught:
        await inspect_scene("blender", "a.blend")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


async def test_a_scene_that_ends_before_it_begins_has_no_frames(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scene(monkeypatch, frame_start=9, frame_end=8)
    with pytest.raises(SpecError, match=r"^'a\.blend' has no frames: it begins with 9 and ends with 8"):
        await inspect_scene("blender", "a.blend")


async def test_a_program_that_does_not_answer_in_time_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _scene(monkeypatch, before="open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    start = time.monotonic()
    with pytest.raises(
        SpecError, match=r"^blender has not said within 2 s what 'a\.blend' has: give the frames, the r"
    ):
        await inspect_scene("blender", "a.blend", timeout=2)
    assert time.monotonic() - start < 60
    pid = int((folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("template", ["blender", "ffmpeg"])
async def test_a_program_that_is_missing_is_one_line(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SpecError, match=rf"^'a b' cannot be looked at: cannot start {template}: no such program .*: give"
    ):
        await inspect_scene(template, "a b")


@pytest.mark.parametrize("template", ["povray", "render {start}", "nonsense"])
async def test_nothing_else_is_asked(template: str) -> None:
    with pytest.raises(SpecError, match=rf"^'{template}' does not say what its frames are, only Blender and ffmpeg do"):
        await inspect_scene(template, "a.pov")


@pytest.mark.parametrize("template", ["blender", "ffmpeg"])
async def test_without_a_source_there_is_nothing_to_ask(template: str) -> None:
    with pytest.raises(SpecError, match="source: is missing: name the scene or the video"):
        await inspect_scene(template, "")


# Videos


def _ffmpeg(*args: str) -> None:
    env = os.environ | {"PATH": search_path()}
    subprocess.run(["ffmpeg", "-v", "error", *args], env=env, stdin=subprocess.DEVNULL, check=True, timeout=200)


def _make_video(name: str, rate: str, *options: str, frames: int = 53) -> None:
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=48x32:rate={rate}", "-f", "lavfi", "-i", "sine=duration=9"]
    _ffmpeg(*picture, "-frames:v", str(frames), "-shortest", *options, f"./{name}")


@on_one_loop
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "ts"])
@pytest.mark.parametrize("rate", ["24000/1001", "25", "60000/1001"])
async def test_a_video_says_its_frames_its_rate_and_its_size_exactly(suffix: str, rate: str, folder: Path) -> None:
    codec = ["-c:v", "libvpx"] if suffix == "webm" else ["-c:v", "mpeg4", "-bf", "2"]
    _make_video(f"-a:b.{suffix}", rate, *codec)
    expected = SceneInfo(FrameRange(range(53)), Fraction(rate), (48, 32))
    assert await inspect_scene("ffmpeg", f"-a:b.{suffix}") == expected


@on_one_loop
async def test_frames_that_a_video_does_not_show_do_not_count(folder: Path) -> None:
    _make_video("whole.mp4", "25", "-c:v", "libx264", "-g", "50", frames=100)
    _ffmpeg("-ss", "1", "-i", "whole.mp4", "-an", "-c", "copy", "cut.mp4")
    assert (await inspect_scene("ffmpeg", "cut.mp4")).frames == range(75)


@on_one_loop
async def test_a_video_is_as_large_as_it_is_shown(folder: Path) -> None:
    _make_video("wide.mp4", "25", "-c:v", "libx264")
    _ffmpeg("-display_rotation", "90", "-i", "wide.mp4", "-c", "copy", "turned.mp4")
    assert (await inspect_scene("ffmpeg", "turned.mp4")).size == (32, 48)


@on_one_loop
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "ffmpeg cannot read 'missing.mp4': Error opening input"),
        ("text.mp4", "ffmpeg cannot read 'text.mp4': "),
        ("sound.wav", "ffmpeg cannot read 'sound.wav': Stream map '' matches no streams."),
    ],
)
async def test_what_is_no_video_is_one_line_that_says_why(name: str, message: str, folder: Path) -> None:
    (folder / "text.mp4").write_text("no video")
    _make_video("sound.wav", "25", "-vn")
    with pytest.raises(SpecError) as caught:
        await inspect_scene("ffmpeg", name)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@on_one_loop
@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mjpeg"), ("mkv", "ffv1"), ("mp4", "mpeg4")])
async def test_a_video_that_is_damaged_is_not_counted(suffix: str, codec: str, folder: Path) -> None:
    _make_video(f"good.{suffix}", "25", "-c:v", codec, "-an")
    content = bytearray((folder / f"good.{suffix}").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    (folder / f"bad.{suffix}").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        await inspect_scene("ffmpeg", f"bad.{suffix}")
    assert str(caught.value).startswith(
        (f"ffmpeg finds 'bad.{suffix}' damaged: ", f"ffmpeg cannot read 'bad.{suffix}'")
    )
    assert len(str(caught.value).splitlines()) == 1
