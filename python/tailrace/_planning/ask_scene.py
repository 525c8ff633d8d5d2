"""What a scene or a video says of its own frames, asked of the program that renders it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import anyio

from .._command.ending import describe_error, describe_exit
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._errors import SpecError, WorkerError
from .._local.adapter import LocalWorkerAdapter
from .._spec.frame_range import FrameRange
from .blender import SceneCommand
from .outline import Size
from .templates import ffmpeg_file

_INSTEAD = "give the frames, the rate and the size yourself"


@dataclass(frozen=True, slots=True)
class SceneInfo:
    """What a scene or a video says of itself; a video's frames count from 0."""

    frames: FrameRange
    fps: Fraction
    """Frames a second."""
    size: Size
    """Width and height in pixels."""


async def inspect_scene(
    template: str,
    source: str,
    *,
    args: Sequence[str] = (),
    timeout: float = 300.0,  # noqa: ASYNC109 - the error says how long it was.
) -> SceneInfo:
    """Return the frames, rate and size of a scene of "blender" or a video for "ffmpeg", for `plan_job`.

    `source` and `args` are what `plan_job` takes, but relative to the current folder. Blender opens the scene, or runs
    the script that makes it, with `args`. ffmpeg decodes the whole video, since some containers do not say how many
    frames it has; `args`, which are for what it writes, do not count.

    Raises `SpecError` for another template, for what cannot be opened, if the program is missing or fails, and if it
    has not answered after `timeout` seconds.
    """
    if template not in _QUESTIONS:
        raise SpecError(f"{template!r} does not say what its frames are, only Blender and ffmpeg do: {_INSTEAD}")
    if not source:
        raise SpecError("source: is missing: name the scene or the video")
    with anyio.move_on_after(timeout):
        return await _QUESTIONS[template](source, args)
    raise SpecError(f"{template} has not said within {timeout:g} s what {source!r} has: {_INSTEAD}")


# What it prints itself is on the same stream, and may not end in a line's end.
_BLENDER_QUESTION = """\
import bpy, json
scene = bpy.context.scene
render = scene.render
answer = [scene.frame_start, scene.frame_end, scene.frame_step, render.fps, render.fps_base]
answer += [render.resolution_x, render.resolution_y, render.resolution_percentage]
print('\\n' + '{token}' + json.dumps(answer), flush=True)"""


async def _ask_blender(source: str, args: Sequence[str]) -> SceneInfo:
    token = secrets.token_hex(16)
    words, script_args = SceneCommand.opening(source, args)
    question = ["--python-expr", _BLENDER_QUESTION.format(token=token)]
    result = await _run([*words, *question, *script_args], source)
    answer = re.search(rf"^{token}(.*)$", result.stdout, flags=re.MULTILINE)
    if answer is None:
        raise SpecError(f"blender has not said what {source!r} has: {_INSTEAD}")
    start, end, step, fps, fps_base, width, height, percentage = json.loads(answer[1])
    if start > end:
        raise SpecError(f"{source!r} has no frames: it begins with {start} and ends with {end}")
    # The base has seven digits in Blender: what is 1.001 there is 1.0010000467 to Python.
    rate = Fraction(fps) / Fraction(f"{fps_base:.7g}")
    size = (width * percentage // 100, height * percentage // 100)
    return SceneInfo(FrameRange(range(start, end + 1, step)), rate, size)


async def _ask_ffmpeg(source: str, args: Sequence[str]) -> SceneInfo:
    del args
    reading = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", ffmpeg_file(source), "-map", "0:v:0"]
    # Its header has the rate as a fraction, and the size of the picture after it was turned upright.
    first = (await _run([*reading, "-frames:v", "1", "-f", "framecrc", "-"], source)).stdout
    rate = re.search(r"^#tb 0: (\d+)/(\d+)$", first, flags=re.MULTILINE)
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)$", first, flags=re.MULTILINE)
    every = await _run([*reading, "-f", "null", "-progress", "pipe:1", "-"], source)
    # It goes on after most errors, with frames left out.
    if damage := _OF_DECODING.search(every.stderr):
        raise SpecError(f"ffmpeg finds {source!r} damaged: {damage[1][:_LONGEST_REASON]}: {_INSTEAD}")
    counts = re.findall(r"^frame=(\d+)$", every.stdout, flags=re.MULTILINE)
    if rate is None or size is None or not counts or not int(counts[-1]):
        raise SpecError(f"ffmpeg has not said what {source!r} has: {_INSTEAD}")
    fps = _standard(Fraction(int(rate[2]), int(rate[1])))
    return SceneInfo(FrameRange(range(int(counts[-1]))), fps, (int(size[1]), int(size[2])))


def _standard(rate: Fraction) -> Fraction:
    """Return the whole rate, or that of NTSC, which a container has rounded to this one, or the rate itself.

    Matroska knows how long a frame lasts in nanoseconds: of 60000/1001 ffmpeg makes 19001/317.
    """
    for unit in (Fraction(1), Fraction(1000, 1001)):
        standard = round(rate / unit) * unit
        if abs(rate - standard) < standard * _NOISE:
            return standard
    return rate


_NOISE = Fraction(1, 1_000_000)
_QUESTIONS: Mapping[str, Callable[[str, Sequence[str]], Awaitable[SceneInfo]]] = {
    "blender": _ask_blender,
    "ffmpeg": _ask_ffmpeg,
}


async def _run(words: Sequence[str], source: str) -> WorkerResult:
    """Run a program to its end. Raises `SpecError` if it cannot be started or fails."""
    program, *args = words
    try:
        # Blender goes by PWD, which is another folder after a `chdir` of this process.
        job = WorkerJob(program, args, cwd=Path.cwd())
        result = await LocalWorkerAdapter().execute(job)
    except WorkerError as error:
        raise SpecError(f"{source!r} cannot be looked at: {describe_error(error)}: {_INSTEAD}") from error
    if result.exit_code != 0:
        reason = _reason(result) or describe_exit(program, result.exit_code)
        raise SpecError(f"{program} cannot read {source!r}: {reason}")
    return result


def _reason(result: WorkerResult) -> str | None:
    """Return the line that says best why a program failed: a Python exception, Blender's error, ffmpeg's first one."""
    exceptions = _EXCEPTION.findall(result.stdout)
    errors = exceptions[-1:] or _BLENDER_ERROR.findall(result.stdout) or _ANYTHING.findall(result.stderr)
    return _OF_FFMPEG.sub("", errors[0])[:_LONGEST_REASON] if errors else None


_EXCEPTION = re.compile(r"^(?!Error)[\w.]*(?:Error|Exception)\b.*", re.MULTILINE)
_BLENDER_ERROR = re.compile(r"^Error: (?!Python:|script failed)(.*)", re.MULTILINE)
_ANYTHING = re.compile(r"^.*\S", re.MULTILINE)
_OF_FFMPEG = re.compile(r"^\[[^\]]* @ 0x[0-9a-f]+\] ")
_OF_DECODING = re.compile(r"^(?:\[(?!null |out#)[^\]]* @ 0x[0-9a-f]+\] )(.*)", re.MULTILINE)
_LONGEST_REASON = 200
