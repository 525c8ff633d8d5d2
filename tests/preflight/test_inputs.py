"""Inputs are found in the commands of known renderers, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from tailrace import parse_command
from tailrace._preflight.inputs import inputs_of


@pytest.mark.parametrize(
    ("command", "inputs"),
    [
        ("blender -b shot.blend -P setup.py -o out_#### -s 1 -e 5 -a -- other.blend", ["shot.blend", "setup.py"]),
        ("/opt/blender-4.2/blender-4.2 --background 'my shot.blend' -f 1", ["my shot.blend"]),
        ("blender -b -P Text -f 1", []),
        ("blender -b --python-expr open('x.blend') -f 1", []),
        ("povray +Iscene.pov +Oout.png +W640", ["scene.pov"]),
        ("povray '+I\"my scene.pov\"' +Oout.png", ["my scene.pov"]),
        ("povray scene.pov +Llib", []),
        ("ffmpeg -ss 1 -i in.mp4 -i file:sound.wav -vf scale=2:2 -y out.mp4", ["in.mp4", "sound.wav"]),
        ("ffmpeg -f lavfi -i color=c=red:s=16x16:d=1.5 -i in.mp4 out.mp4", ["in.mp4"]),
        ("ffmpeg -f concat -safe 0 -i parts.txt out.mp4", ["parts.txt"]),
        ("ffmpeg -i frame_%04d.png -i 'shot_*.png' -i http://host/a.mp4 -i pipe:0 -i - out.mp4", []),
        ("python3.11 -u -X dev render.py scene.blend", ["render.py"]),
        ("python -m render scene.py", []),
        ("python -c 'import x' scene.py", []),
        ("Nuke15.1 -x -F 1-10 comp.nk other.nk", ["comp.nk"]),
        ("Nuke15.1 -t script.py comp.nk", []),
        ("mayabatch -file scene.mb -command 'render'", ["scene.mb"]),
        ("Render -r arnold -s 1 -e 5 scene.ma", ["scene.ma"]),
        ("Render -proj /shows/x scene.ma", []),
        ("husk -f 1 -n 5 -o out.usd shot.usd", ["shot.usd"]),
        ("hython render.py out.hip", ["render.py"]),
        ("sh -c 'blender -b shot.blend'", []),
        ("render scene.pov", []),
    ],
)
def test_only_what_a_known_renderer_reads_is_an_input(command: str, inputs: list[str]) -> None:
    assert inputs_of(*parse_command(command)) == inputs
