"""Has ffmpeg make a picture of a video's first or last frame."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from typing import Any

from .found import NotSeenError
from .packing import Seen
from .video import PROTOCOLS, start_ffmpeg

_PPM = re.compile(rb"P6\s(\d+)\s(\d+)\s255\s")
_LAST_SECOND = ["-sseof", "-1"]
_FIRST_FRAME = ["-frames:v", "1"]
_FORMATS = (
    "asf,asf_o,av1,avi,dirac,evc,flv,gif,gxf,h264,hevc,ivf,live_flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,"
    "ogg,rm,vc1,vvc,webm,wtv,yuv4mpegpipe"
)
"""Those that hold what they show: no playlist, which would have another file shown."""


def thumbnail_of_video(request: dict[str, Any]) -> Seen:
    """Return the first frame of a video, or else the last, or the first of one without an index, no larger than `box`.

    Raises `NotSeenError` for one without any, `ImportError` with the name "ffmpeg" where that is not installed.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise ImportError("ffmpeg was not found", name="ffmpeg")
    width, height = request["box"]
    if not request["enlarges"]:
        width, height = f"min({width}\\,iw)", f"min({height}\\,ih)"
    scale = f"scale={width}:{height}:force_original_aspect_ratio=decrease,setsar=1"
    ways: list[tuple[list[str], list[str]]] = [([], _FIRST_FRAME)]
    if request["video_frame"] == "last":
        ways.insert(0, (_LAST_SECOND, []))
    code = 0
    for of_input, of_output in ways:
        only = ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", _FORMATS]
        source = [*only, *of_input, "-i", f"file:{request['path']}", "-map", "0:V:0"]
        target = ["-vf", scale, *of_output, "-c:v", "ppm", "-f", "image2pipe", "-"]
        command = [ffmpeg, "-nostdin", "-v", "quiet", *source, *target]
        process = start_ffmpeg(command, int(request["processor_time"]) + 1, stdout=subprocess.PIPE)
        pictures, _ = process.communicate()
        if found := _PPM.match(pictures):
            size = int(found[1]), int(found[2])
            return Seen(*size, pictures[-3 * size[0] * size[1] :])
        code = process.returncode
    if code == -signal.SIGXCPU:
        raise NotSeenError(f"is given up: ffmpeg took more than {request['processor_time']:g} s of processor time")
    raise NotSeenError("is no video that can be read")
