"""What is odd about frames is told as a warning, and nothing is told of frames that are as they should be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.frame_files import check, ffmpeg, noise, numpy_picture, oiiotool
from support.loops import on_one_loop
from tailrace import check_frames

pytestmark = [pytest.mark.anyio, on_one_loop]

FRAMES = 24


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of sequences by ffmpeg: one that moves evenly, one that zooms, one in a format that loses something."""
    sources = {"moving": ("testsrc2", "png"), "zooming": ("mandelbrot", "png"), "lossy": ("mandelbrot", "jpg")}
    folders = []
    for name, (source, suffix) in sources.items():
        folder = tmp_path_factory.mktemp(name)
        pattern = folder / f"f.%04d.{suffix}"
        ffmpeg("-f", "lavfi", "-i", f"{source}=s=640x352:r=25", "-frames:v", str(FRAMES), "-q:v", "3", pattern)
        folders.append(folder)
    return folders


def files_of(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return sorted(folder.iterdir())


async def warnings_of(folder: Path) -> list[tuple[str, str]]:
    """Return the warnings about the frames of a folder, each with the name of its file."""
    found = await check_frames(files_of(folder), level="looks", in_background=False)
    assert [one.reason for one in found if not one.ok] == []
    return [(one.name, warning) for one in found for warning in one.warnings]


@pytest.fixture
def sequence(sequences: list[Path], tmp_path: Path) -> Path:
    """A copy of the one that zooms, to spoil."""
    return Path(shutil.copytree(sequences[1], tmp_path / "sequence"))


async def test_sequences_as_they_should_be_have_no_warnings(sequences: list[Path]) -> None:
    assert [await warnings_of(folder) for folder in sequences] == [[], [], []]


@pytest.mark.parametrize("colour", ["0,0,0", "0.5,0.5,0.5"], ids=["black", "grey"])
@pytest.mark.parametrize("place", ["+64+64", "+576+0", "+320+288"])
async def test_a_tile_that_is_missing_is_told_with_its_place(colour: str, place: str, sequence: Path) -> None:
    path = sequence / "f.0009.png"
    left, top = place.split("+")[1:]
    right, bottom = int(left) + 63, int(top) + 63
    oiiotool(path, f"--fill:color={colour}", f"{right - int(left) + 1}x{bottom - int(top) + 1}{place}", "-o", path)
    ((name, warning),) = await warnings_of(sequence)
    assert name == "f.0009.png"
    assert warning.startswith(f"a part of 64 x 64 pixels, {left} from the left and {top} from the top, is ")


async def test_the_tiles_that_a_render_did_not_come_to_are_told(sequence: Path) -> None:
    # All but the first rows and a part of the next one, as a render that was ended leaves them.
    path = sequence / "f.0009.png"
    oiiotool(path, "--fill:color=0,0,0", "640x160+0+192", "--fill:color=0,0,0", "320x64+320+128", "-o", path)
    assert [name for name, _ in await warnings_of(sequence)][:1] == ["f.0009.png"]


async def test_a_bar_or_a_shape_that_is_black_is_no_missing_tile(tmp_path: Path) -> None:
    for number in range(1, 5):
        noise(tmp_path / f"f.{number:04}.png", seed=number)
        source = tmp_path / f"f.{number:04}.png"
        # Letterboxed along the grid, with a disc and a box that are not.
        oiiotool(
            source, "--fill:color=0,0,0", "160x16+0+0", "--fill:color=0,0,0", "160x16+0+80",
            "--fill:color=0,0,0", "40x20+35+30", "-o", source,
        )  # fmt: skip
    assert await warnings_of(tmp_path) == []


async def test_an_empty_tile_of_a_picture_with_alpha_is_told(tmp_path: Path) -> None:
    source = "pixels = np.dstack([pixels, np.ones((96, 160), 'f4')]); pixels[32:64, 64:96] = 0"
    (found,) = await check(numpy_picture(tmp_path / "f.exr", source, type_="half"), level="looks")
    assert found.warnings == (
        "a part of 32 x 32 pixels, 64 from the left and 32 from the top, is black or empty, with content around: a tile"
        " may be missing",
    )


async def test_a_tile_that_is_counted_from_the_bottom_is_told(tmp_path: Path) -> None:
    source = "pixels = pixels[:90]; pixels[90 - 64:90 - 32, 64:96] = 0"
    (found,) = await check(numpy_picture(tmp_path / "f.exr", source), level="looks")
    assert len(found.warnings) == 1
    assert "32 x 32 pixels, 64 from the left and 26 from the top" in found.warnings[0]


async def test_values_that_are_no_numbers_or_infinite_are_told(tmp_path: Path) -> None:
    nan = numpy_picture(tmp_path / "nan.exr", "pixels[3, 5, 1] = np.nan", type_="half")
    infinite = numpy_picture(tmp_path / "infinite.tif", "pixels[:2, 0] = np.inf")
    found = await check(nan, infinite, level="looks")
    assert [(one.ok, one.warnings) for one in found] == [
        (True, ("has 1 value that is no number (NaN)",)),
        (True, ("has 6 infinite values",)),
    ]


async def test_a_depth_may_be_infinite(tmp_path: Path) -> None:
    picture = numpy_picture(tmp_path / "z.exr", "pixels[:, :, 2] = np.inf")
    oiiotool(picture, "--chnames", "R,G,Z", "-o", picture)
    (found,) = await check(picture, level="looks")
    assert found.warnings == ()


async def test_a_frame_of_one_colour_is_told(tmp_path: Path) -> None:
    for name, colour in (("black.png", "0,0,0"), ("grey.exr", "0.5,0.5,0.5"), ("clear.exr", "0,0,0,0")):
        channels = str(len(colour.split(",")))
        oiiotool("--pattern", f"constant:color={colour}", "160x96", channels, "-d", "half", "-o", tmp_path / name)
    found = await check(*(tmp_path / name for name in ("black.png", "grey.exr", "clear.exr")), level="looks")
    assert [one.warnings for one in found] == [("is black",), ("is of one colour",), ("is black",)]


@pytest.mark.parametrize(
    ("frame", "gain", "what"),
    [(9, "0.2", "darker"), (9, "1.5", "brighter"), (1, "0.2", "darker"), (FRAMES, "0.2", "darker")],
)
async def test_a_frame_that_is_much_darker_or_brighter_than_those_beside_it_is_told(
    frame: int, gain: str, what: str, sequence: Path
) -> None:
    path = sequence / f"f.{frame:04}.png"
    oiiotool(path, "--mulc", gain, "-o", path)
    ((name, warning),) = await warnings_of(sequence)
    assert name == path.name
    assert warning.startswith(f"is much {what} than the frames beside it: a mean of ")


async def test_a_black_frame_between_others_is_told(sequence: Path) -> None:
    path = sequence / "f.0012.png"
    oiiotool(path, "--mulc", "0", "-o", path)
    found = await warnings_of(sequence)
    assert {name for name, _ in found} == {"f.0012.png"}
    assert "is black" in {warning for _, warning in found}


async def test_a_cut_or_a_fade_is_not_odd(sequences: list[Path], tmp_path: Path) -> None:
    for number in range(1, FRAMES + 1):
        source = sequences[1] / f"f.{number:04}.png"
        gain = 0.4 if number > 12 else min(number / 8, 1)
        oiiotool(source, "--mulc", str(gain), "-o", tmp_path / source.name)
    assert await warnings_of(tmp_path) == []


async def test_a_frame_that_is_the_one_before_again_is_told_where_others_differ(sequence: Path) -> None:
    shutil.copy(sequence / "f.0009.png", sequence / "f.0010.png")
    assert await warnings_of(sequence) == [
        ("f.0010.png", "has the same pixels as frame 9, where others differ"),
    ]


async def test_a_sequence_on_twos_or_one_that_stands_still_is_not_odd(sequence: Path, tmp_path: Path) -> None:
    still = tmp_path / "still"
    still.mkdir()
    for number in range(2, FRAMES + 1, 2):
        shutil.copy(sequence / f"f.{number - 1:04}.png", sequence / f"f.{number:04}.png")
        shutil.copy(sequence / "f.0001.png", still / f"f.{number:04}.png")
    assert await warnings_of(sequence) == []
    assert await warnings_of(still) == []


async def test_a_frame_of_another_size_or_with_other_channels_is_told(sequence: Path) -> None:
    oiiotool(sequence / "f.0005.png", "--resize", "320x176", "-o", sequence / "f.0005.png")
    oiiotool(sequence / "f.0007.png", "--ch", "R,G,B,A=1", "-o", sequence / "f.0007.png")
    oiiotool(sequence / "f.0009.png", "-d", "uint16", "-o", sequence / "f.0009.png")
    found = dict(await warnings_of(sequence))
    assert found == {
        "f.0005.png": "has 320 x 176 pixels, where others have 640 x 352",
        "f.0007.png": "has the channels R, G, B, A, where others have R, G, B",
        "f.0009.png": "has values of the type uint16, where others have uint8",
    }


@pytest.mark.parametrize("number", ["nan", "inf", "-1e999", "12.5"])
async def test_a_frames_number_that_is_none_is_no_damage(number: str, tmp_path: Path) -> None:
    path = noise(tmp_path / "f.0001.exr", "--attrib:type=string", "Frame", number, type_="half")
    found = await check(path, level="looks")
    assert [(one.reason, one.warnings) for one in found] == [(None, ())]


@pytest.mark.parametrize("attribute", ["Frame", "FrameNumber", "nuke/input/frame", "frame"])
@pytest.mark.parametrize("name", ["shot_v02.0012.exr", "shot.0012.v02.exr", "shot.-0012.exr"])
async def test_a_picture_that_says_another_frame_than_its_name_is_told(
    attribute: str, name: str, tmp_path: Path
) -> None:
    path = noise(tmp_path / name, type_="half")
    for number, expected in ((12, ()), (13, ("says that it is frame 13, in spite of its name",))):
        oiiotool(path, "--attrib", attribute, str(number), "-o", path)
        assert (await check(path, level="looks"))[0].warnings == expected


async def test_what_is_odd_is_no_fault_and_is_not_looked_for_unless_asked(tmp_path: Path) -> None:
    oiiotool("--pattern", "constant:color=0,0,0", "160x96", "3", "-o", tmp_path / "black.png")
    (whole,) = await check(tmp_path / "black.png")
    (looks,) = await check(tmp_path / "black.png", level="looks")
    assert (whole.ok, whole.warnings, whole.stats) == (True, (), None)
    assert (looks.ok, looks.warnings) == (True, ("is black",))


async def test_damaged_frames_and_other_files_do_not_count_in_a_comparison(sequence: Path) -> None:
    (sequence / "f.0003.png").write_bytes((sequence / "f.0003.png").read_bytes()[:1000])
    (sequence / "f.0004.txt").write_text("notes")
    found = await check_frames(files_of(sequence), level="looks", in_background=False)
    assert [one.name for one in found if not one.ok] == ["f.0003.png"]
    assert [one.warnings for one in found if one.warnings] == []


POVRAY_SCENE = """
#version 3.7; global_settings { assumed_gamma 1 }
camera { location <0, 2, -6> look_at 0 } light_source { <5, 10, -5> 1 }
plane { y, -1 pigment { checker rgb 1 rgb .3 } }
sphere { <2 * sin(clock * 6.28), 0, 2 * cos(clock * 6.28)>, 1 pigment { rgb <1, .2, .1> } finish { phong 1 } }
"""

BLENDER_SCRIPT = """
import sys
import bpy
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples, scene.cycles.use_denoising = 8, False
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 320, 180, 100
scene.frame_start, scene.frame_end = 1, 16
cube = bpy.data.objects["Cube"]
cube.keyframe_insert("rotation_euler", frame=1)
cube.rotation_euler = (0.6, 0.8, 1.2)
cube.keyframe_insert("rotation_euler", frame=16)
scene.render.image_settings.file_format = "OPEN_EXR"
scene.render.filepath = sys.argv[-1]
bpy.ops.render.render(animation=True)
"""


@pytest.mark.renderers
async def test_a_sequence_by_pov_ray_has_no_warnings(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    (tmp_path / "scene.pov").write_text(POVRAY_SCENE)
    command = ["povray", f"+I{tmp_path}/scene.pov", f"+O{frames}/f.png", "+W640", "+H360", "+KFF24", "-D", "+A0.3"]
    run(command)
    assert len(files_of(frames)) == 24
    assert await warnings_of(frames) == []


@pytest.mark.renderers
async def test_a_sequence_by_blender_has_no_warnings_and_tells_its_frames(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    (tmp_path / "scene.py").write_text(BLENDER_SCRIPT)
    run(
        ["blender", "-b", "-noaudio", "--python-exit-code", "1", "-P", f"{tmp_path}/scene.py", "--", f"{frames}/f.####"]
    )
    assert len(files_of(frames)) == 16
    assert await warnings_of(frames) == []
    (frames / "f.0007.exr").rename(frames / "f.0107.exr")
    assert await warnings_of(frames) == [("f.0107.exr", "says that it is frame 7, in spite of its name")]


def run(command: list[str]) -> None:
    """Run a renderer."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
