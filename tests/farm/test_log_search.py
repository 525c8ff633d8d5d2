"""Text is looked for in a log by the place of its bytes."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace._farm import log_search
from tailrace._farm.log_search import LogPlaces, find_text


def all_places(data: bytes, text: str) -> list[int]:
    """Return what a client finds that goes on until the end."""
    places: list[int] = []
    offset = 0
    while True:
        found = find_text(io.BytesIO(data), text, offset)
        places += found.places
        if found.is_end:
            return places
        assert found.next > offset
        offset = found.next


_PARTS = [b"a", b"A", b"b", b"\n", b"\xc3\xa4", b"\xc3\x84", b"\xc4\xb0", b"\xff"]


@given(
    parts=st.lists(st.sampled_from(_PARTS), max_size=60),
    text=st.sampled_from(["a", "ab", "Ä", "aä", "aba", "i", "�"]),
    slice_size=st.integers(1, 9),
    most=st.integers(1, 40),
)
def test_what_is_found_is_what_a_regular_expression_finds(
    parts: list[bytes], text: str, slice_size: int, most: int
) -> None:
    data = b"".join(parts)
    letters = [{letter.lower().encode(), letter.upper().encode()} for letter in text]
    letters = [found | ({"\u0130".encode()} if b"i" in found else set()) for found in letters]
    pattern = b"".join(b"(?:%s)" % b"|".join(map(re.escape, sorted(found))) for found in letters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_search, "_SLICE", slice_size)
        patch.setattr(log_search, "_MOST_BYTES", most)
        patch.setattr(log_search, "_MOST_PLACES", most)
        assert all_places(data, text) == [match.start() for match in re.finditer(pattern, data)]


def test_a_search_goes_through_a_part_of_a_log_and_tells_where_it_goes_on() -> None:
    line = b"Fra:1 Mem:412.30M | Rendering\n"
    data = line * (100 * 2**20 // len(line)) + b"Error: no such file\n"
    found = find_text(io.BytesIO(data), "error: NO", 0)
    assert found == LogPlaces([], found.next, is_end=False)
    assert 2**25 <= found.next < 2**25 + 2**20
    many = find_text(io.BytesIO(data), "rendering", 0)
    assert (len(many.places), many.next, many.is_end) == (10_000, many.places[-1] + len("rendering"), False)
    assert all_places(data, "error: NO") == [len(data) - 20]


def test_what_ends_a_log_that_is_written_is_found_once_it_is_whole() -> None:
    first = find_text(io.BytesIO(b"one err"), "error", 0)
    assert first.places == []
    assert find_text(io.BytesIO(b"one error"), "error", first.next) == ([4], 9, True)


@pytest.mark.parametrize("text", ["a" * 100 + "b" + "a" * 99, "ä" * 100 + "b" + "ä" * 99])
def test_no_text_takes_longer_than_another(text: str) -> None:
    data = text[:1].encode() * 2**23
    began = time.process_time()
    assert all_places(data, text) == []
    # Comparing it at each place would take minutes.
    assert time.process_time() - began < 10
