"""Run renderers on small scenes and save what they print, byte by byte: into tests/progress/logs, or another folder.

python scripts/record_renderer_logs.py [--into FOLDER] [CASE ...]

Blender and POV-Ray must be installed, and ffmpeg be in PATH.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "tests" / "progress" / "logs"
# In the logs the folder is called so, whatever it was.
SHOWN_FOLDER = b"/tmp/render"

INSTALL = {
    "blender": "apt-get install --no-install-recommends blender",
    "povray": "apt-get install --no-install-recommends povray",
    "ffmpeg": "make .venv/bin/ffmpeg",
}

MAKE_SCENE = ["blender", "--background", "--factory-startup", "--python", "make_scene.py", "--", "scene.blend"]
RENDER_SCENE = ["blender", "--background", "scene.blend", "--render-output", "{folder}/frame_####"]
MAKE_VIDEO = ["ffmpeg", "-f", "lavfi", "-i", "testsrc=duration=2:size=160x90", "-pix_fmt", "yuv420p", "in.mp4"]
# At the speed of the video, so that there is progress to see.
ENCODE = ["ffmpeg", "-re", "-i", "in.mp4", "-stats_period", "0.25", "-tune", "zerolatency"]
RENDER_BALL = ["povray", "+Iball.pov", "+W160", "+H90", "-D", "+WT1"]

LAYERS = """import bpy
scene = bpy.context.scene
scene.view_layers.new("Second, with | things")
scene.use_nodes = True
"""
FULL = """import bpy
bpy.context.scene.render.use_file_extension = False
bpy.context.scene.render.filepath = "/dev/full"
bpy.ops.render.render(write_still=True)
"""
FILM = "import bpy; bpy.context.scene.render.image_settings.file_format = 'FFMPEG'"
LINK = """import bpy, os
library = os.path.abspath("library.blend")
bpy.ops.wm.save_as_mainfile(filepath=library, copy=True)
with bpy.data.libraries.load(library, link=True) as (there, linked):
    linked.objects = ["Sphere"]
bpy.context.collection.objects.link(linked.objects[0])
bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath("linked.blend"))
"""

CASES = {
    "blender_animation": [MAKE_SCENE, [*RENDER_SCENE, "--frame-start", "4", "--frame-end", "6", "--render-anim"]],
    "blender_scene_error": [
        MAKE_SCENE,
        [
            *RENDER_SCENE,
            "--python-expr",
            "import bpy; bpy.context.scene.camera = None",
            "--render-frame",
            "1",
        ],
    ],
    "blender_denoiser": [
        MAKE_SCENE,
        [
            *RENDER_SCENE,
            "--python-expr",
            "import bpy; bpy.context.scene.cycles.use_denoising = True",
            "--render-frame",
            "1",
        ],
    ],
    "blender_layers": [
        MAKE_SCENE,
        [*RENDER_SCENE, "--python-expr", LAYERS, "--frame-start", "4", "--frame-end", "5", "--render-anim"],
    ],
    "blender_film": [
        MAKE_SCENE,
        [*RENDER_SCENE, "--python-expr", FILM, "--frame-start", "1", "--frame-end", "3", "--render-anim"],
    ],
    "blender_script": [
        MAKE_SCENE,
        [
            *RENDER_SCENE[:2],
            "--python-exit-code",
            "1",
            *RENDER_SCENE[2:],
            "--python-expr",
            "import bpy; bpy.data.objects['none']",
            "--render-frame",
            "1",
        ],
    ],
    "blender_script_goes_on": [
        MAKE_SCENE,
        [*RENDER_SCENE, "--python-expr", "def (:", "--render-frame", "1"],
    ],
    "blender_missing_script": [
        MAKE_SCENE,
        [*RENDER_SCENE, "--python", "none.py", "--render-frame", "1"],
    ],
    "blender_missing_library": [
        MAKE_SCENE,
        ["blender", "--background", "scene.blend", "--python-expr", LINK],
        ["rm", "library.blend"],
        ["blender", "--background", "linked.blend", *RENDER_SCENE[3:], "--render-frame", "1"],
    ],
    "blender_full_disk": [
        MAKE_SCENE,
        ["blender", "--background", "scene.blend", "--python-expr", FULL],
    ],
    "blender_missing_file": [["blender", "--background", "{folder}/none.blend", "--render-anim"]],
    "ffmpeg": [MAKE_VIDEO, [*ENCODE, "out.mp4"]],
    "ffmpeg_progress": [MAKE_VIDEO, [*ENCODE, "-nostats", "-progress", "pipe:1", "out.mp4"]],
    "ffmpeg_missing_input": [["ffmpeg", "-i", "none.mp4", "out.mp4"]],
    "ffmpeg_unknown_encoder": [MAKE_VIDEO, ["ffmpeg", "-i", "in.mp4", "-c:v", "none", "out.mp4"]],
    "ffmpeg_full_disk": [MAKE_VIDEO, ["ffmpeg", "-i", "in.mp4", "-f", "avi", "-y", "/dev/full"]],
    "povray_animation": [[*RENDER_BALL, "+KFF24", "+SF4", "+EF6"]],
    # Several passes over each of many small frames.
    "povray_passes": [["povray", "+Iball.pov", "+W32", "+H24", "-D", "+WT1", "+SP4", "+EP1", "+KFF12"]],
    "povray_parse_error": [["povray", "+Ibroken.pov", "-D"]],
    "povray_missing_image": [["povray", "+Imissing.pov", "-D"]],
}
"""By name: the commands of a case, of which the last one's output is saved."""


def main() -> None:
    """Record the cases that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Record what renderers print.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--into", type=Path, default=LOGS, metavar="FOLDER")
    options = parser.parse_args()
    unknown = set(options.cases) - CASES.keys()
    if unknown:
        parser.error(f"there is no case {min(unknown)}")
    options.into.mkdir(exist_ok=True)
    for case in options.cases or CASES:
        record(case, options.into)


def record(case: str, target: Path) -> None:
    """Run the commands of `case` in a folder of its own."""
    for program in {command[0] for command in CASES[case]}:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not in PATH: {INSTALL[program]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        *before, last = CASES[case]
        for command in before:
            run(command, folder).check_returncode()
        result = run(last, folder)
        for stream, output in (("stdout", result.stdout), ("stderr", result.stderr)):
            (target / f"{case}.{stream}").write_bytes(output.replace(name.encode(), SHOWN_FOLDER))
        print(f"{case}: exit status {result.returncode}")


def prepare(folder: Path) -> None:
    """Put what the commands need into `folder`."""
    shutil.copy(ROOT / "examples" / "blender" / "make_scene.py", folder)
    ball = (ROOT / "examples" / "povray" / "ball.pov").read_text()
    (folder / "ball.pov").write_text(ball)
    (folder / "broken.pov").write_text(ball.replace("sphere {", "sphere { none"))
    (folder / "missing.pov").write_text(ball.replace("checker rgb 0.3 rgb 0.8", 'image_map { png "none.png" }'))


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command in `folder`, which is its home too: no configuration of a user is read or named."""
    words = [word.replace("{folder}", str(folder)) for word in command]
    # Blender takes PWD for the current folder.
    env = {**os.environ, "HOME": str(folder), "PWD": str(folder)}
    return subprocess.run(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
