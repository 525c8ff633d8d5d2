"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Iterable

import tailrace


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: 1 chunk, 2 chunks."""
    return f"{number} {noun}{'s' * (number != 1)}"


def enumerated(ids: Iterable[int]) -> str:
    """Return the numbers, runs of them in short: 0 to 3, 7."""
    runs: list[tuple[int, int]] = []
    for number in sorted(ids):
        first = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((first, number))
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in runs)


def describe_error(error: BaseException) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def is_url(text: str) -> bool:
    """Return whether `text` names something on the web."""
    return text.lower().startswith(("http://", "https://"))


def shown_source(source: str) -> str:
    """Return where a job came from as it may be shown: the name of a file as it is, a URL without its secrets."""
    return tailrace.redact_url(source) if is_url(source) else source
