"""Lines with a prefix, wherever the output is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tailrace._cli.display.lines import LinePrefixer

ENDS = {"\n", "\r"}


def prefixed(text: str, *, whole: bool) -> bytes:
    """Return the same by definition, one character after the other; with `whole`, nothing follows."""
    shown, line, before = "", "", ""
    for character in text:
        if character not in ENDS:
            line += character
        elif not (character == "\n" and before == "\r"):
            shown += f"> {line}\n"
            line = ""
        before = character
    return (shown + (f"> {line}\n" if whole and line else "")).encode()


@given(
    text=st.text(st.sampled_from("a\n\r>\v\f\x85\u2028 "), max_size=40) | st.text(max_size=40),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
def test_lines_are_the_same_and_shown_as_soon_as_they_are_complete(text: str, cuts: list[int]) -> None:
    prefixer = LinePrefixer("> ")
    shown = b""
    for start, end in pairwise([0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]):
        shown += prefixer.feed(memoryview(text[start:end].encode()))
        assert shown == prefixed(text[:end], whole=False)
    assert shown + prefixer.finish() == prefixed(text, whole=True)


def test_a_line_without_an_end_is_shown_in_parts() -> None:
    prefixer = LinePrefixer("> ")
    assert prefixer.feed(b"x" * 100_000) == b"> " + b"x" * 100_000 + b"\n"
    assert prefixer.feed(b"one\n" + b"x" * 100_000) == b"> one\n> " + b"x" * 100_000 + b"\n"
    assert prefixer.finish() == b""
