"""A command line, split the way a POSIX shell splits it."""

from __future__ import annotations

import re
import shlex

from ._errors import SpecError

_NOT_PLAIN = re.compile(r"""[^!-~ \t\r\n]|['"\\]""")
"""Without any of these the shell's rules are to split at blanks, which is done far quicker."""


def parse_command(text: str) -> tuple[str, list[str]]:
    """Split `text` into the command and its arguments by POSIX quoting rules.

    There is no shell: variables, wildcards, redirections and `#` comments are passed on as they stand.
    Raises `SpecError` for an empty command, a quotation or an escape without its end, and a NUL byte.
    """
    if "\0" in text:
        raise SpecError("a command must not contain a NUL byte")
    try:
        words = shlex.split(text) if _NOT_PLAIN.search(text) else text.split()
    except ValueError as error:
        raise SpecError(f"a quotation or an escape is not ended in {_shorten(text)}") from error
    if not words or not words[0]:
        raise SpecError(f"{_shorten(text)} does not name a command")
    return words[0], words[1:]


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
