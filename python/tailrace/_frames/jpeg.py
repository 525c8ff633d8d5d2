"""Small pictures as files that browsers show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from .._errors import TailraceError
from .._extras import missing_extra
from .thumbnails import Thumbnail

_QUALITY = "jpeg:80"


def to_jpegs(thumbnails: Sequence[Thumbnail | None]) -> list[bytes | None]:
    """Return the JPEG file of each; blocks for a millisecond a picture.

    Raises `ImportError` where OpenImageIO is not installed, `TailraceError` if there is no room for temporary files.
    """
    try:
        import numpy
        from OpenImageIO import ImageBuf, geterror
    except ImportError as error:
        raise missing_extra("a contact sheet", "frames", error) from error
    files: list[bytes | None] = []
    # OpenImageIO's binding for Python writes to files alone.
    with TemporaryDirectory(prefix="tailrace-") as folder:
        path = Path(folder) / "thumbnail.jpg"
        for thumbnail in thumbnails:
            if thumbnail is None:
                files.append(None)
                continue
            pixels = numpy.frombuffer(thumbnail.pixels, numpy.uint8)
            picture = ImageBuf(pixels.reshape(thumbnail.height, thumbnail.width, 3))
            picture.specmod().attribute("Compression", _QUALITY)
            if not picture.write(str(path)):
                raise TailraceError(f"thumbnails cannot be written to {folder}: {picture.geterror() or geterror()}")
            files.append(path.read_bytes())
    return files
