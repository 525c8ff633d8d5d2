"""Has ffmpeg make a small picture of a video's last frame."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from .found import packed
from .video import PROTOCOLS, start_ffmpeg

_PPM = re.compile(rb"P6\s(\d+)\s(\d+)\s255\s")
_LAST_SECOND = ["-sseof", "-1"]
_FIRST_FRAME = ["-frames:v", "1"]


def thumbnail_of_video(request: dict[str, Any]) -> dict[str, Any] | None:
    """Return the last frame of a video, or the first of one without an index, no larger than `box`; None without any.

    Raises `ImportError` with the name "ffmpeg" where that is not installed.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise ImportError("ffmpeg was not found", name="ffmpeg")
    for of_input, of_output in ((_LAST_SECOND, []), ([], _FIRST_FRAME)):
        source = ["-protocol_whitelist", PROTOCOLS, *of_input, "-i", f"file:{request['path']}", "-map", "0:V:0"]
        width, height = request["box"]
        scale = f"scale={width}:{height}:force_original_aspect_ratio=decrease,setsar=1"
        target = ["-vf", scale, *of_output, "-c:v", "ppm", "-f", "image2pipe", "-"]
        command = [ffmpeg, "-nostdin", "-v", "quiet", *source, *target]
        process = start_ffmpeg(command, int(request["processor_time"]) + 1, stdout=subprocess.PIPE)
        pictures, _ = process.communicate()
        if found := _PPM.match(pictures):
            width, height = int(found[1]), int(found[2])
            return packed(width, height, pictures[-3 * width * height :])
    return None
