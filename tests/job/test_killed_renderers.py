"""A renderer or the host is killed in the seventh of eight frames: six are kept, and two are rendered again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.processes import descendants_marked, wait_until_none_is_marked
from support.tunnel import job_command, search_path

pytestmark = pytest.mark.renderers

# Each takes minutes for frame 7 unless there is a file named "hurry".

BLENDER_SCENE = """
from pathlib import Path
import bpy
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False

def set_samples(scene, *_):
    is_slow = scene.frame_current == 7 and not Path("hurry").exists()
    scene.cycles.samples = 10_000_000 if is_slow else 1

bpy.app.handlers.frame_change_pre.append(set_samples)
"""

POVRAY_SCENE = """
#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 0, -3> look_at 0 }
light_source { <2, 4, -3> 1 }
#if (frame_number = 7 & !file_exists("hurry"))
  sphere {
    0, 1 hollow pigment { rgbt 1 }
    interior { media { emission 1 method 1 intervals 1 samples 10000000 } }
  }
#else
  sphere { <clock, 0, 0>, 1 pigment { rgb <1, clock, 0> } }
#end
"""

OWN_RENDERER = """
import pathlib, struct, sys, time, zlib

def part(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

for frame in map(int, sys.argv[1].split(",")):
    print("frame", frame, "begins", flush=True)
    if frame == 7 and not pathlib.Path("hurry").exists():
        time.sleep(600)
    rows = zlib.compress((b"\\0" + bytes([20 * frame]) * 64) * 48)
    picture = part(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 0, 0, 0, 0)) + part(b"IDAT", rows) + part(b"IEND", b"")
    pathlib.Path(sys.argv[2].replace("##", f"{frame:02}")).write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + picture)
"""


class Renderer(NamedTuple):
    """What a renderer is given, and what its output says once it is at work on frame 7."""

    scene: str
    suffix: str
    at_work: str


RENDERERS = {
    "blender": Renderer(BLENDER_SCENE, ".py", '"frame":7,'),
    "povray": Renderer(POVRAY_SCENE, ".pov", '"frame":7,'),
    "own": Renderer(OWN_RENDERER, ".py", "frame 7 begins"),
}
KEPT = [f"f_{frame:02}.png" for frame in range(1, 7)]


class Job:
    """A planned job of one chunk of eight frames."""

    def __init__(self, name: str, folder: Path, mark: str) -> None:
        """Plan it; `mark` becomes part of the renderer's command line."""
        if name != "own" and shutil.which(name) is None:
            pytest.fail(f"this test needs {name}: apt install {name}")
        self.folder = folder
        self._mark = mark
        self._renderer = RENDERERS[name]
        source = f"{mark}{self._renderer.suffix}"
        (folder / source).write_text(self._renderer.scene)
        template = (
            [shlex.join([sys.executable, source]) + " {frames} {output}"]
            if name == "own"
            else [name, source, "--size", "64x48"]
        )
        plan = ["--frames", "1-8", "--chunk-size", "8", "--output", "f_##.png", "--to", "job.json"]
        command = [sys.executable, "-m", "tailrace", "job", "plan", *template, *plan]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it, with its events in a file."""
        options = ("--check-frames", "whole", "--events", "ndjson", *options)
        with (self.folder / "events").open("w") as events:
            return subprocess.Popen(
                job_command(self.folder, *options),
                env=os.environ | {"PATH": search_path()},
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=subprocess.PIPE,
                text=True,
            )

    def events(self, kind: str) -> list[Any]:
        """Return the events of a kind that there are up to now."""
        lines = (self.folder / "events").read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == kind]

    def frames_told(self) -> list[int]:
        """Return the frames that were told to be finished, in that order."""
        return [event["frame"] for event in self.events("frame_finished")]

    def pictures(self) -> dict[str, tuple[int, int, bytes]]:
        """Return the files of the frames, each with what changes when it is written anew."""
        files = sorted(self.folder.glob("f_*"))
        return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in files}

    def wait_for_the_seventh_frame(self) -> int:
        """Return the process that renders, once it is at work on frame 7 and six are there; the next one will hurry."""
        deadline = time.monotonic() + 60
        while self._renderer.at_work not in (self.folder / "events").read_text():
            assert time.monotonic() < deadline, "frame 7 has not begun"
            time.sleep(0.05)
        assert list(self.pictures()) == KEPT
        (self.folder / "hurry").touch()
        (process,) = descendants_marked(self._mark)
        return process


def finish(job: subprocess.Popen[str]) -> str:
    """Wait until a job has ended well; return what it said."""
    _, said = job.communicate(timeout=100)
    assert job.returncode == 0, said
    return said


def assert_that_two_were_rendered(job: Job, before: dict[str, tuple[int, int, bytes]], command: str) -> None:
    after = job.pictures()
    assert {name: after[name] for name in KEPT} == before
    assert [name for name in after if name.endswith(".png")] == [*KEPT, "f_07.png", "f_08.png"]
    assert "7..8" in command or "7,8" in command
    assert "1..8" not in command


@pytest.mark.parametrize("name", RENDERERS)
def test_a_renderer_that_is_killed_in_its_seventh_frame_of_eight_renders_two_again(
    name: str, tmp_path: Path, mark: str
) -> None:
    job = Job(name, tmp_path, mark)
    running = job.start("--retries", "1", "--retry-delay", "0.1")
    process = job.wait_for_the_seventh_frame()
    before = job.pictures()
    os.kill(process, signal.SIGKILL)
    said = finish(running)
    first, second = job.events("chunk_started")
    assert_that_two_were_rendered(job, before, second["command"])
    assert list(job.pictures()) == [*KEPT, "f_07.png", "f_08.png"]
    assert job.frames_told() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event["attempt"] for event in job.events("frame_finished")][-2:] == [2, 2]
    (retrying,) = job.events("chunk_retrying")
    assert "signal 9 (SIGKILL)" in retrying["reason"]
    assert "frames 7-8 missing of 8" in retrying["reason"]
    assert "1 chunk done, 1 retry, 8 of 8 frames" in said
    assert first["command"] != second["command"]


def test_a_frame_that_was_being_written_when_its_renderer_was_killed_is_rendered_again(
    tmp_path: Path, mark: str
) -> None:
    job = Job("blender", tmp_path, mark)
    running = job.start("--retries", "1", "--retry-delay", "0.1")
    process = job.wait_for_the_seventh_frame()
    before = job.pictures()
    sixth = before["f_06.png"][2]
    (tmp_path / "f_07.png").write_bytes(sixth[: len(sixth) // 2])
    os.kill(process, signal.SIGKILL)
    said = finish(running)
    assert_that_two_were_rendered(job, before, job.events("chunk_started")[1]["command"])
    assert len((tmp_path / "f_07.png").read_bytes()) > len(sixth) // 2
    assert job.frames_told() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "1 chunk done, 1 retry, 8 of 8 frames" in said


@pytest.mark.parametrize("name", RENDERERS)
def test_a_job_whose_host_was_killed_in_the_seventh_frame_of_eight_goes_on_with_two(
    name: str, tmp_path: Path, mark: str
) -> None:
    job = Job(name, tmp_path, mark)
    host = job.start()
    job.wait_for_the_seventh_frame()
    before = job.pictures()
    host.kill()
    host.communicate(timeout=100)
    wait_until_none_is_marked(mark)
    assert job.pictures() == before
    told: Sequence[int] = job.frames_told()
    assert list(told) == list(range(1, len(told) + 1))
    said = finish(job.start("--resume"))
    (started,) = job.events("chunk_started")
    assert_that_two_were_rendered(job, before, started["command"])
    assert job.frames_told() == [7, 8]
    assert "1 chunk done, 8 of 8 frames" in said
    said = finish(job.start("--resume"))
    assert job.events("chunk_started") == []
    assert "0 chunks done, 1 done before, 8 of 8 frames" in said
