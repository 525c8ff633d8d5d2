"""A report as a file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import anyio.to_thread

from .._frames.replaced_file import replacing
from ._data import JobReportData
from ._page import render_page
from ._sheet import Sheet, make_sheet


async def write_report(data: JobReportData, path: str | os.PathLike[str], *, sheet: bool = True) -> str | None:
    """Write a report as one page of HTML, which opens from disk anywhere and loads nothing.

    With `sheet`, it has pictures of the frames that are still there (extra `frames`, of videos also ffmpeg). Returns
    why it has none, in a line, where something for them is not installed. What `path` was before is replaced.

    Raises `TailraceError` if it cannot be written.
    """
    pictures = await make_sheet(data.frames) if sheet else Sheet()
    await anyio.to_thread.run_sync(partial(_write, os.fspath(path), data, pictures))
    return pictures.missing


def _write(path: str, data: JobReportData, pictures: Sheet) -> None:
    with replacing(path, "the report") as written:
        # What is no character, as in the name of a file, was shown as a number.
        Path(written).write_text(render_page(data, pictures), encoding="utf-8", newline="\n")
