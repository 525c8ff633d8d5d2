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
    "blender_missing_file": [["blender", "--background", "{folder}/none.blend", "--render-anim"]],
    "ffmpeg": [MAKE_VIDEO, [*ENCODE, "out.mp4"]],
    "ffmpeg_progress": [MAKE_VIDEO, [*ENCODE, "-nostats", "-progress", "pipe:1", "out.mp4"]],
    "ffmpeg_missing_input": [["ffmpeg", "-i", "none.mp4", "out.mp4"]],
    "ffmpeg_unknown_encoder": [MAKE_VIDEO, ["ffmpeg", "-i", "in.mp4", "-c:v", "none", "out.mp4"]],
    "povray_animation": [[*RENDER_BALL, "+KFF24", "+SF4", "+EF6"]],
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
