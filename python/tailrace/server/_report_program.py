"""The process that makes reports of one job for a server, which has other things to do meanwhile.

What it knows of a hundred thousand chunks are millions of objects: in the server each look of the garbage collector at
them would hold up all events for half a second.
"""

from __future__ import annotations

import gc
import json
import select
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from .._errors import TailraceError
from .._frames.child.background import be_nice
from ..report import report_to_csv, report_to_json, write_report
from ..report._log_folder import LogFolder
from ..report._page import PARTS, render_part

_PATIENCE = 60.0
"""After so many seconds without a question it ends."""
_NICE = 10
"""Of the processors it gets a tenth of what a render gets."""
_GARBAGE = (100_000, 10, 10)
"""When garbage is looked for: each look at everything goes through all that is known, where there is hardly any."""
_SHARE = 20
"""Parts are made anew after so many times as long as it took: they take a twentieth of a processor at most."""


class _Made(NamedTuple):
    parts: Mapping[str, str]
    """All of the page, by name: what they are made of takes as long to be put together as they do."""
    size: int
    """How much of the logs it is of."""
    at: float
    took: float
    ran: bool
    """Whether the job did."""


class LiveReport:
    """The report of a job that may run still."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of its logs, which is made when it begins."""
        self._folder = folder
        self._logs = LogFolder(folder)
        self._made: _Made | None = None

    def answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the server asks for."""
        try:
            return self._part(**asked) if "part" in asked else self._write(**asked)
        except TailraceError as error:
            return {"error": str(error)}

    def _part(self, part: str, known: int | None, *, runs: bool) -> Mapping[str, Any]:
        """Return a part of the page, or only its version where that is known already; 0 is nothing yet.

        `again` is in how many seconds it may be another one, 0 if it is as new as can be.
        """
        made = self._made
        began = time.monotonic()
        again = 0.0 if made is None else max(0.0, made.at + _SHARE * made.took - began)
        if made is None or not again:
            size = self._read_on(runs=runs) if self._folder.is_dir() else 0
            read = time.monotonic()
            if made is None or runs or made.ran or size != made.size:
                data = self._logs.report() if size else None
                parts = {name: "" if data is None else render_part(name, data) for name in PARTS}
                now = time.monotonic()
                made = self._made = _Made(parts, size, now, now - read, runs)
        html = made.parts[part]
        # Of nothing it is 0.
        version = zlib.crc32(html.encode())
        return {"version": version, "again": again, **({} if version == known else {"html": html})}

    def _read_on(self, *, runs: bool) -> int:
        """Read what is new, of a job that runs or does not; return how much has been read by now, in bytes."""
        size = self._logs.read_on()
        # Nothing is in the logs as long as nothing happens.
        self._logs.go_on(time.monotonic() if runs else None)
        return size

    def _write(self, to: str, kind: str, *, sheet: bool, runs: bool, job_id: str, name: str) -> Mapping[str, Any]:
        """Write the whole report into a file, of the job as the farm knows it."""
        self._read_on(runs=runs)
        # The logs only have the id of the specification, which many jobs may have.
        data = replace(self._logs.report(), job_id=job_id, name=name)
        if kind == "html":
            anyio.run(partial(write_report, data, to, sheet=sheet))
        else:
            text = report_to_json(data) if kind == "json" else report_to_csv(data)
            Path(to).write_text(text, encoding="utf-8", newline="")
        return {}


def main() -> None:
    """Answer one line of JSON with another, until there is nobody left to ask, or nobody does."""
    # The processes that make its pictures are so too.
    be_nice(_NICE)
    gc.set_threshold(*_GARBAGE)
    report = LiveReport(Path(sys.argv[1]))
    while select.select([sys.stdin], [], [], _PATIENCE)[0] and (line := sys.stdin.buffer.readline()):
        sys.stdout.write(json.dumps(report.answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
