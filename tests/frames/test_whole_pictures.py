"""Pictures are decoded to their end, and taken for what they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.frame_files import check, cut, ffmpeg, noise, numpy_picture, oiiotool, reasons
from support.loops import on_one_loop

pytestmark = [pytest.mark.anyio, on_one_loop]

FORMATS = {
    "png": noise,
    "jpg": noise,
    "tif": noise,
    "dpx": noise,
    "tga": noise,
    "webp": noise,
    "jp2": noise,
    "bmp": noise,
    "gif": noise,
    "ppm": noise,
    "sgi": noise,
}
COMPRESSIONS = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "dwaa", "dwab")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One picture of each kind."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [write(folder / f"noise.{suffix}") for suffix, write in FORMATS.items()]
    paths += [
        noise(folder / f"noise_{name}.exr", "--compression", name, type_="half", channels=4) for name in COMPRESSIONS
    ]
    paths += [noise(folder / "noise.hdr", type_="float")]
    paths += [noise(folder / "packed.tif", "--compression", "zip")]
    paths += [noise(folder / "tiled.exr", "--tile", "32", "32", type_="half")]
    paths += [noise(folder / "tiled.tif", "--tile", "32", "32")]
    for name in ("ffmpeg.exr", "ffmpeg.png", "ffmpeg.dpx", "ffmpeg.tiff", "ffmpeg.tga", "ffmpeg.webp", "ffmpeg.jpg"):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96", "-frames:v", "1", folder / name)
        paths.append(folder / name)
    return paths


async def test_a_whole_picture_of_any_format_is_ok_and_its_size_is_told(pictures: list[Path]) -> None:
    found = await check(*pictures)
    assert [(one.name, one.reason) for one in found if not one.ok] == []
    assert {(one.kind, one.width, one.height) for one in found} == {("picture", 160, 96)}
    assert {one.format for one in found} >= {"png", "jpeg", "openexr", "tiff", "dpx", "targa", "webp", "hdr", "gif"}
    assert {one.channels for one in found if one.path.endswith("zip.exr")} == {4}


async def test_a_picture_that_is_cut_short_is_damaged_wherever_it_is_cut(pictures: list[Path], tmp_path: Path) -> None:
    pieces = []
    for path in pictures:
        data = path.read_bytes()
        places = (1, len(data) // 2, len(data) * 95 // 100)
        pieces += [cut(tmp_path / f"{place}_{path.name}", data[:place]) for place in places]
        # The footer of a TGA may be missing: older ones have none.
        if path.suffix != ".tga":
            pieces.append(cut(tmp_path / f"end_{path.name}", data[:-20]))
    found = await check(*pieces)
    assert [one.name for one in found if one.ok] == []
    assert [one.reason for one in found if "/proc" in str(one.reason) or "\n" in str(one.reason)] == []


async def test_a_png_whose_end_mark_is_missing_or_cut_is_damaged(tmp_path: Path) -> None:
    data = noise(tmp_path / "whole.png").read_bytes()
    cuts = [cut(tmp_path / f"less_{length}.png", data[:-length]) for length in (1, 4, 8, 12)]
    found = await check(*cuts)
    assert [one.reason for one in found[:2]] == ["is cut short in its chunk IEND"] * 2
    assert found[3].reason == "is cut short: its end mark (IEND) is missing"
    assert not found[2].ok


async def test_an_animated_png_is_read_to_its_last_picture(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96", "-frames:v", "5", "-f", "apng", tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    changed = bytearray(data)
    changed[len(data) * 9 // 10] ^= 0xFF
    found = await check(
        tmp_path / "whole.png",
        cut(tmp_path / "cut.png", data[: len(data) // 2]),
        cut(tmp_path / "changed.png", bytes(changed)),
    )
    assert [one.ok for one in found] == [True, False, False]
    assert found[2].reason == "is damaged: the checksum of its chunk fdAT is wrong"


async def test_every_part_and_image_of_a_file_is_decoded(tmp_path: Path) -> None:
    picture = noise(tmp_path / "one.png")
    parts, pages = tmp_path / "parts.exr", tmp_path / "pages.tif"
    oiiotool(picture, picture, picture, "--siappendall", "-d", "half", "-o", parts)
    oiiotool(picture, picture, picture, "--siappendall", "-o", pages)
    pieces = [parts, pages]
    for path in (parts, pages):
        data = path.read_bytes()
        pieces += [cut(path.with_stem(f"{path.stem}_{place}"), data[: len(data) * place // 100]) for place in (50, 99)]
    found = await check(*pieces)
    assert [one.name for one in found if one.ok] == ["parts.exr", "pages.tif"]
    # The first image is whole there, and nothing but the directory of the last one is missing here.
    assert any("in image 2" in str(one.reason) or "of its image" in str(one.reason) for one in found)


async def test_a_texture_with_smaller_copies_of_itself_is_whole(tmp_path: Path) -> None:
    picture, texture = noise(tmp_path / "one.png"), tmp_path / "texture.tx"
    oiiotool(picture, "-otex", texture)
    found = await check(texture, cut(tmp_path / "cut.tx", texture.read_bytes()[:-20]))
    assert [(one.format, one.ok) for one in found] == [("tiff", True), ("tiff", False)]


async def test_a_picture_may_have_thousands_of_channels(tmp_path: Path) -> None:
    # Its readers take more than 1,024 for a mistake unless they are told otherwise.
    source = "pixels = np.ones((16, 16, 1500), dtype='f4')"
    found = await check(numpy_picture(tmp_path / "layers.exr", source))
    assert [(one.reason, one.channels) for one in found] == [(None, 1500)]


async def test_a_deep_exr_is_decoded_to_its_end(tmp_path: Path) -> None:
    flat = noise(tmp_path / "flat.exr", type_="half", channels=4)
    oiiotool(flat, "--deepen", "-o", tmp_path / "deep.exr")
    data = (tmp_path / "deep.exr").read_bytes()
    found = await check(tmp_path / "deep.exr", cut(tmp_path / "cut.exr", data[: len(data) * 9 // 10]))
    assert [one.ok for one in found] == [True, False]


async def test_zeros_inside_a_compressed_picture_are_found(tmp_path: Path) -> None:
    whole = [noise(tmp_path / "n.png"), noise(tmp_path / "n.tif", "--compression", "zip")]
    whole += [noise(tmp_path / "n.exr", "--compression", "zip", type_="half")]
    assert [one.ok for one in await check(*whole)] == [True] * 3
    for path in whole:
        _zero(path)
    assert [one.ok for one in await check(*whole)] == [False] * 3


async def test_zeros_inside_an_uncompressed_picture_cannot_be_seen(tmp_path: Path) -> None:
    whole = [noise(tmp_path / "n.bmp"), noise(tmp_path / "n.dpx"), noise(tmp_path / "n.tif", "--compression", "none")]
    for path in whole:
        _zero(path)
    assert [one.ok for one in await check(*whole)] == [True] * 3


def _zero(path: Path) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(4096) + data[middle + 4096 :])


async def test_what_stands_behind_the_end_mark_of_a_picture_does_no_harm(tmp_path: Path) -> None:
    whole = [noise(tmp_path / "n.jpg"), noise(tmp_path / "n.png")]
    for path in whole:
        path.write_bytes(path.read_bytes() + b"trailer" * 100)
    assert reasons(await check(*whole)) == [("n.jpg", None), ("n.png", None)]


async def test_what_is_no_picture_is_damaged_whatever_its_name_says(tmp_path: Path) -> None:
    files = [tmp_path / f"text.{suffix}" for suffix in ("png", "exr", "tga", "jpg")]
    for path in files:
        path.write_text("Error: out of memory\n" * 100)
    zeros = cut(tmp_path / "zeros.png", bytes(100_000))
    found = await check(*files, zeros)
    assert [one.ok for one in found] == [False] * 5
    assert {str(one.reason).partition(":")[0] for one in found} == {"is no picture that can be read"}


async def test_a_picture_in_another_format_than_its_name_says_is_whole_but_odd(tmp_path: Path) -> None:
    noise(tmp_path / "n.jpg").rename(tmp_path / "n.png")
    noise(tmp_path / "n.exr", type_="half").rename(tmp_path / "e.tif")
    names = (tmp_path / "n.png", tmp_path / "e.tif")
    assert [(one.ok, one.warnings) for one in await check(*names)] == [(True, ()), (True, ())]
    assert [(one.ok, one.format, one.warnings) for one in await check(*names, level="looks")] == [
        (True, "jpeg", ("is a picture in the format jpeg, in spite of its name",)),
        (True, "openexr", ("is a picture in the format openexr, in spite of its name",)),
    ]


async def test_a_path_may_hold_any_bytes(tmp_path: Path) -> None:
    data = noise(tmp_path / "n.png").read_bytes()
    names = [b"a\nb.png", b"latin\xe9.png", b"what?x=1.png", b"f%04d####.png", b" -i.png", "schön.png".encode()]
    paths = [cut(tmp_path / os.fsdecode(name), data) for name in names]
    found = await check(*paths)
    assert [(one.path, one.reason, one.width) for one in found] == [(str(path), None, 160) for path in paths]


async def test_a_file_that_is_no_picture_by_its_name_is_only_looked_for(tmp_path: Path) -> None:
    for name in ("cache.abc", "shot.json"):
        (tmp_path / name).write_text("{")
    (tmp_path / "empty.abc").touch()
    found = await check(
        *(tmp_path / name for name in ("cache.abc", "shot.json", "empty.abc", "none.vdb")), level="looks"
    )
    assert [(one.kind, one.reason) for one in found] == [
        ("other", None),
        ("other", None),
        ("other", "is empty"),
        ("other", "cannot be found: No such file or directory"),
    ]


async def test_the_content_decides_where_a_name_does_not(tmp_path: Path) -> None:
    data = noise(tmp_path / "n.png").read_bytes()
    (tmp_path / "picture").write_bytes(data)
    (tmp_path / "picture.0001").write_bytes(data[:-100])
    (tmp_path / "notes").write_text("nothing to see")
    found = await check(*(tmp_path / name for name in ("picture", "picture.0001", "notes")))
    assert [(one.kind, one.ok) for one in found] == [("picture", True), ("picture", False), ("other", True)]


async def test_the_kind_can_be_given(tmp_path: Path) -> None:
    path = cut(tmp_path / "plate.dat", noise(tmp_path / "n.png").read_bytes()[:-100])
    (other, picture) = [(await check(path, kind=kind))[0] for kind in ("other", "picture")]
    assert (other.ok, picture.ok, picture.format) == (True, False, "png")


@pytest.mark.parametrize("level", ["exist", "whole", "looks"])
async def test_a_file_that_is_missing_empty_or_none_is_told_at_every_level(level: str, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    names = ("missing.png", "empty.png", "folder.png", "pipe.png")
    assert reasons(await check(*(tmp_path / name for name in names), level=level)) == [
        ("missing.png", "cannot be found: No such file or directory"),
        ("empty.png", "is empty"),
        ("folder.png", "is not a file"),
        ("pipe.png", "is not a file"),
    ]


async def test_a_file_that_is_there_and_not_empty_exists_whatever_is_in_it(tmp_path: Path) -> None:
    (found,) = await check(cut(tmp_path / "cut.png", b"\x89PNG"), level="exist")
    assert (found.ok, found.kind, found.width, found.format) == (True, "picture", None, None)
