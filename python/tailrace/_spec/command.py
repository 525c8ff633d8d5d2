"""A command line, split the way a POSIX shell splits it."""

from __future__ import annotations

import re

from .._errors import SpecError

_NOT_PLAIN = re.compile(r"""[^!-~ \t\r\n]|['"\\]""")
"""Without any of these the shell's rules are to split at blanks, which is done far quicker."""
_SOUND = re.compile(
    r"""
    [ \t\r\n]*+ (?: [^ \t\r\n'"\\\0] | \\[^\0] )                          # a first word that is more than a quotation
    (?: [^'"\\\0]++ | \\[^\0] | '[^'\0]*+' | "(?: [^"\\\0]++ | \\[^\0] )*" )*  # and nothing without its end
    """,
    re.VERBOSE,
)
# `shlex` copies a word for each of its characters. Nothing here goes back over what has matched.
_SPACES = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r"[^ \t\r\n'\"\\]*")
_IN_QUOTATION = re.compile(r'[^"\\]*')


def parse_command(text: str) -> tuple[str, list[str]]:
    """Split `text` into the command and its arguments by POSIX quoting rules.

    There is no shell: variables, wildcards, redirections and `#` comments are passed on as they stand.
    Raises `SpecError` for an empty command, a quotation or an escape without its end, and a NUL byte.
    """
    if "\0" in text:
        raise SpecError("a command must not contain a NUL byte")
    try:
        words = _split(text) if _NOT_PLAIN.search(text) else text.split()
    except (IndexError, ValueError) as error:
        raise SpecError(f"a quotation or an escape is not ended in {_shorten(text)}") from error
    if not words or not words[0]:
        raise SpecError(f"{_shorten(text)} does not name a command")
    return words[0], words[1:]


def check_command(text: str) -> None:
    """Raise `SpecError` where `parse_command` does; most texts need not be split for that."""
    if not _SOUND.fullmatch(text):
        parse_command(text)


def _split(text: str) -> list[str]:
    """Return the words, as `shlex.split` does; raises `IndexError` or `ValueError` if the last one does not end."""
    words = []
    at = _end(_SPACES, text, 0)
    while at < len(text):
        parts: list[str] = []
        while at < len(text) and text[at] not in " \t\r\n":
            at = _read_part(text, at, parts)
        words.append("".join(parts))
        at = _end(_SPACES, text, at)
    return words


def _read_part(text: str, at: int, parts: list[str]) -> int:
    """Add what is plain, quoted or escaped there, and return where it ends."""
    if text[at] == "\\":
        parts.append(text[at + 1])
        return at + 2
    if text[at] == "'":
        end = text.index("'", at + 1)
        parts.append(text[at + 1 : end])
        return end + 1
    if text[at] != '"':
        end = _end(_PLAIN, text, at)
        parts.append(text[at:end])
        return end
    at += 1
    while True:
        end = _end(_IN_QUOTATION, text, at)
        parts.append(text[at:end])
        if text[end] == '"':
            return end + 1
        # There, a backslash stands for itself before anything else.
        escaped = text[end + 1]
        parts.append(escaped if escaped in '"\\' else f"\\{escaped}")
        at = end + 2


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # noqa: S101 - it matches nothing at all, too.
    return match.end()


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
