"""`tailrace job join`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from ..completion import complete_file


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(), shell_complete=complete_file)
@click.option("--to", metavar="OUT.mp4", type=click.Path(), required=True, help="The video to write.")
@click.option(
    "--audio",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Lay the sound of this file under the picture, cut to its length, in place of the videos' own.",
)
def join(videos: tuple[str, ...], to: str, audio: str | None) -> None:
    """Join VIDEOS in this order with ffmpeg: no frame is encoded anew, and each is shown at its exact time.

    The videos have to be rendered with the same settings. OUT.mp4 gets its name when it is whole; until then, what
    had the name before is untouched. It is what a job planned with --video merges by.

    Exit status: 0 done; 1 the videos cannot be joined; 2 bad usage; 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.
    """
    # Help and completion are asked for often, and need none of it.
    import anyio

    from tailrace import FfmpegStitcher

    from ..interruption import Interruptible
    from ..writing import print_message, standard_writers

    stitcher = FfmpegStitcher(audio=None if audio is None else Path(audio))
    interruptible = Interruptible(print_message)
    work = partial(
        stitcher.stitch,
        [Path(video) for video in videos],
        Path(to),
        stream="bytes",
        on_stderr=standard_writers().stderr.write,
    )
    anyio.run(interruptible.run, work)
    if interruptible.signal is not None:
        sys.exit(128 + interruptible.signal)
