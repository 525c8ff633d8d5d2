"""Commands for the user to run next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

from tailrace import mask_secrets, shown_source

_TO_FILL_IN = "…"
_OF_FRAMES = frozenset({"--frames", "--again"})
_WITH_VALUE = _OF_FRAMES | {"--chunk", "--watch", "--concurrency", "--stitch", "--audio", "--merge-timeout"}


def rerun_command(words: Sequence[str]) -> str:
    """Return the command that runs what is missing; `words` are those of this command line, after the program's."""
    if "--resume" in words or "--missing" in words:
        return shlex.join(["tailrace", *words])
    # What was to be rendered whatever there is has been begun: it is missing or done, like all else.
    return _command(words, ["--resume"], _without(words[words.index("run") + 1 :], {"--again"}))


def single_chunk_command(words: Sequence[str], chunk_id: int) -> str:
    """Return the command that runs the chunk alone, with the other options of this command line.

    Where only some of its frames were asked for, it runs those that are missing.
    """
    options = words[words.index("run") + 1 :]
    is_part = any(word.partition("=")[0] in _OF_FRAMES for word in options) and "--missing" not in options
    kept = [word for word in _without(options, _WITH_VALUE) if word != "--resume"]
    return _command(words, ["--chunk", str(chunk_id), *(["--resume"] if is_part else [])], kept)


def _without(words: Iterable[str], options: Collection[str]) -> list[str]:
    """Return the words but for these options, all of which have values."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


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
