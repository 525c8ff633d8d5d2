"""The head of a report: what became of the job, in a few figures."""

from __future__ import annotations

from collections.abc import Iterator

from .._frames.kinds import kind_by_name
from ._data import JobReportData
from ._markup import Child, Markup, element
from ._plots import percent
from ._quantities import counted, duration, moment, size

_STATES = {
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "running": "Running",
    "unfinished": "Not finished",
}


def summary(data: JobReportData) -> Iterator[Child]:
    """Yield the name of the job, how it ended, and its figures."""
    last = data.runs[-1]
    began = data.runs[0].started_at
    ended = last.started_at + last.duration
    runs = f" in {len(data.runs)} runs" if len(data.runs) > 1 else ""
    yield element("p", "Render report", class_="kind")
    yield element("h1", data.name or data.job_id)
    if data.name:
        yield element("p", f"Job {data.job_id}", class_="about")
    # Of the same day the day is told once.
    day = moment(began)[: len("2026-11-28 ")]
    when = f"{moment(began)} to {moment(ended).removeprefix(day)}{runs}"
    yield element("p", element("span", _STATES[last.state], class_=f"pill {last.state}"), when, class_="when")
    if last.error is not None and last.state == "failed" and not data.failures:
        yield element("p", last.error, class_="error")
    if last.state == "unfinished":
        yield element(
            "p", "The log has no end: the job was running when this was written, or its host was killed.", class_="note"
        )
    yield _share(data)
    yield figures(data)


def figures(data: JobReportData) -> Markup:
    """Return the figures alone."""
    return element("dl", [_figure(*figure) for figure in _figures(data)], class_="figures")


def _share(data: JobReportData) -> Markup:
    counts = data.counts()
    parts: list[Markup] = []
    begin = 0.0
    for state in ("completed", "failed", "running", "unfinished", "cancelled", "skipped", "pending"):
        share = counts[state] / (data.total_chunks or 1)
        if share:
            parts.append(element("rect", x=percent(begin), width=percent(share), height=8, class_=state))
        begin += share
    told = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    return element("svg", parts, class_="share", role="img", aria_label=f"Chunks: {told}")


def _figure(name: str, value: str, more: str | None) -> Markup:
    return element("div", element("dt", name), element("dd", value, more and element("small", more)))


def _figures(data: JobReportData) -> Iterator[tuple[str, str, str | None]]:
    counts = data.counts()
    attempts = [attempt for chunk in data.chunks for attempt in chunk.attempts]
    others = ", ".join(
        f"{counts[state]:,} {state}"
        for state in ("failed", "skipped", "cancelled", "running", "pending")
        if counts[state]
    )
    yield "Chunks done", f"{counts['completed']:,} of {data.total_chunks:,}", others or None
    if data.frames:
        damaged = sum(frame.damage is not None for frame in data.frames)
        odd = sum(bool(frame.warnings) for frame in data.frames)
        flags = [f"{number:,} {what}" for number, what in ((damaged, "damaged"), (odd, "odd")) if number]
        are_videos = all(kind_by_name(frame.path) == "video" for frame in data.frames)
        yield (
            "Videos seen whole" if are_videos else "Frames seen whole",
            f"{len(data.frames) - damaged:,}",
            ", ".join(flags) or None,
        )
    elapsed = sum(run.duration for run in data.runs)
    busy = sum(attempt.duration for attempt in attempts)
    slots = len({attempt.slot for attempt in attempts})
    yield "Time", duration(elapsed), f"of {len(data.runs)} runs together" if len(data.runs) > 1 else None
    if slots and elapsed:
        yield "Slots", f"{slots}", f"{min(busy / (slots * elapsed), 1):.0%} busy"
    processor = [attempt.cpu for attempt in attempts if attempt.cpu is not None]
    if processor:
        measured = f"of {counted(len(processor), 'attempt')}" if len(processor) < len(attempts) else None
        yield "Processor time", duration(sum(processor)), measured
    memory = max(
        ((attempt.memory or 0, chunk.chunk_id) for chunk in data.chunks for attempt in chunk.attempts), default=(0, 0)
    )
    if memory[0]:
        yield "Peak memory", size(memory[0]), f"chunk {memory[1]}"
    again = sum(max(len(chunk.attempts) - 1, 0) for chunk in data.chunks)
    yield "Attempts", f"{len(attempts):,}", f"{again:,} of them repeated" if again else "none repeated"
    nodes = {attempt.node for attempt in attempts if attempt.node}
    if nodes:
        yield "Machines", f"{len(nodes):,}", ", ".join(sorted(nodes)[:3]) + (", …" if len(nodes) > 3 else "")
