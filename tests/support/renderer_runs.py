"""What must be found in the output of the runs that scripts/record_renderer_logs.py makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tailrace.progress import ErrorCategory, FileSaved, FrameRendered, Progress, ProgressParser, RenderError, Report

Stream: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Run:
    """What a run is about."""

    renderer: str
    frames: range | None = None
    """Those that its command names."""
    worked_on: tuple[int, ...] = ()
    """The numbers that are to be reported, in order. Of ffmpeg, which counts, only the last is certain."""
    saved: tuple[str, ...] = ()
    rendered: tuple[int, ...] = ()
    """The frames that are finished."""
    errors: frozenset[tuple[ErrorCategory | None, bool]] = frozenset()
    """Category and fatality of what goes wrong."""
    ends_well: bool | None = None
    """Whether all frames are finished; None where that is so if nothing goes wrong."""


RUNS = {
    "blender_animation": Run(
        "blender",
        range(4, 7),
        (4, 5, 6),
        tuple(f"/tmp/render/frame_{number:04}.png" for number in (4, 5, 6)),
        (4, 5, 6),
    ),
    "blender_layers": Run(
        "blender",
        range(4, 6),
        (4, 5),
        tuple(f"/tmp/render/frame_{number:04}.png" for number in (4, 5)),
        (4, 5),
    ),
    "blender_film": Run("blender", range(1, 4), (1, 2, 3), (), (1, 2, 3)),
    "blender_script": Run("blender", errors=frozenset({("scene", False), ("scene", True)})),
    "blender_script_goes_on": Run(
        "blender",
        range(1, 2),
        (1,),
        ("/tmp/render/frame_0001.png",),
        (1,),
        frozenset({("scene", False)}),
        ends_well=True,
    ),
    "blender_missing_script": Run(
        "blender",
        range(1, 2),
        (1,),
        ("/tmp/render/frame_0001.png",),
        (1,),
        frozenset({("missing_asset", False)}),
        ends_well=True,
    ),
    "blender_missing_library": Run(
        "blender",
        range(1, 2),
        (1,),
        ("/tmp/render/frame_0001.png",),
        (1,),
        frozenset({("missing_asset", False)}),
        ends_well=True,
    ),
    "blender_full_disk": Run("blender", range(1, 2), (1,), errors=frozenset({("disk", True)})),
    # Its last line of progress is that of a run that went well.
    "ffmpeg_full_disk": Run("ffmpeg", errors=frozenset({("disk", False), ("disk", True)}), ends_well=True),
    "povray_passes": Run("povray", range(1, 13), tuple(range(1, 13)), (), tuple(range(1, 13))),
    "blender_scene_error": Run("blender", errors=frozenset({("scene", True)})),
    "blender_denoiser": Run("blender", range(1, 2), (1,), errors=frozenset({("scene", True)})),
    "blender_missing_file": Run("blender", errors=frozenset({("missing_asset", True)})),
    "ffmpeg": Run("ffmpeg", range(50), (50,)),
    "ffmpeg_progress": Run("ffmpeg", None, (50,)),
    "ffmpeg_missing_input": Run("ffmpeg", errors=frozenset({("missing_asset", True)})),
    "ffmpeg_unknown_encoder": Run("ffmpeg", errors=frozenset({("scene", True)})),
    "povray_animation": Run("povray", range(4, 7), (4, 5, 6), (), (4, 5, 6)),
    "povray_parse_error": Run("povray", errors=frozenset({("scene", True), (None, True)})),
    "povray_missing_image": Run("povray", errors=frozenset({("missing_asset", False), (None, True)})),
}


def check(case: str, folder: Path, *, size: int | None, renderer: str | None = None) -> None:
    """Read the output of a run in pieces of `size`, or its lines one by one, and compare what is found."""
    run = RUNS[case]
    parser = ProgressParser(renderer or run.renderer, frames=run.frames)
    reports: list[Report] = []
    for stream, output in _in_order(case, folder):
        for piece in _pieces(output, size):
            reports += parser.feed(piece, stream)
    reports += parser.finish()
    assert parser.renderer == run.renderer
    assert tuple(report.path for report in reports if isinstance(report, FileSaved)) == run.saved
    found = {(report.category, report.fatal) for report in reports if isinstance(report, RenderError)}
    assert run.errors <= found
    assert bool(found) == bool(run.errors)
    states = [report for report in reports if isinstance(report, Progress)]
    if run.worked_on:
        assert parser.progress.frame == run.worked_on[-1]
    assert tuple(report.frame for report in reports if isinstance(report, FrameRendered)) == run.rendered
    if run.ends_well is False or (run.ends_well is None and run.errors):
        assert parser.progress.fraction != 1.0
    else:
        assert parser.progress.fraction == 1.0
    fractions = [state.fraction for state in states if state.fraction is not None]
    assert fractions == sorted(fractions)
    if size is None and not run.errors:
        # Every frame, and its progress, is seen.
        assert len(set(fractions)) > 3
        numbers = list(dict.fromkeys(state.frame for state in states if state.frame is not None))
        assert tuple(numbers if run.renderer != "ffmpeg" else numbers[-1:]) == run.worked_on


def _in_order(case: str, folder: Path) -> Iterator[tuple[Stream, bytes]]:
    """Yield what was written, nearly in that order: of ffmpeg's errors the last part comes after its progress."""
    before, started, after = (folder / f"{case}.stderr").read_bytes().partition(b"Press [q]")
    yield "stderr", before + started
    yield "stdout", (folder / f"{case}.stdout").read_bytes()
    yield "stderr", after


def _pieces(output: bytes, size: int | None) -> Iterator[bytes]:
    if size is None:
        yield from output.replace(b"\r\n", b"\n").replace(b"\r", b"\n").splitlines(keepends=True)
    else:
        for start in range(0, len(output), size):
            yield output[start : start + size]
