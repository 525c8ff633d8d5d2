"""A report as one page of HTML that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from string import Template

from .._version import installed_version
from ._data import JobReportData
from ._markup import Child, Markup, element, join
from ._quantities import moment
from ._sections import contact_sheet, failures, notes, plots, time_lines
from ._sheet import Sheet
from ._summary import figures, summary
from ._table import chunk_table


def render_page(data: JobReportData, sheet: Sheet) -> str:
    """Return the page. What a render wrote is text in it, and its policy lets nothing be run or loaded but its own."""
    folder = files(__package__)
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=join([f"{data.name or data.job_id}: render report"]),
        version=join([installed_version()]),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        body=join(_body(data, sheet)),
    )


def _body(data: JobReportData, sheet: Sheet) -> Iterator[Markup]:
    yield element("header", summary(data))
    sections: list[Child] = [
        failures(data),
        contact_sheet(data, sheet),
        time_lines(data),
        plots(data),
        chunk_table(data),
        notes(data),
    ]
    yield element("main", sections)
    yield element(
        "footer",
        element("p", f"Written by tailrace {installed_version()} on {moment(time.time())} {time.strftime('%Z')}."),
    )


PARTS: Mapping[str, Callable[[JobReportData], Child]] = {
    "figures": figures,
    "failures": failures,
    "times": lambda data: [time_lines(data), plots(data)],
}
"""What a page that shows a job while it runs has of its report."""


def render_part(name: str, data: JobReportData) -> str:
    """Return one of `PARTS` as HTML, in which what a render wrote is text."""
    return join([PARTS[name](data)])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
