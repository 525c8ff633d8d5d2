"""Frames are seen: small, through a display transform, and beside each other on a sheet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.frame_files import cut, ffmpeg, noise, numpy_picture, oiiotool, png_head, video
from tailrace import (
    FrameCheck,
    TailraceError,
    Thumbnail,
    check_frames,
    make_thumbnails,
    notable_frames,
    write_contact_sheet,
)
from tailrace._frames.decoder import FrameLimits
from tailrace._frames.decoder_pool import DecoderPool
from tailrace._frames.thumbnails import Jpeg, show

pytestmark = pytest.mark.anyio


async def test_a_thumbnail_is_the_picture_as_large_as_it_fits(tmp_path: Path) -> None:
    wide = numpy_picture(tmp_path / "wide.png", "pixels[:] = (0, 1, 0); pixels[:, 80:] = (1, 0, 0)", type_="uint8")
    (small,) = await make_thumbnails([wide], width=40, height=40)
    assert small is not None
    assert (small.width, small.height, len(small.pixels)) == (40, 24, 40 * 24 * 3)
    assert (at(small, 3, 12), at(small, 36, 12)) == ((0, 255, 0), (255, 0, 0))


async def test_a_thumbnail_of_a_large_picture_is_the_mean_of_its_pixels(tmp_path: Path) -> None:
    stripes = numpy_picture(tmp_path / "stripes.png", "pixels[:] = 0; pixels[:, ::2] = 1", type_="uint8")
    (small,) = await make_thumbnails([stripes], width=16, height=16)
    assert small is not None
    assert all(abs(value - 127.5) < 4 for value in at(small, 8, 4))


async def test_a_small_picture_fills_the_box_too(tmp_path: Path) -> None:
    (large,) = await make_thumbnails([noise(tmp_path / "small.png")], width=320, height=400)
    assert large is not None
    assert (large.width, large.height) == (320, 192)


async def test_linear_values_are_shown_through_a_display_transform_and_others_as_they_are(tmp_path: Path) -> None:
    linear = numpy_picture(tmp_path / "linear.exr", "pixels[:] = 0.18", type_="half")
    bright = numpy_picture(tmp_path / "bright.exr", "pixels[:] = 30; pixels[0, 0] = np.inf; pixels[1, 1] = np.nan")
    encoded = numpy_picture(tmp_path / "encoded.png", "pixels[:] = 0.5", type_="uint8")
    dark, light, as_it_is = await make_thumbnails([linear, bright, encoded], width=16, height=16)
    assert dark is not None and light is not None and as_it_is is not None
    # Unchanged it would be 46; the views of displays brighten it, each in its own way.
    assert 70 < at(dark, 5, 5)[0] < 140
    assert at(light, 5, 5)[0] > 220
    assert abs(at(as_it_is, 5, 5)[0] - 128) < 2


async def test_the_configuration_of_the_studio_says_how_linear_values_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.ocio").write_text(
        """ocio_profile_version: 1
roles: {default: linear, scene_linear: linear}
displays:
  screen:
    - !<View> {name: halved, colorspace: halved}
active_displays: [screen]
active_views: [halved]
colorspaces:
  - !<ColorSpace> {name: linear}
  - !<ColorSpace>
    name: halved
    from_reference: !<MatrixTransform> {matrix: [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1]}
"""
    )
    monkeypatch.setenv("OCIO", str(tmp_path / "config.ocio"))
    picture = numpy_picture(tmp_path / "a.exr", "pixels[:] = 0.5", type_="half")
    (shown,) = await make_thumbnails([picture], width=16, height=16)
    assert shown is not None
    assert abs(at(shown, 5, 5)[0] - 64) < 2


async def test_the_colours_of_a_layer_are_shown_that_belong_together(tmp_path: Path) -> None:
    plain = numpy_picture(tmp_path / "plain.png", "pixels[:] = (1, 0, 0)", type_="uint8")
    layered = tmp_path / "layered.exr"
    names = "A.Depth.Z,A.Combined.B,A.Combined.G,A.Combined.R"
    oiiotool(plain, "--ch", "Z=0.5,B,G,R", "--chnames", names, "-d", "half", "-o", layered)
    (shown,) = await make_thumbnails([layered], width=16, height=16)
    assert shown is not None
    red, green, blue = at(shown, 5, 5)
    assert red > 150 > 2 * green and blue < 75


async def test_the_part_that_a_file_holds_is_seen_where_it_belongs(tmp_path: Path) -> None:
    green = numpy_picture(tmp_path / "green.exr", "pixels[:] = (0, 1, 0)", type_="half")
    for name, window in (("part", "40x48+80+0"), ("more", "400x400-10-10"), ("elsewhere", "16x16+500-500")):
        oiiotool(green, "--crop", window, "-o", tmp_path / f"{name}.exr")
    part, more, elsewhere = await make_thumbnails(
        [tmp_path / f"{name}.exr" for name in ("part", "more", "elsewhere")], width=40, height=40
    )
    assert part is not None and more is not None and elsewhere is not None
    assert (part.width, part.height) == (more.width, more.height) == (elsewhere.width, elsewhere.height) == (40, 24)
    places = [(25, 5), (10, 5), (35, 5), (25, 18)]
    assert [at(part, *place)[1] > 100 for place in places] == [True, False, False, False]
    assert [at(more, *place)[1] > 100 for place in places] == [True] * 4
    assert not any(elsewhere.pixels)
    fitting = await shown(tmp_path / "part.exr", (80, 80))
    assert isinstance(fitting, Jpeg)
    assert (fitting.width, fitting.height) == (80, 48)


async def test_a_frame_that_was_set_aside_is_seen(tmp_path: Path) -> None:
    noise(tmp_path / "a.png").rename(tmp_path / "a.png.damaged")
    (seen,) = await make_thumbnails([tmp_path / "a.png.damaged"])
    assert seen is not None


async def test_a_video_is_seen_by_its_last_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    colours = [("red", 2), ("blue", 1)]
    inputs = [
        word for colour, seconds in colours for word in ("-f", "lavfi", "-i", f"color={colour}:160x96:d={seconds}")
    ]
    ffmpeg(*inputs, "-filter_complex", "concat=n=2", path)
    whole, cut_one = await make_thumbnails(
        [path, cut(tmp_path / "b.mkv", video(tmp_path / "w.mkv").read_bytes()[:20_000])], width=40, height=40
    )
    assert whole is not None and cut_one is not None
    assert (whole.width, whole.height) == (40, 24)
    red, _, blue = at(whole, 20, 12)
    assert blue > 200 > 2 * red


async def test_a_damaged_picture_is_seen_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    picture = numpy_picture(tmp_path / "a.png", "pixels[:48] = (0, 1, 0)", type_="uint8")
    (tmp_path / "text.png").write_text("no picture at all")
    half, text, missing = await make_thumbnails(
        [cut(tmp_path / "cut.png", picture.read_bytes()[:-9_000]), tmp_path / "text.png", tmp_path / "missing.png"],
        width=32,
        height=32,
    )
    assert half is not None
    assert at(half, 16, 3)[1] > 200
    assert (text, missing) == (None, None)


async def test_thumbnails_break_off_with_a_cancellation(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    with anyio.move_on_after(0.5) as scope:
        await make_thumbnails([picture] * 100_000)
    assert scope.cancelled_caught


async def shown(path: Path, box: tuple[int, int], **options: Any) -> Jpeg | str:
    """Return what a browser is shown of a file."""
    async with DecoderPool(1, yields=False) as pool:
        return await show(pool, str(path), box, 90, enlarges=False, video_frame="first", **options)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [("160x96", (320, 180), (160, 96)), ("160x96", (100, 100), (80, 48)), ("1x900", (64, 64), (1, 60))],
)
async def test_a_picture_that_is_only_to_fit_is_not_enlarged(
    tmp_path: Path, size: str, box: tuple[int, int], expected: tuple[int, int]
) -> None:
    oiiotool("--pattern", "constant:color=0,1,0", size, "3", "-d", "uint8", "-o", tmp_path / "a.png")
    jpeg = await shown(tmp_path / "a.png", box)
    assert isinstance(jpeg, Jpeg)
    assert (jpeg.width, jpeg.height) == expected
    (tmp_path / "a.jpg").write_bytes(jpeg.data)
    (back,) = await make_thumbnails([tmp_path / "a.jpg"], width=jpeg.width, height=jpeg.height)
    assert back is not None and (back.width, back.height) == expected
    red, green, blue = at(back, 0, 30)
    assert green > 240 and max(red, blue) < 20


async def test_a_video_can_be_seen_by_its_first_frame(tmp_path: Path) -> None:
    colours = ["-f", "lavfi", "-i", "color=red:160x96:d=2", "-f", "lavfi", "-i", "color=blue:160x96:d=1"]
    ffmpeg(*colours, "-filter_complex", "concat=n=2", tmp_path / "a.mp4")
    jpeg = await shown(tmp_path / "a.mp4", (320, 180))
    assert isinstance(jpeg, Jpeg)
    assert (jpeg.width, jpeg.height) == (160, 96)
    (tmp_path / "a.jpg").write_bytes(jpeg.data)
    (back,) = await make_thumbnails([tmp_path / "a.jpg"], width=160, height=96)
    assert back is not None and at(back, 80, 48)[0] > 200


async def test_a_playlist_that_is_named_like_a_video_shows_no_other_file(tmp_path: Path) -> None:
    other = video(tmp_path / "other.mp4")
    for number, text in enumerate(
        [f"ffconcat version 1.0\nfile {other.name}\n", f"#EXTM3U\n#EXTINF:1,\n{other.name}\n"]
    ):
        playlist = tmp_path / f"{number}.mp4"
        playlist.write_text(text)
        assert await shown(playlist, (320, 180)) == "is no video that can be read"
    assert isinstance(await shown(other, (320, 180)), Jpeg)


async def test_what_cannot_be_seen_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture at all")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "zeros.png").touch()
    # To be read to its end it would take hours.
    os.truncate(tmp_path / "zeros.png", 1 << 40)
    os.mkfifo(tmp_path / "pipe.png")
    large = cut(tmp_path / "large.png", png_head(60_000, 60_000))
    # So large a picture in so small a file would not even be opened.
    os.truncate(large, 1 << 28)
    picture = noise(tmp_path / "a.png")
    names = ("a.txt", "large.png", "pipe.png", "text.png", "zeros.png")
    told = {name: await shown(tmp_path / name, (320, 180)) for name in names}
    assert told == {
        "a.txt": "is neither a picture nor a video",
        "large.png": "has 60000 x 60000 pixels of 3 channels, 10,800,000,000 values: more than the 1,073,741,824 that"
        " are read",
        "pipe.png": "cannot be read: it is not a file",
        "text.png": told["text.png"],
        "zeros.png": "is no picture that can be read",
    }
    assert str(told["text.png"]).startswith("is no picture that can be read")
    little = FrameLimits(memory=1 << 20)
    assert await shown(picture, (320, 180), limits=little) == "needs more than 0.000977 GiB of memory to be decoded"


@pytest.mark.parametrize(("width", "height"), [(0, 10), (10, -1)])
async def test_a_size_that_is_none_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="at least 1 x 1"):
        await make_thumbnails([], width=width, height=height)


def test_the_last_frames_and_those_with_faults_are_the_ones_to_show() -> None:
    frames = [checked(number) for number in range(100)]
    frames[3], frames[40] = checked(3, reason="is empty"), checked(40, warning="is black")
    assert [frame.frame for frame in notable_frames(frames, 5)] == [3, 40, 97, 98, 99]
    assert [frame.frame for frame in notable_frames(frames, 1)] == [40]
    assert notable_frames(frames, 0) == []
    assert notable_frames(frames, 1000) == frames


async def test_a_contact_sheet_shows_each_frame_and_marks_those_with_faults(tmp_path: Path) -> None:
    good = numpy_picture(tmp_path / "a.1.png", "pixels[:] = (0, 0, 1)", type_="uint8")
    empty = tmp_path / "a.2.png"
    empty.touch()
    checks = await check_frames([good, empty], level="exist", in_background=False)
    sheet = tmp_path / "sheet.png"
    shown = await write_contact_sheet(sheet, checks, width=64, height=36, columns=2)
    assert shown == checks
    (seen,) = await make_thumbnails([sheet], width=152, height=70)
    assert seen is not None
    # It is as large, so that its pixels are where they were.
    assert (seen.width, seen.height) == (152, 70)
    assert at(seen, 40, 25)[2] > 250
    around_good, around_empty = at(seen, 6, 25), at(seen, 78, 25)
    assert max(around_good) < 60
    assert around_empty[0] > 200 > 2 * around_empty[1]


async def test_a_sheet_that_cannot_be_written_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png")
    checks = await check_frames([picture], level="exist")
    before = listed(tmp_path)
    for target, reason in (
        (tmp_path / "sheet.odd", "its name should end with .jpg or .png"),
        (tmp_path / "missing" / "sheet.png", "No such file or directory"),
    ):
        with pytest.raises(TailraceError, match=f"{target} cannot be written: {reason}"):
            await write_contact_sheet(target, checks)
    with pytest.raises(ValueError, match="at least one frame"):
        await write_contact_sheet(tmp_path / "sheet.png", [])
    assert listed(tmp_path) == before


def listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def at(picture: Thumbnail, x: int, y: int) -> tuple[int, int, int]:
    place = (y * picture.width + x) * 3
    red, green, blue = picture.pixels[place : place + 3]
    return red, green, blue


def checked(number: int, *, reason: str | None = None, warning: str | None = None) -> FrameCheck:
    warnings = () if warning is None else (warning,)
    return FrameCheck(path=f"a.{number:04}.png", level="looks", kind="picture", reason=reason, warnings=warnings)
