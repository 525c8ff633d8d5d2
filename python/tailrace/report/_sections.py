"""The sections of a report, each a heading with what is below it; one that has nothing to tell is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ._data import AttemptReport, ChunkReport, FailureReport, JobReportData, LogExcerpt
from ._markup import Child, Markup, element, void
from ._plots import Point, find_outliers, scatter
from ._quantities import counted, duration, exit_status, moment, size, size_ticks, ticks
from ._sheet import Sheet, SheetFrame
from ._timeline import Bar, time_line

_MOST_RUNS = 5
_MOST_OUTLIERS = 5
_BAR_STATES = ("completed", "retried", "failed", "cancelled", "running", "unfinished")


def section(name: str, title: str, *children: Child) -> Markup:
    """Return a part of the page with its heading; `name` is its id."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def failures(data: JobReportData) -> Markup | None:
    """Return why chunks failed, with the lines that explain it."""
    failed = data.counts()["failed"]
    if not failed:
        return None
    kinds = Counter(
        (chunk.last.category or "other").replace("_", " ")
        for chunk in data.chunks
        if chunk.state == "failed" and chunk.last
    )
    told = f"{counted(failed, 'chunk')} failed"
    if set(kinds) != {"other"}:
        told += f" ({', '.join(f'{kind}: {number}' for kind, number in kinds.most_common())})"
    more = "" if failed <= len(data.failures) else f". Here are the first {len(data.failures)}"
    return section("failures", "Failures", element("p", f"{told}{more}.", class_="about"), map(_failure, data.failures))


def _failure(failure: FailureReport) -> Markup:
    attempt = failure.attempt
    facts = [
        f"attempt {attempt.attempt}",
        f"slot {attempt.slot}",
        *([attempt.node] if attempt.node else []),
        duration(attempt.duration),
        *([] if attempt.exit_code is None else [f"exit {exit_status(attempt.exit_code)}"]),
        *([] if attempt.memory is None else [size(attempt.memory)]),
    ]
    errors = [element("li", error) for error in attempt.errors if error not in (attempt.reason or "")]
    return element(
        "article",
        element("h3", f"Chunk {failure.chunk_id}"),
        element("p", ", ".join(facts), class_="about"),
        attempt.reason and element("p", attempt.reason, class_="reason"),
        errors and element("ul", errors, class_="reported"),
        map(_excerpt, failure.excerpts),
        data_chunk=failure.chunk_id,
    )


def _excerpt(excerpt: LogExcerpt) -> Markup:
    name = "Standard error" if excerpt.stream == "stderr" else "Standard output"
    where = "" if excerpt.path is None else f", {excerpt.path}"
    return element(
        "figure",
        element("figcaption", f"{name}{where}"),
        element("pre", element("code", _lines(excerpt))),
        class_="excerpt",
    )


def _lines(excerpt: LogExcerpt) -> Iterator[Child]:
    for place, line in enumerate(excerpt.lines):
        if place in excerpt.gaps:
            yield element("span", "⋯\n", class_="gap")
        yield element("mark", line) if place in excerpt.marked else line
        yield "\n"


def contact_sheet(data: JobReportData, sheet: Sheet) -> Markup | None:
    """Return the frames as pictures, flagged ones with what is wrong."""
    if sheet.missing is not None:
        return section("frames", "Frames", element("p", sheet.missing, class_="about"))
    if not sheet.frames:
        return None
    total = len(data.frames)
    told = counted(total, "frame")
    if len(sheet.frames) < total:
        is_flagged = any(one.frame.damage is not None or one.frame.warnings for one in sheet.frames)
        flagged = ", and those that are damaged or odd" if is_flagged else ""
        told = f"{len(sheet.frames)} of {told}, evenly spaced{flagged}"
    tiles = element("ul", map(_tile, sheet.frames), class_="sheet")
    return section("frames", "Frames", element("p", f"{told}.", class_="about"), tiles)


def _tile(shown: SheetFrame) -> Markup:
    frame, source, width, height = shown
    why = frame.damage or ", ".join(frame.warnings)
    kind = "damaged" if frame.damage is not None else "odd" if frame.warnings else None
    picture = element("div", "not to be seen", class_="blank")
    if source is not None:
        picture = void("img", src=source, width=width, height=height, alt=f"Frame {frame.frame}")
    caption = element(
        "figcaption",
        str(frame.frame),
        element("span", f"chunk {frame.chunk_id}"),
        why and element("span", f"{kind}: {why}", class_="why"),
    )
    return element("li", element("figure", picture, caption), class_=kind)


def time_lines(data: JobReportData) -> Markup | None:
    """Return which chunk ran in which slot, and when, run by run."""
    if not any(chunk.attempts for chunk in data.chunks):
        return None
    bars: list[list[Bar]] = [[] for _ in data.runs]
    for chunk in data.chunks:
        for attempt in chunk.attempts:
            bars[attempt.run].append(Bar(chunk.chunk_id, attempt))
    shown: list[Child] = []
    for index, run in list(enumerate(data.runs))[-_MOST_RUNS:]:
        heading = f"Run {index + 1}, {moment(run.started_at)}, {run.state}"
        title = element("h3", heading) if len(data.runs) > 1 else None
        if bars[index]:
            shown.append(element("div", title, time_line(run, bars[index]), class_="run"))
        else:
            shown.append(element("div", title, element("p", "No chunk was started.", class_="about"), class_="run"))
    states = {attempt.state for chunk in data.chunks for attempt in chunk.attempts}
    legend: list[str] = [state for state in _BAR_STATES if state in states]
    if any(run.merge is not None and run.merge.state == "completed" for run in data.runs):
        legend.append("merge")
    left_out = len(data.runs) - _MOST_RUNS
    note = element("p", f"{counted(left_out, 'earlier run')} not shown.", class_="note") if left_out > 0 else None
    about = element("p", "Which chunk ran in which slot, and when. Point at a bar for what it was.", class_="about")
    return section("time-line", "Time line", about, shown, _legend(legend), note)


def _legend(states: Sequence[str]) -> Markup:
    boxes = (
        element("svg", element("rect", width=11, height=11, rx=2, class_=s), width=11, height=11, aria_hidden="true")
        for s in states
    )
    return element("ul", [element("li", box, state) for box, state in zip(boxes, states, strict=True)], class_="legend")


def plots(data: JobReportData) -> Markup | None:
    """Return memory and processor use of the chunks and the time of the frames."""
    last = [(chunk, attempt) for chunk in data.chunks if (attempt := chunk.last) is not None]
    memory = [_point(c, a, a.memory) for c, a in last if a.memory is not None]
    processors = [_point(c, a, a.cpu / a.duration) for c, a in last if a.cpu is not None and a.duration > 0]
    frames = [Point(f.frame, f.duration, bool(f.warnings), f.chunk_id) for f in data.frames if f.duration is not None]
    if all(chunk.frames < 2 for chunk in data.chunks):
        # It is the time of their chunk, all of it where that is one video.
        frames = []
    times = [_point(c, a, a.duration) for c, a in last if a.state in ("completed", "failed")]
    cards = [
        _plot(
            "frame-times",
            "Time per frame",
            "frame",
            frames,
            duration,
            "from one finished frame to the next of its chunk",
        ),
        _plot("chunk-times", "Time per chunk", "chunk", times, duration, "of the last attempt"),
        _plot("memory", "Peak memory", "chunk", memory, size, "of all processes of a chunk at once", size_ticks),
        _plot(
            "processors",
            "Processors in use",
            "chunk",
            processors,
            lambda value: f"{value:.3g}",
            "on average over a chunk",
        ),
    ]
    shown = [card for card in cards if card is not None]
    return element("div", shown, class_="pair") if shown else None


def _point(chunk: ChunkReport, attempt: AttemptReport, value: float) -> Point:
    return Point(chunk.chunk_id, value, attempt.state == "failed", chunk.chunk_id)


def _plot(
    name: str,
    title: str,
    noun: str,
    points: Sequence[Point],
    show: Callable[[float], str],
    about: str,
    count: Callable[[float, int], list[float]] = ticks,
) -> Markup | None:
    if not points:
        return None
    usual, outliers = find_outliers(points)
    assert usual is not None  # noqa: S101 - there are values.
    told = f"Median {show(usual)}."
    if outliers:
        named = ", ".join(f"{noun} {point.number} ({show(point.value)})" for point in outliers[:_MOST_OUTLIERS])
        more = f" and {counted(len(outliers) - _MOST_OUTLIERS, 'other')}" if len(outliers) > _MOST_OUTLIERS else ""
        told += f" Far from it: {named}{more}."
    drawn = scatter(points, noun=noun, told=f"{title} of {counted(len(points), noun)}. {told}", show=show, count=count)
    caption = element("p", told, class_="note")
    return section(name, title, element("p", f"By {noun}, {about}.", class_="about"), drawn, caption)


def notes(data: JobReportData) -> Markup | None:
    """Return what is not in the report though it should be."""
    unreadable = sum(run.unreadable_lines for run in data.runs)
    lines: list[str] = []
    if unreadable:
        lines.append(
            f"{counted(unreadable, 'line')} of the log of events could not be read; what they told is missing here."
        )
    for run in data.runs:
        lines += [f"The log {path} is incomplete: {reason}" for path, reason in list(run.incomplete_logs.items())[:10]]
    return section("notes", "Notes", element("ul", [element("li", line) for line in lines])) if lines else None
