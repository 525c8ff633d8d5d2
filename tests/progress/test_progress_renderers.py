"""What each renderer prints is understood, however it arrives."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.renderer_lines import LINES
from tailrace.progress import (
    ErrorCategory,
    FileSaved,
    FrameRendered,
    Progress,
    ProgressParser,
    RenderError,
    Report,
    renderer_names,
)
from tailrace.progress._registry import renderer_named
from tailrace.progress._renderers import COMMON_RULES, OPENJD_RULES

ENDS = ["\n", "\r", "\r\n"]


def _events(reports: list[Report]) -> list[Report]:
    return [report for report in reports if not isinstance(report, Progress)]


def _path_of(report: Report) -> str | None:
    return report.path if isinstance(report, FileSaved | FrameRendered) else None


def _line_by_line(renderer: str, text: str) -> tuple[list[Report], Progress]:
    """Return what happened, and the last state, if one line at a time is read."""
    parser = ProgressParser(renderer, frames=range(1, 21))
    reports: list[Report] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        reports += parser.feed(line + "\n")
    return _events(reports + parser.finish()), parser.progress


def _in_pieces(renderer: str, pieces: Iterator[bytes]) -> tuple[list[Report], Progress]:
    parser = ProgressParser(renderer, frames=range(1, 21))
    reports: list[Report] = []
    for piece in pieces:
        reports += parser.feed(piece)
    return _events(reports + parser.finish()), parser.progress


def test_every_renderer_that_is_known_is_tested_here() -> None:
    assert sorted(LINES) == renderer_names()


@pytest.mark.parametrize(("renderer", "line", "expected"), [(name, *row) for name in LINES for row in LINES[name]])
def test_a_documented_line_means_what_it_should(renderer: str, line: str, expected: Report | None) -> None:
    reports = ProgressParser(renderer).feed(line + "\n")
    if expected is None:
        assert reports == []
    elif isinstance(expected, Progress):
        assert reports == [expected]
    else:
        assert reports[0] == expected
        # A saved file is also progress, and a frame that nobody knows the number of.
        unnumbered = FrameRendered(None, _path_of(expected))
        assert [report for report in _events(reports) if report != unnumbered] == [expected]


@pytest.mark.parametrize("end", ENDS, ids=["newline", "return", "both"])
@pytest.mark.parametrize("renderer", LINES)
def test_a_line_means_the_same_wherever_it_is_cut(renderer: str, end: str) -> None:
    before = "\n".join(line for line, _ in LINES[renderer]) + "\n"
    for line, _ in LINES[renderer]:
        text = (line + end).encode()
        expected = _line_by_line(renderer, before + line)
        for cut in range(1, len(text)):
            assert _in_pieces(renderer, iter([before.encode(), text[:cut], text[cut:]])) == expected


@pytest.mark.parametrize("renderer", LINES)
def test_a_line_means_the_same_byte_by_byte(renderer: str) -> None:
    text = "\r\n".join(line for line, _ in LINES[renderer])
    assert _in_pieces(renderer, (bytes([byte]) for byte in text.encode())) == _line_by_line(renderer, text)


_NOISE = [
    "",
    "of no interest é",
    "100%",
    "Error",
    "Fra:",
    "frame=",
    "openjd_progress: 12",
    "\x00\x1b[0m",
    "ALF_PROGRESS",
]


@given(data=st.data())
@pytest.mark.parametrize("renderer", LINES)
def test_blocks_mean_the_same_as_their_lines(renderer: str, data: st.DataObject) -> None:
    known = st.sampled_from([line for line, _ in LINES[renderer]])
    line = st.one_of(known, known, known, st.sampled_from(_NOISE), st.text(max_size=20))
    lines = data.draw(st.lists(st.tuples(line, st.sampled_from(ENDS)), max_size=30))
    text = "".join(line + end for line, end in lines)
    octets = text.encode(errors="replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    pieces = (octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True))
    assert _in_pieces(renderer, pieces) == _line_by_line(renderer, octets.decode())


@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
@pytest.mark.parametrize("renderer", LINES)
def test_arbitrary_bytes_are_read_without_an_error(renderer: str, data: bytes, cut: int) -> None:
    whole, pieces = ProgressParser(renderer), ProgressParser(renderer)
    events = _events(whole.feed(data) + whole.finish())
    assert _events(pieces.feed(data[:cut]) + pieces.feed(memoryview(data)[cut:]) + pieces.finish()) == events
    assert pieces.progress == whole.progress


_COMMON: dict[ErrorCategory, list[str]] = {
    "memory": [
        "std::bad_alloc",
        "MemoryError",
        "Out of memory",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "fork: Cannot allocate memory",
    ],
    "disk": [
        "write: No space left on device",
        "cannot write f.exr: Disk quota exceeded",
        "fsync failed (ENOSPC)",
        "There is not enough space on the disk.",
    ],
    "licence": [
        "Could not check out a license",
        "Failed to acquire a floating licence: timed out",
        "No valid license found.",
        "License checkout failed (-4)",
        "LM: Licensed number of users already reached.",
        "All licenses are in use",
        "FlexNet Licensing error:-15,570",
    ],
}
_TEXTS = [(category, text) for category, texts in _COMMON.items() for text in texts]
_PREFIXES = [
    *("", "Error: ", "ERROR: ", "error: ", "Error: Python: ", "00:05.001  reports | ERROR ", "{SEVERE} ", "{ERROR} "),
    *("00:00:01 ERROR | ", "After Effects error: ", "(kFailure): ", "99% done, 1/2 frames: "),
]


def _error(renderer: str, line: str) -> RenderError:
    (report,) = _events(ProgressParser(renderer).feed(line + "\n"))
    assert isinstance(report, RenderError)
    return report


@pytest.mark.parametrize("renderer", LINES)
def test_what_any_program_may_run_out_of_counts_whatever_the_renderer_is(renderer: str) -> None:
    for category, text in _TEXTS:
        for prefix in _PREFIXES:
            if not prefix.startswith("{SEVERE}") or category != "licence":
                assert _error(renderer, prefix + text) == RenderError(prefix + text, category, False)
        for line, report in LINES[renderer]:
            if isinstance(report, RenderError) and not line.startswith("openjd_"):
                told = _error(renderer, f"{line} {text}")
                # What its own rules say more precisely is not lost.
                says_more = report.category is not None and (report.fatal or report.category != "scene")
                assert told.category == (report.category if says_more else category)
                assert told.fatal == report.fatal


@pytest.mark.parametrize("renderer", LINES)
def test_open_job_description_counts_whatever_the_renderer_is(renderer: str) -> None:
    for line in [
        *(text for _, text in _TEXTS),
        *(line for line, _ in LINES[renderer] if not line.startswith("openjd_")),
    ]:
        assert _error(renderer, f"openjd_fail: {line}").fatal
        reports = ProgressParser(renderer).feed(f"openjd_status: {line}\nopenjd_progress: 12 {line}\n")
        assert reports == [Progress(fraction=0.12, status=line.strip())]
    # As a shell shows a command that it runs.
    assert _events(ProgressParser(renderer).feed("+ echo 'openjd_fail: no'\n")) == []


_NUMBERS = st.one_of(
    st.text("0123456789.:-", min_size=1, max_size=400),
    st.integers(300, 400).map(lambda digits: "9" * digits),
    st.sampled_from([*("0", "00", "0.0", "0:0", "1e400", "nan", "-1"), "9" * 19, "9" * 60, "9" * 64, "9" * 60 + "h 1"]),
)


@settings(max_examples=300)
@given(data=st.data())
def test_numbers_that_nobody_prints_are_unknown_and_no_error(data: st.DataObject) -> None:
    renderer = data.draw(st.sampled_from(sorted(LINES)))
    parser = ProgressParser(renderer, frames=range(5))
    for line in data.draw(st.lists(st.sampled_from([line for line, _ in LINES[renderer]]), max_size=4)):
        parser.feed(re.sub(r"[\d.]+", lambda _: data.draw(_NUMBERS), line) + "\n")
        progress = parser.progress
        # No infinity and no NaN.
        json.dumps(dataclasses.asdict(progress), allow_nan=False)
        assert all(part is None or 0 <= part <= 1 for part in (progress.fraction, progress.frame_fraction))
        assert all(number is None or abs(number) < 2**63 for number in (progress.frame, progress.memory))


def _hostile_lines(text: str, size: int) -> Iterator[str]:
    """Yield lines in which many places look like the start of what a pattern looks for."""
    yield text * (size // len(text))
    for filler in " 1.x/|=:'\"[":
        yield (text + filler * size)[:size]
        yield (text + filler * size)[: size - 1] + "\x01"
        yield (filler * size + text)[-size:]
        yield (text + filler) * (size // (len(text) + 1))


def _seconds_to_read(parser: ProgressParser, block: bytes) -> float:
    start = time.thread_time()
    parser.feed(block)
    return time.thread_time() - start


@pytest.mark.parametrize("renderer", LINES)
def test_no_line_takes_long(renderer: str) -> None:
    known = [line for line, _ in LINES[renderer]]
    triggers = {rule.trigger for rule in (*OPENJD_RULES, *COMMON_RULES, *renderer_named(renderer).rules)}
    parser = ProgressParser(renderer)
    for text in sorted({*triggers, *known, *(trigger + "1/1 " for trigger in triggers)}):
        # The longest line that is read as a whole, and one that is not.
        lines = [*_hostile_lines(text, 4096), text * (65536 // len(text))]
        block = "".join(f"{line}\n" for line in lines).encode()
        # Ten times what it has to be; the machine may be busy, but not every time.
        assert any(_seconds_to_read(parser, block) < 0.2 for _ in range(5)), text


@pytest.mark.parametrize("renderer", LINES)
@pytest.mark.parametrize(
    "line",
    [
        "configuration: --enable-gpl, license: GPL version 3 or later",
        "License server 27000@licences answered in 3 ms",
        "checked out license nuke_r, expires 2030-01-01",
        "No license server is needed",
        "This program comes with no license",
    ],
)
def test_to_speak_of_licences_is_no_error(renderer: str, line: str) -> None:
    assert _events(ProgressParser(renderer).feed(line + "\n")) == []
