"""What Blender makes of scenes that cannot be right: what is wrong is named at the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.tunnel import run_job, search_path

pytestmark = pytest.mark.renderers

MAKE_SCENES = """
import os
import bpy

HANDLER = '''
import bpy
def set_rig(scene, *_):
    raise ValueError("no such rig")
bpy.app.handlers.frame_change_pre.append(set_rig)
'''

def begin():
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False

def save(name):
    bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath(name), relative_remap=False)

def add_texture(path):
    image = bpy.data.images.new(path, 8, 8)
    image.filepath_raw = path
    image.source = "FILE"
    nodes = bpy.data.materials["Material"].node_tree
    texture = nodes.nodes.new("ShaderNodeTexImage")
    texture.image = image
    nodes.links.new(texture.outputs["Color"], nodes.nodes["Principled BSDF"].inputs["Base Color"])
    return image

begin()
bpy.data.objects.remove(bpy.context.scene.camera)
save("camera.blend")

begin()
add_texture("//textures/it's wood.png")
save("texture.blend")

begin()
bpy.data.images.new("there.png", 8, 8).save_render(os.path.abspath("there.png"))
add_texture("//there.png")
packed = add_texture(os.path.abspath("there.png"))
packed.pack()
packed.filepath_raw = "//packed.png"
save("textures.blend")

begin()
text = bpy.data.texts.new("rig.py")
text.write(HANDLER)
text.use_module = True
save("handler.blend")

begin()
driver = bpy.data.objects["Cube"].driver_add("location", 0).driver
driver.type = "SCRIPTED"
driver.expression = "turn(frame)"
save("driver.blend")
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("blender") is None:
        pytest.fail("this test needs blender: apt install blender")
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "make.py").write_text(MAKE_SCENES)
    # Blender goes by PWD, which is another folder.
    command = ["blender", "--background", "--python-exit-code", "1", "--python", str(folder / "make.py")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)
    return folder


def render(scene: Path, folder: Path, *args: str) -> tuple[int, list[str]]:
    """Render two frames of a scene; return the exit status of the job, and what was said without the output."""
    plan = ["blender", str(scene), "--frames", "1-2", "--chunk-size", "2", "--size", "32x24", "--output", "f_##.png"]
    command = [
        sys.executable,
        "-m",
        "tailrace",
        "job",
        "plan",
        *plan,
        "--to",
        "job.json",
        *(["--", *args] if args else []),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)
    done = run_job(folder, "--check-frames", "whole", "--retries", "1", path=search_path())
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("tailrace: ")]


def test_a_scene_without_a_camera_fails_once_in_blenders_own_words(scenes: Path, tmp_path: Path) -> None:
    status, said = render(scenes / "camera.blend", tmp_path)
    assert status == 1
    failure = "tailrace: chunk 0 failed: blender exited with status 1: Error: Cannot render, no camera [scene]"
    assert said.count(failure) == 1
    assert [line for line in said if "job job: 0 chunks done, 1 failed (0), 0 of 2 frames" in line]


def test_a_script_that_raises_fails_with_the_last_line_of_its_traceback(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("import bpy\nbpy.data.objects['Cube']\nraise ValueError('no such node')\n")
    status, said = render(scenes / "textures.blend", tmp_path, "--python", "setup.py")
    assert status == 1
    assert "tailrace: chunk 0 failed: blender exited with status 1: ValueError: no such node [scene]" in said
    assert not list(tmp_path.glob("f_*"))


def test_a_texture_that_is_missing_is_named_at_the_end_though_blender_renders_on(scenes: Path, tmp_path: Path) -> None:
    status, said = render(scenes / "texture.blend", tmp_path)
    assert status == 0
    path = scenes / "textures" / "it's wood.png"
    assert said[-2] == f"tailrace: chunk 0 is done, and reported: Warning: Path '{path}' not found"
    assert "1 chunk done (1 with errors), 2 of 2 frames" in said[-1]
    assert len(list(tmp_path.glob("f_*.png"))) == 2


def test_textures_that_are_there_or_packed_are_not_called_missing(scenes: Path, tmp_path: Path) -> None:
    status, said = render(scenes / "textures.blend", tmp_path)
    assert status == 0
    assert "1 chunk done, 2 of 2 frames" in said[-1]
    assert not [line for line in said if "reported" in line]


# `--python-exit-code` is for the scripts of the command line alone.


def test_a_handler_in_the_scene_that_raises_is_named_at_the_end(scenes: Path, tmp_path: Path) -> None:
    status, said = render(scenes / "handler.blend", tmp_path, "--enable-autoexec")
    assert status == 0
    assert said[-2].startswith("tailrace: chunk 0 is done, and reported: ValueError: no such rig")
    assert "1 chunk done (1 with errors), 2 of 2 frames" in said[-1]


def test_a_script_in_the_scene_that_blender_does_not_run_is_named_at_the_end(scenes: Path, tmp_path: Path) -> None:
    status, said = render(scenes / "handler.blend", tmp_path, "--disable-autoexec")
    assert status == 0
    reported = f"scripts disabled for \"{scenes / 'handler.blend'}\", skipping 'rig.py'"
    assert said[-2] == f"tailrace: chunk 0 is done, and reported: {reported}"


@pytest.mark.parametrize(
    ("option", "reported"),
    [
        ("--enable-autoexec", "NameError: name 'turn' is not defined (and 1 other error)"),
        ("--disable-autoexec", "Error in PyDriver: expression failed: turn(frame) (and 1 other error)"),
    ],
)
def test_a_driver_that_fails_is_named_at_the_end(scenes: Path, tmp_path: Path, option: str, reported: str) -> None:
    status, said = render(scenes / "driver.blend", tmp_path, option)
    assert status == 0
    assert said[-2] == f"tailrace: chunk 0 is done, and reported: {reported}"
