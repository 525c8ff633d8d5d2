"""Output of commands as lines that scroll on a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace._cli.display.screen import TerminalLines


def lines_of(*pieces: bytes, prefix: bytes = b"", with_colours: bool = True) -> bytes:
    lines = TerminalLines(prefix, with_colours=with_colours)
    return b"".join([*(lines.feed(memoryview(piece)) for piece in pieces), lines.finish()])


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"one\ntwo\n"], b"one\ntwo\n"),
        ([b"on", b"e\ntw", b"o"], b"one\ntwo\n"),
        ([b"dos\r\nunix\n"], b"dos\nunix\n"),
        ([b"dos\r", b"\nunix\n"], b"dos\nunix\n"),
        ([b"twice\r\r\nunix\n"], b"twice\nunix\n"),
        ([b"10%\r20%\r100%\ndone\n"], b"100%\ndone\n"),
        ([b"10%\r", b"20%\r", b"100%", b"\n"], b"100%\n"),
        ([b"a\n10%\r20%\r"], b"a\n"),
        ([b"10%\r20%"], b"20%\n"),
        ([b"\n\n"], b"\n\n"),
        ([b"a\tb\xff\n"], b"a\tb\xff\n"),
    ],
)
def test_only_what_a_line_was_at_its_end_scrolls(pieces: list[bytes], shown: bytes) -> None:
    assert lines_of(*pieces) == shown


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[2J",
        b"\x1b[10;20H",
        b"\x1b[?1049h",
        b"\x1b[!p",
        b"\x1b]0;title\x07",
        b"\x1b]8;;http://x/\x1b\\",
        b"\x1bP1$r0m\x1b\\",
        b"\x1b_application\x1b\\",
        b"\x1bc",
        b"\x1b(0",
        b"\x1b#8",
        b"\x1b7",
        b"\x07",
        b"\x08",
        b"\x0b",
        b"\x0e",
        b"\x00",
        b"\x7f",
        b"\xc2\x9b2",
    ],
)
def test_sequences_that_are_no_colours_are_dropped(sequence: bytes) -> None:
    shown = lines_of(b"a" + sequence + b"b\n")
    assert shown == (b"a2b\n" if sequence == b"\xc2\x9b2" else b"ab\n")


def test_a_sequence_that_is_cut_off_takes_nothing_else_with_it() -> None:
    assert lines_of(b"a\x1b[\nb\x1b]0;no end\nc\x1b\nd\n", with_colours=False) == b"a\nb\nc\nd\n"


def test_colours_end_with_their_line_and_may_be_left_out() -> None:
    assert lines_of(b"\x1b[31mred\n") == b"\x1b[31mred\x1b[0m\n"
    assert lines_of(b"\x1b[31mred\n", with_colours=False) == b"red\n"


def test_each_line_gets_the_prefix() -> None:
    assert lines_of(b"one\n\ntwo", prefix=b"[1] ") == b"[1] one\n[1] \n[1] two\n"


def test_a_line_that_grows_too_long_is_shown_in_parts() -> None:
    lines = TerminalLines(b"", with_colours=True)
    shown = b"".join(lines.feed(b"x" * 1000) for _ in range(200)) + lines.finish()
    assert shown.replace(b"\n", b"") == b"x" * 200_000
    assert 2 <= shown.count(b"\n") <= 4


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\x1b[31m", b"\x1b[K", b"\xc3\xa9", b"\t", b"\x08"]), max_size=60)
)
@example([b"a", b"\r", b"\r", b"\n"])
def test_how_output_is_cut_into_pieces_makes_no_difference(tokens: list[bytes]) -> None:
    whole = b"".join(tokens)
    # Colours end with the lines of a piece, so that these are compared without them.
    pieces = [whole[index : index + 1] for index in range(len(whole))]
    assert lines_of(*pieces, with_colours=False) == lines_of(whole, with_colours=False)


@given(st.binary(max_size=300))
def test_whatever_is_written_only_prints_ends_lines_and_sets_colours(output: bytes) -> None:
    shown = lines_of(output)
    rest = re.sub(rb"\x1b\[[0-9;:]*m", b"", shown)
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", rest)
    assert shown == b"" or shown.endswith(b"\n")
