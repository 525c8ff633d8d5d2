"""What Blender and POV-Ray make of a planned job."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import anyio
import pytest

from support.tunnel import run_job, search_path
from tailrace import (
    FrameRange,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    SceneInfo,
    SpecError,
    inspect_scene,
    parse_command,
    plan_job,
)
from tailrace._spec.retry_command import fill_in_frames

pytestmark = pytest.mark.renderers

SCENE = """
#version 3.7;
camera { location <0, 0, -3> look_at 0 }
light_source { <2, 4, -3> 1 }
#include "ball.inc"
"""
BALL = "sphere { <clock, 0, 0>, 1 pigment { rgb <1, clock, 0> } }"

MAKE_SCENE = """
import os
import sys
import bpy
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.cycles.use_denoising = False
scene.frame_step = 3
if "--save" in sys.argv:
    saved = sys.argv[sys.argv.index("--save") + 1]
    # Each chunk saves the scene, and Blender refuses a file that another one of it is saving.
    own = f"{saved}.{os.getpid()}.blend"
    bpy.ops.wm.save_as_mainfile(filepath=own)
    os.replace(own, saved)
"""


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.fail(f"this test needs {program}: apt install {program}")


def _run(spec: JobSpec, folder: Path) -> None:
    (folder / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = run_job(folder, "--verify-output", "--concurrency", "2", path=search_path())
    assert done.returncode == 0, done.stderr


def _saved_to(scene: Path) -> list[str]:
    """Return the arguments that have the script save the scene."""
    return ["--", "--save", str(scene)]


def _pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("f*")}


def _rendered(template: str, frames: str, folder: Path, *, size: Sequence[int] = (32, 24), **options: object) -> None:
    width, height = size
    spec = plan_job(template, frames, size=(width, height), **options)  # type: ignore[arg-type]
    _run(spec, folder)


def test_chunks_of_povray_are_equal_to_a_single_pass(tmp_path: Path) -> None:
    _need("povray")
    for folder in ("it's s", "chunks", "single"):
        (tmp_path / folder).mkdir()
    (tmp_path / "it's s" / "a b.pov").write_text(SCENE)
    (tmp_path / "it's s" / "ball.inc").write_text(BALL)
    _rendered("povray", "1-12", tmp_path, chunk_size=5, output="chunks/f 1_####.bmp", source="it's s/a b.pov")
    # BMP files hold no date.
    scene = ['+I"it\'s s/a b.pov"', '+L"it\'s s"', '+O"single/f 1_00.bmp"']
    subprocess.run(
        ["povray", *scene, "+FB", "+W32", "+H24", "-D", "+KFF12"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=200,
    )
    chunks = _pictures(tmp_path / "chunks")
    assert len(set(chunks.values())) == 12
    assert chunks == _pictures(tmp_path / "single")


@pytest.mark.parametrize("suffix", ["bmp", "exr", "hdr", "jpg", "png", "ppm", "tga"])
def test_povray_writes_the_files_that_the_job_names(suffix: str, tmp_path: Path) -> None:
    _need("povray")
    (tmp_path / "a.pov").write_text(SCENE.replace('#include "ball.inc"', BALL))
    _rendered("povray", "0-10x5", tmp_path, chunk_size=1, output=f"f_##.{suffix}", source="a.pov")
    assert sorted(path.name for path in tmp_path.glob("f_*")) == [f"f_{frame:02}.{suffix}" for frame in (0, 5, 10)]


def test_blender_renders_a_scene_with_a_step_and_the_size_that_was_asked_for(tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "make scene.py").write_text(MAKE_SCENE)
    scene = tmp_path / "scenes" / "a 'b\".blend"
    scene.parent.mkdir()
    _rendered(
        "blender",
        "1-9x4,12",
        tmp_path,
        chunk_size=2,
        output="new dir/f 1_####.png",
        source="make scene.py",
        args=_saved_to(scene),
    )
    assert set(_pictures(tmp_path / "new dir")) == {f"f 1_{frame:04}.png" for frame in (1, 5, 9, 12)}
    _rendered("blender", "3-4", tmp_path, chunk_size=2, output="f_##.png", source="scenes/a 'b\".blend")
    for picture in (tmp_path / "f_03.png", tmp_path / "f_04.png"):
        # Width and height, where every PNG file has them.
        assert picture.read_bytes()[16:24] == bytes([0, 0, 0, 32, 0, 0, 0, 24])


@pytest.mark.parametrize("template", ["blender", "povray"])
def test_a_job_file_in_another_folder_renders_into_the_current_one(template: str, tmp_path: Path) -> None:
    _need(template)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "jobs" / "deep").mkdir(parents=True)
    (tmp_path / "scenes" / "blender.py").write_text(MAKE_SCENE)
    (tmp_path / "scenes" / "povray.pov").write_text(SCENE)
    (tmp_path / "scenes" / "ball.inc").write_text(BALL)
    (scene,) = (tmp_path / "scenes").glob(f"{template}.*")
    plan = [template, str(scene.relative_to(tmp_path)), "--frames", "1-3", "--chunk-size", "2", "--size", "32x24"]
    to = ["--output", "a b/f_##.png", "--to", "jobs/deep/job.json"]
    command = [sys.executable, "-m", "tailrace", "job", "plan", *plan, *to]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=200)
    done = run_job(tmp_path / "jobs" / "deep", "--verify-output", path=search_path())
    assert done.returncode == 0, done.stderr
    assert set(_pictures(tmp_path / "a b")) == {"f_01.png", "f_02.png", "f_03.png"}


@pytest.mark.parametrize("suffix", ["bmp", "exr", "hdr", "jpeg", "jpg", "png", "tga", "tif", "tiff", "webp"])
def test_blender_writes_the_files_that_the_job_names(suffix: str, tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "scene.py").write_text(MAKE_SCENE)
    _rendered("blender", "7", tmp_path, chunk_size=1, output=f"f_##.{suffix}", source="scene.py")
    assert [path.name for path in tmp_path.glob("f_*")] == [f"f_07.{suffix}"]


def test_a_script_that_fails_fails_the_chunk(tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "scene.py").write_text("raise SystemError('no scene')")
    spec = plan_job("blender", "7", chunk_size=1, output="f_##.png", source="scene.py")
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = run_job(tmp_path, path=search_path())
    assert done.returncode == 1
    assert "no scene" in done.stdout + done.stderr
    assert not list(tmp_path.glob("f_*"))


def test_a_script_that_fails_after_the_scene_fails_the_chunk(tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "make.py").write_text(MAKE_SCENE)
    _rendered(
        "blender",
        "1",
        tmp_path,
        chunk_size=1,
        output="f_##.png",
        source="make.py",
        args=_saved_to(tmp_path / "scene.blend"),
    )
    (tmp_path / "setup.py").write_text("raise ValueError('no such node')")
    spec = plan_job(
        "blender", "7", chunk_size=1, output="f_##.png", source="scene.blend", args=["--python", "setup.py"]
    )
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    done = run_job(tmp_path, path=search_path())
    assert done.returncode == 1
    assert "no such node" in done.stdout + done.stderr
    assert not (tmp_path / "f_07.png").exists()


def test_blender_renders_the_frames_of_a_list_and_those_below_zero(tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "scenes").mkdir()
    (tmp_path / "make.py").write_text(MAKE_SCENE)
    save = _saved_to(tmp_path / "scenes" / "a.blend")
    _rendered(
        "blender", "1,5,8-10,20", tmp_path, chunk_size=9, output="it's {x}/f_####.png", source="make.py", args=save
    )
    assert set(_pictures(tmp_path / "it's {x}")) == {f"f_{frame:04}.png" for frame in (1, 5, 8, 9, 10, 20)}
    _rendered(
        "blender", "-10,-3--2,4", tmp_path, chunk_size=9, output="it's é/f '{n}_####.png", source="scenes/a.blend"
    )
    assert set(_pictures(tmp_path / "it's é")) == {f"f '{{n}}_{frame:04}.png" for frame in (-10, -3, -2, 4)}


def _render_some(spec: JobSpec, frames: str, folder: Path) -> set[str]:
    """Render some frames of the only chunk; return the files that there are then."""
    options = JobExecutionOptions(job_dir=folder, chunk_frames={0: frames}, verify_output=True)
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, spec, options)
    return {path.name for path in folder.glob("f_*.png")}


@pytest.mark.parametrize("frames", ["1-8", "-3-4"])
def test_blender_renders_some_frames_of_a_chunk_alone(frames: str, tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "make.py").write_text(MAKE_SCENE)
    spec = plan_job("blender", frames, chunk_size=8, output="f_##.png", source="make.py", size=(32, 24))
    assert _render_some(spec, "1-2,4", tmp_path) == {"f_01.png", "f_02.png", "f_04.png"}


def test_povray_renders_some_frames_of_a_chunk_alone(tmp_path: Path) -> None:
    _need("povray")
    (tmp_path / "a.pov").write_text(SCENE.replace('#include "ball.inc"', BALL))
    spec = plan_job("povray", "1-8", chunk_size=8, output="f_##.bmp", source="a.pov", size=(32, 24))
    _run(spec, tmp_path)
    single_pass = _pictures(tmp_path)
    for picture in tmp_path.glob("f_*"):
        picture.unlink()
    _render_some(spec, "3-4,6", tmp_path)
    names = {"f_03.bmp", "f_04.bmp", "f_06.bmp"}
    assert _pictures(tmp_path) == {name: single_pass[name] for name in names}


def test_povray_stops_at_the_first_run_that_fails(tmp_path: Path) -> None:
    _need("povray")
    spec = plan_job("povray", "1-8", chunk_size=8, output="f_##.png", source="missing.pov")
    retry_command = spec.chunks[0].retry_command
    assert retry_command is not None
    command, args = parse_command(fill_in_frames(retry_command, (3, 4, 6)))
    done = subprocess.run([command, *args], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    assert done.stderr.count("Cannot open input file") == 1 or done.stderr.count("Cannot find file") == 1


SETTINGS = """
import bpy
scene = bpy.context.scene
scene.frame_start, scene.frame_end, scene.frame_step = 10, 20, 4
scene.render.fps, scene.render.fps_base = 30, 1.001
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 641, 360, 50
other = bpy.data.scenes.new("Other")
other.frame_end = 7
print("no end of the line", end="")
"""


def test_blender_says_what_a_scene_has(tmp_path: Path) -> None:
    _need("blender")
    (tmp_path / "make.py").write_text(SETTINGS)
    source = str(tmp_path / "make.py")
    info = anyio.run(inspect_scene, "blender", source)
    assert info == SceneInfo(FrameRange.parse("10-18x4"), Fraction(30000, 1001), (320, 180))
    of_other = anyio.run(partial(inspect_scene, "blender", source, args=["--scene", "Other"]))
    assert of_other.frames == range(1, 8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.blend", "no scene", "blender cannot read 'broken.blend': File format is not supported in file"),
        ("missing.blend", None, "blender cannot read 'missing.blend': Cannot read file"),
        ("raises.py", "raise ValueError('no such node')", "blender cannot read 'raises.py': ValueError: no such node"),
        ("exits.py", "import sys\nsys.exit('no scene')", "blender cannot read 'exits.py': no scene"),
        ("syntax.py", "def x(:", "blender cannot read 'syntax.py': SyntaxError: invalid syntax"),
    ],
)
def test_a_scene_that_blender_cannot_open_is_one_line(
    name: str, content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need("blender")
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SpecError) as caught:
        anyio.run(inspect_scene, "blender", name)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1
