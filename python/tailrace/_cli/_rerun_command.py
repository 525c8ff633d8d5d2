"""Commands for the user to run next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_WITH_VALUE = frozenset({"--chunk", "--watch", "--concurrency", "--stitch"})


def rerun_command(words: Sequence[str]) -> str:
    """Return the command that runs what is missing; `words` are those of this command line, after the program's."""
    if "--resume" in words:
        return shlex.join(["tailrace", *words])
    return _command(words, ["--resume"], words[words.index("run") + 1 :])


def single_chunk_command(words: Sequence[str], chunk_id: int) -> str:
    """Return the command that runs the chunk alone, with the other options of this command line."""
    kept = []
    rest = iter(words[words.index("run") + 1 :])
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif word != "--resume" and word.partition("=")[0] not in _WITH_VALUE:
            kept.append(word)
    return _command(words, ["--chunk", str(chunk_id)], kept)


def _command(words: Sequence[str], added: Sequence[str], rest: Sequence[str]) -> str:
    # Behind the options there may be a "--" that makes everything an argument.
    return shlex.join(["tailrace", *words[: words.index("run") + 1], *added, *rest])
