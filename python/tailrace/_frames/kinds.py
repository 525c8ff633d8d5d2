"""What a file is meant to be, by its name, and what it is, by how it begins."""

from __future__ import annotations

from .names import suffix_of

SUFFIXES_OF_FORMATS = {
    "bmp": "bmp dib",
    "cineon": "cin",
    "dds": "dds",
    "dpx": "dpx",
    "fits": "fits",
    "gif": "gif",
    "hdr": "hdr rgbe",
    "ico": "ico",
    "iff": "iff",
    "jpeg": "jpg jpe jpeg jif jfif jfi",
    "jpeg2000": "jp2 j2k j2c jph",
    "jpegxl": "jxl",
    "openexr": "exr sxr mxr",
    "png": "png",
    "pnm": "ppm pgm pbm pnm pfm",
    "psd": "psd psb",
    "rla": "rla",
    "sgi": "sgi rgb rgba bw",
    "targa": "tga tpic",
    "tiff": "tif tiff tx",
    "webp": "webp",
}
"""By OpenImageIO's names of the formats."""

PICTURE_SUFFIXES = frozenset(" ".join(SUFFIXES_OF_FORMATS.values()).split())
_VIDEO_SUFFIXES = """
    264 265 3gp asf av1 avi flv h264 h265 hevc ivf m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf nut obu ogv ts vob
    webm wmv y4m
"""
VIDEO_SUFFIXES = frozenset(_VIDEO_SUFFIXES.split())

HEAD = 64
"""How many bytes from the beginning tell what a file is."""

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x76\x2f\x31\x01", "openexr"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"SDPX", "dpx"),
    (b"XPDS", "dpx"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"8BPS", "psd"),
    (b"GIF8", "gif"),
    (b"\x80\x2a\x5f\xd7", "cineon"),
    (b"\0\0\0\x0cjP  ", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\0\0\0\x0cJXL ", "jpegxl"),
    (b"\xff\x0a", "jpegxl"),
    (b"DDS ", "dds"),
)
_VIDEOS = (
    b"\x1a\x45\xdf\xa3",
    b"\x06\x0e\x2b\x34",
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"YUV4MPEG2 ",
)
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")


def kind_by_name(path: str) -> str | None:
    """Return whether the file is meant to be a "picture", a "video" or something "other"; None: its content decides."""
    suffix = suffix_of(path)
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "other" if suffix else None


def kind_by_head(head: bytes) -> str | None:
    """Return the same for a file that begins like this; None if it is like no picture or video."""
    if any(head.startswith(magic) for magic, _ in _PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture"
    if head.startswith(_VIDEOS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "video"
    if head[4:8] == b"ftyp":
        return "picture" if head[8:12] in _STILL_BRANDS else "video"
    return None


def format_by_head(head: bytes) -> str | None:
    """Return OpenImageIO's name for the format of a picture that begins like this, if it can be told."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _PICTURES if head.startswith(magic)), None)
