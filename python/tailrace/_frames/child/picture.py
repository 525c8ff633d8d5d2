"""Decodes a picture to its end, a band of rows after the other, so that its size does not become one of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from OpenImageIO import ImageInput, ImageSpec, TypeDesc, TypeFloat, TypeHalf, attribute, geterror

from ..kinds import SUFFIXES_OF_FORMATS, format_by_head
from ..names import suffix_of
from .found import Found
from .statistics import PictureStatistics
from .structure import has_targa_footer, head_of, png_fault, tiff_fault, tiff_images

_BAND = 8 << 20
"""Bytes in a band, about: it stays in a cache, and is no small part of a picture's rows."""
_ROWS = 256
"""The most rows that a format packs together (DWAB)."""

# The processes side by side are the threads; more of them would get in each other's way.
attribute("threads", 1)
attribute("exr_threads", 1)
# What is too much is said by whoever asks. Its own limits go by the memory of this machine, and a picture with more
# than 1,024 channels is none to it.
attribute("limits:channels", 0)
attribute("limits:imagesize_MB", 0)


def read_picture(descriptor: int, request: dict[str, Any], found: Found) -> None:
    """Find whether the picture is whole, and its size; at the level "looks" what its pixels are like, too."""
    head = head_of(descriptor)
    picture = open_picture(descriptor, request["path"])
    if picture is None:
        found.format = format_by_head(head)
        found.reason = why_not_opened(head)
        return
    # It closes with the last reference: closing it before leaves an error unread where one is pending.
    found.format = picture.format_name()
    spec = picture.spec()
    found.width, found.height, found.channels = spec.width, spec.height, spec.nchannels
    statistics = PictureStatistics() if request["level"] == "looks" else None
    found.reason = _fault_of_structure(descriptor, found.format) or _fault_of_images(
        picture, _least_images(descriptor, spec), request["samples"], statistics
    )
    if found.reason is None and statistics is not None:
        found.stats = statistics.finish(spec)


def open_picture(descriptor: int, path: str) -> ImageInput | None:
    """Return what reads the picture; None if nothing does, and `why_not_opened` tells why."""
    if not any(head_of(descriptor)):
        # As a disk that was full leaves a file. Some readers look for something else to its end.
        return None
    # A name without an ending: each reader is asked, and the name may hold bytes that are no text.
    picture = ImageInput.open(f"/proc/self/fd/{descriptor}")
    if picture is not None:
        # Almost anything could be the head of a TGA.
        is_one = picture.format_name() != "targa" or _may_be_targa(descriptor, path)
        return picture if is_one else None
    geterror()
    # By the name it says what is wrong, and asks the reader that the ending stands for though the head is not its.
    with contextlib.suppress(UnicodeEncodeError):
        return ImageInput.open(path)
    return None


def why_not_opened(head: bytes) -> str:
    """Return what to say of a picture that nothing reads, and that begins like this."""
    format_, said = format_by_head(head), first_line(geterror())
    name = f"damaged {format_}" if format_ else "no picture that can be read"
    return f"is {name}: {said}" if said else f"is {name}"


def _may_be_targa(descriptor: int, path: str) -> bool:
    suffix = suffix_of(path)
    return not suffix or suffix in SUFFIXES_OF_FORMATS["targa"].split() or has_targa_footer(descriptor)


def _fault_of_structure(descriptor: int, format_: str) -> str | None:
    """Return what OpenImageIO does not see: it stops reading once it has all pixels."""
    if format_ == "png":
        return png_fault(descriptor)
    return tiff_fault(descriptor) if format_ == "tiff" else None


def _least_images(descriptor: int, spec: ImageSpec) -> int:
    if spec.get_int_attribute("oiio:subimages"):
        return spec.get_int_attribute("oiio:subimages")
    return tiff_images(descriptor)


def _fault_of_images(picture: ImageInput, least: int, samples: int, statistics: PictureStatistics | None) -> str | None:
    image = found = 0
    while picture.seek_subimage(image, 0):
        level = 0
        while picture.seek_subimage(image, level):
            fault = _fault_of_image(picture, image, level, samples, statistics if level == 0 else None)
            if fault is not None:
                return fault if image == 0 else f"{fault} (in image {image + 1} of the file)"
            level += 1
            # That there is no further one is an error to some readers.
            if not picture.supports("mipmap"):
                break
        picture.geterror()
        image += 1
        # To a TIFF, the smaller copies of a texture are images like others.
        found += level if picture.format_name() == "tiff" else 1
    said = first_line(picture.geterror())
    if found < least:
        return f"has {found} of {least} images: {said}" if said else f"has {found} of {least} images"
    # A reader that finds a fault after the last image says so; that there is none is no fault.
    return None if not said or "subimage" in said else f"is damaged: {said}"


def _fault_of_image(
    picture: ImageInput, image: int, level: int, samples: int, statistics: PictureStatistics | None
) -> str | None:
    spec = picture.spec(image, level)
    if (fault := fault_of_size(spec, samples)) is not None:
        return fault
    if spec.deep:
        is_read = picture.read_native_deep_image(image, level) is not None
    else:
        is_read = True
        # Numpy is slow with half floats.
        type_ = TypeFloat if statistics is not None and spec.format == TypeHalf else spec.format
        for band in bands(picture, image, level, spec, type_):
            if band is None:
                is_read = False
                break
            if statistics is not None:
                statistics.add(band, image, spec)
    said = first_line(picture.geterror())
    if is_read and not said:
        return None
    return f"is damaged: {said}" if said else "is damaged: it cannot be decoded to its end"


def fault_of_size(spec: ImageSpec, samples: int) -> str | None:
    """Return why an image is not read that is too large."""
    count = spec.width * spec.height * max(spec.depth, 1) * spec.nchannels
    if count <= samples:
        return None
    return (
        f"has {spec.width} x {spec.height} pixels of {spec.nchannels} channels, {count:,} values: more than the"
        f" {samples:,} that are read"
    )


def bands(picture: ImageInput, image: int, level: int, spec: ImageSpec, type_: TypeDesc) -> Iterator[Any]:
    """Yield the pixels, as values of this type; None where that cannot be had."""
    row = max(spec.width * spec.nchannels * type_.size(), 1)
    packed = spec.tile_height or _ROWS
    rows = max(_BAND // row // packed, 1) * packed
    right, bottom, back = spec.x + spec.width, spec.y + spec.height, spec.z + max(spec.depth, 1)
    for front in range(spec.z, back, spec.tile_depth or 1):
        for top in range(spec.y, bottom, rows):
            end = min(top + rows, bottom)
            if spec.tile_width:
                behind = min(front + max(spec.tile_depth, 1), back)
                yield picture.read_tiles(image, level, spec.x, right, top, end, front, behind, 0, spec.nchannels, type_)
            else:
                yield picture.read_scanlines(image, level, top, end, front, 0, spec.nchannels, type_)


def first_line(text: str) -> str:
    """Return the first line of what OpenImageIO says, without names of files that are ours alone."""
    line = text.partition("\n")[0]
    return " ".join(word for word in line.split() if "/proc/self/fd/" not in word)
