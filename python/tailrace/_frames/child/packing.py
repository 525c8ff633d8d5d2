"""How a picture that is to be seen gets out of the process that decodes: as its pixels, or as a JPEG file."""

from __future__ import annotations

import base64
import os
from typing import Any, NamedTuple

from .found import NotTheFileError


class Seen(NamedTuple):
    """A picture; the pixels are red, green and blue of 8 bits each, row by row."""

    width: int
    height: int
    pixels: bytes


def packed(seen: Seen, request: dict[str, Any]) -> dict[str, Any]:
    """Return a picture as what becomes JSON: a JPEG file where the request says of which quality, else the pixels."""
    quality: int | None = request["quality"]
    data = seen.pixels if quality is None else _to_jpeg(seen, quality)
    return {"width": seen.width, "height": seen.height, "data": base64.b64encode(data).decode()}


def _to_jpeg(seen: Seen, quality: int) -> bytes:
    import numpy as np
    from OpenImageIO import ImageOutput, ImageSpec, geterror

    spec = ImageSpec(seen.width, seen.height, 3, "uint8")
    spec.attribute("Compression", f"jpeg:{quality}")
    # OpenImageIO's binding for Python writes to files alone.
    descriptor = os.memfd_create("picture", os.MFD_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123
        output = ImageOutput.create("jpeg")
        pixels = np.frombuffer(seen.pixels, np.uint8).reshape(seen.height, seen.width, 3)
        if output is None or not (
            output.open(f"/proc/self/fd/{descriptor}", spec) and output.write_image(pixels) and output.close()
        ):
            raise NotTheFileError(f"it cannot be made a JPEG: {geterror() if output is None else output.geterror()}")
        return file.read()
