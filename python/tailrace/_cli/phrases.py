"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Iterable


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
