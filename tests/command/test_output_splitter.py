"""Output is cut into the same pieces wherever it was cut before."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace import _native, _pure_python
from tailrace._command import pieces as module
from tailrace._command.pieces import OutputSplitter

_TRICKY = st.lists(
    st.sampled_from([b"", b"a", b"\r", b"\n", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0", b"\xff"])
    | st.binary(max_size=3),
    max_size=12,
)


with_and_without_the_core = pytest.mark.parametrize(
    "line_splitter", [_native.LineSplitter, _pure_python.LineSplitter], ids=["native", "python"]
)


def lines_of(line_splitter: Any, pieces: list[bytes]) -> list[str]:
    splitter = line_splitter()
    lines = [line for data in pieces for line in splitter.feed(memoryview(data))]
    last = splitter.finish()
    return lines if last is None else [*lines, last]


def lines_by_definition(whole: bytes) -> list[str]:
    """One byte after the other."""
    lines, line, before = [], bytearray(), 0
    for byte in whole:
        if byte == ord("\r") or (byte == ord("\n") and before != ord("\r")):
            lines.append(line.decode(errors="replace"))
            line.clear()
        elif byte != ord("\n"):
            line.append(byte)
        before = byte
    return [*lines, line.decode(errors="replace")] if line else lines


@with_and_without_the_core
@given(pieces=_TRICKY)
@example(pieces=[b"a\r", b"", b"\n\nb"])
@example(pieces=[b"a\r", b"\r", b"b\r\n"])
def test_lines_are_those_of_the_whole(line_splitter: Any, pieces: list[bytes]) -> None:
    assert lines_of(line_splitter, pieces) == lines_by_definition(b"".join(pieces))


@with_and_without_the_core
@given(parts=st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xc3", b"\xa9"]), max_size=6))
def test_every_cut_gives_the_same_lines(line_splitter: Any, parts: list[bytes]) -> None:
    whole = b"".join(parts)
    for cuts in range(1 << max(0, len(whole) - 1)):
        places = [0, *(at for at in range(1, len(whole)) if cuts >> (at - 1) & 1), len(whole)]
        pieces = [whole[start:end] for start, end in pairwise(places)]
        assert lines_of(line_splitter, pieces) == lines_by_definition(whole)


@with_and_without_the_core
def test_a_line_ended_by_a_return_does_not_wait_for_what_follows(line_splitter: Any) -> None:
    splitter = line_splitter()
    assert splitter.feed(b"10%\r20%\r") == ["10%", "20%"]
    assert splitter.feed(b"\n30%") == []
    assert splitter.feed(b"\r") == ["30%"]
    assert splitter.finish() is None


@given(pieces=_TRICKY, block=st.integers(1, 6))
def test_blocks_make_no_difference_to_lines(pieces: list[bytes], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        splitter = OutputSplitter("lines")
        lines = [line for data in pieces for line in splitter.feed(data)]
        assert [*lines, *splitter.finish()] == lines_by_definition(b"".join(pieces))


@given(pieces=_TRICKY)
def test_text_is_that_of_the_whole_and_never_empty(pieces: list[bytes]) -> None:
    splitter = OutputSplitter("text")
    texts = [text for data in pieces for text in splitter.feed(memoryview(data))]
    texts += splitter.finish()
    assert "".join(texts) == b"".join(pieces).decode(errors="replace")
    assert "" not in texts


def test_never_more_lines_are_held_than_one_block_has() -> None:
    most = max(map(len, OutputSplitter("lines").batches(b"\n" * 1_000_000)))
    assert most <= module._BLOCK
