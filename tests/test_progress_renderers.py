"""What each renderer prints is understood, however it arrives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer_lines import LINES
from tailrace.progress import Progress, ProgressParser, Report, renderer_names

ENDS = ["\n", "\r", "\r\n"]


def _events(reports: list[Report]) -> list[Report]:
    return [report for report in reports if not isinstance(report, Progress)]


def _line_by_line(renderer: str, text: str) -> tuple[list[Report], Progress]:
    """Return what happened, and the last state, if one line at a time is read."""
    parser = ProgressParser(renderer, frames=range(1, 21))
    reports: list[Report] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        reports += parser.feed(line + "\n")
    return _events(reports), parser.progress


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
        # A saved file is also progress.
        assert _events(reports) == [expected]


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


@given(numbers=st.lists(st.text("0123456789.:-", min_size=1, max_size=400), min_size=4, max_size=4))
def test_numbers_that_nobody_prints_are_unknown_and_no_error(numbers: list[str]) -> None:
    first, second, third, fourth = numbers
    for renderer, text in (
        ("blender", f"Fra:{first} Mem:{second}M (Peak 1M) | Time:0 | Remaining:{third} | Sample {fourth}/{first}\n"),
        ("ffmpeg", f"Duration: {first}\nframe= {second} fps=1 time={third}\n"),
        ("redshift", f"Rendering frame {first} ({second}/{third})\nBlock {first}/{fourth} (1,1) rendered by GPU 0\n"),
        ("generic", f"{first}%\n{second}/{third} frames\n"),
    ):
        parser = ProgressParser(renderer, frames=range(5))
        parser.feed(text)
        for fraction in (parser.progress.fraction, parser.progress.frame_fraction):
            assert fraction is None or 0 <= fraction <= 1
