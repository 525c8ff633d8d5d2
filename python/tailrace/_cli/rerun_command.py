"""Commands for the user to run next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from tailrace import mask_secrets, shown_source

_TO_FILL_IN = "…"
_WITH_VALUE = frozenset({"--chunk", "--watch", "--concurrency", "--stitch", "--audio", "--merge-timeout"})


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


def without_secrets(words: Sequence[str], masked: Collection[str], slot_env: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the words with "…" in place of each secret: the values of what is in `masked`, a URL's user and query.

    Of --slot-env that is the whole value, which may not even say how many there are.
    """
    shown = []
    for word in words:
        name, is_one, _ = word.removeprefix("--slot-env=").partition("=")
        if is_one and name in masked and name in slot_env:
            shown.append(f"{word[: word.index(f'{name}=')]}{name}={_TO_FILL_IN}")
        else:
            shown.append(_without_url_secrets(mask_secrets(word, masked, slot_env=slot_env, mark=_TO_FILL_IN)))
    return shown


def _without_url_secrets(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{shown_source(value, mark=_TO_FILL_IN)}"


def _command(words: Sequence[str], added: Sequence[str], rest: Sequence[str]) -> str:
    # Behind the options there may be a "--" that makes everything an argument.
    return shlex.join(["tailrace", *words[: words.index("run") + 1], *added, *rest])
