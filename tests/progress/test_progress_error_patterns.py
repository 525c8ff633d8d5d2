"""A user's expressions tell what lines are errors."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.progress import FileSaved, FrameRendered, Progress, ProgressParser, RenderError, Report

SEATS = ("licence", r"no seats? (?:free|left)")


def _errors(reports: list[Report]) -> list[RenderError]:
    return [report for report in reports if isinstance(report, RenderError)]


@pytest.mark.parametrize(
    ("category", "fatal"),
    [("licence", False), ("memory", False), ("disk", False), ("missing_asset", True), ("scene", True)],
)
def test_a_pattern_has_a_category_which_tells_whether_it_is_fatal(category: str, fatal: bool) -> None:
    parser = ProgressParser(error_patterns=[(category, "^ab+c")])
    (error,) = _errors(parser.feed("  abc\nabbc: 3\nxabc\n"))
    assert (error.message, error.category, error.fatal) == ("abbc: 3", category, fatal)


def test_an_error_of_no_category_is_one() -> None:
    (error,) = ProgressParser(error_patterns=[("error", "flicker")]).feed("flicker at 3\n")
    assert error == RenderError("flicker at 3", None, False)


def test_the_first_pattern_that_matches_counts_before_all_that_is_known() -> None:
    parser = ProgressParser("blender", frames=[1], error_patterns=[SEATS, ("scene", "seat|Saved: '/tmp/|Sample 3")])
    assert parser.feed("Error: Cannot render, no seats left\n") == [
        RenderError("Error: Cannot render, no seats left", "licence", False)
    ]
    # Such a line means nothing else.
    assert parser.feed("Fra:1 Mem:1M | Sample 1/4\nFra:1 Mem:1M | Sample 3/4\n")[-1] == Progress(
        frame=1, frame_fraction=0.25, fraction=0.25, memory=2**20, status="Sample"
    )
    assert parser.feed("Saved: '/tmp/0001.png'\n") == [RenderError("Saved: '/tmp/0001.png'", "scene", True)]
    # A fatal error in a frame.
    reports = parser.feed("Fra:2 Mem:1M\nSaved: '/p/0001.png'\nError: Cannot render\n")
    assert FileSaved("/p/0001.png") in reports
    assert RenderError("Error: Cannot render", "scene", True) in reports


def test_a_frame_in_which_one_is_fatal_is_not_told() -> None:
    parser = ProgressParser("povray", frames=[1, 2], error_patterns=[("missing_asset", "gone")])
    reports = parser.feed("Rendering frame 1 of 2\nfile is gone\nRendering frame 2 of 2\nPOV-Ray finished\n")
    assert [report for report in reports if isinstance(report, FrameRendered)] == [FrameRendered(2, None)]


def test_of_a_traceback_only_what_was_raised_is_searched() -> None:
    parser = ProgressParser(error_patterns=[SEATS])
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    raise Seats("no seats left")\n'
    assert parser.feed(text) == []
    assert parser.feed("a.Seats: no seat free\n") == [RenderError("a.Seats: no seat free", "licence", False)]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (("licence", "(x"), r"error pattern '\(x' is not a regular expression: missing \), unterminated subpattern"),
        (
            ("network", "x"),
            "error pattern 'x': no such category: 'network'; use one of licence, .*, error",
        ),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_by_name(pattern: tuple[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ProgressParser(error_patterns=[pattern])


@pytest.mark.parametrize("pattern", ["licence", ("licence",), ("licence", 3), ("licence", "a", "b")])
def test_what_is_no_pair_of_texts_is_refused(pattern: tuple[str, str]) -> None:
    with pytest.raises(TypeError, match="an error pattern is a category and a regular expression, not "):
        ProgressParser(error_patterns=[pattern])


def test_groups_of_the_users_own_mean_nothing() -> None:
    parser = ProgressParser(error_patterns=[("error", r"(?P<frame>\d+)(?P<percent>x)\2")])
    assert parser.feed("frame 12xx\n") == [RenderError("frame 12xx", None, False)]


def test_no_more_than_4_kib_of_a_line_are_searched() -> None:
    parser = ProgressParser(error_patterns=[("error", "needle")])
    assert len(_errors(parser.feed("needle" + "x" * 10**6 + "\n" + "x" * 10**6 + "needle\n"))) == 2
    assert parser.feed("x" * 10**5 + "needle" + "x" * 10**5 + "\n") == []
    # For each character one step for each that follows.
    quadratic = ProgressParser(error_patterns=[("error", "a+b")])
    start = time.thread_time()
    quadratic.feed("a" * 10**6 + "\n")
    assert time.thread_time() - start < 1


@given(
    lines=st.lists(
        st.sampled_from(["no seats left", "Fra:1 Mem:1M | Sample 1/2", "Error: x", "a" * 5000 + "no seat free", ""]),
        max_size=12,
    ),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 9000), max_size=4),
)
def test_patterns_find_the_same_however_the_output_is_cut(lines: list[str], end: str, cuts: list[int]) -> None:
    text = "".join(line + end for line in lines)
    for renderer in ("auto", "blender"):
        parser = ProgressParser(renderer, error_patterns=[SEATS])
        places = pairwise([0, *sorted(cuts), len(text)])
        found = _errors([report for start, stop in places for report in parser.feed(text[start:stop])])
        assert sum(error.category == "licence" for error in found) == sum("no seat" in line for line in lines)
