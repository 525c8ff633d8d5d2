"""A command line is split as a POSIX shell does it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import SpecError, parse_command
from tailrace._spec.command import check_command

_WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ffmpeg", ("ffmpeg", [])),
        ("  a   b\tc\n", ("a", ["b", "c"])),
        ("a 'b c' \"d e\" f\\ g", ("a", ["b c", "d e", "f g"])),
        ("a ''", ("a", [""])),
        ("render frame.####.png # no comment", ("render", ["frame.####.png", "#", "no", "comment"])),
        ("a $HOME *.png > x | y", ("a", ["$HOME", "*.png", ">", "x", "|", "y"])),
        ("rendre 'scène à.blend'", ("rendre", ["scène à.blend"])),
    ],
)
def test_words_and_quotations_are_told_apart(text: str, expected: tuple[str, list[str]]) -> None:
    assert parse_command(text) == expected


@given(command=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), args=_WORDS)
def test_what_shlex_quotes_comes_back_unchanged(command: str, args: list[str]) -> None:
    assert parse_command(shlex.join([command, *args])) == (command, args)


@given(text=st.text(st.sampled_from("ab '\"\\ \t\n\x0b\xa0é\0#"), max_size=12))
def test_what_is_only_checked_is_refused_as_what_is_split(text: str) -> None:
    def refusal(read: Callable[[str], object]) -> str | None:
        try:
            read(text)
        except SpecError as error:
            return str(error)
        return None

    assert refusal(check_command) == refusal(parse_command)


@pytest.mark.parametrize("text", ["", " \n\t", "''", "'' a", "a 'b", 'a "b', "a \\", "a\0b"])
def test_what_names_no_command_or_does_not_end_is_one_line(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_command(text)
    assert len(str(caught.value).splitlines()) == 1


def test_the_message_quotes_no_more_than_the_start_of_a_long_command() -> None:
    with pytest.raises(SpecError) as caught:
        parse_command("'" + "x" * 100_000)
    assert len(str(caught.value)) < 200
