"""Where a secret is in output, found without the native core: several times slower."""

from __future__ import annotations


def find_spans(data: bytes | memoryview, pattern: bytes) -> list[tuple[int, int]]:
    """Return where `pattern` is in `data`, as pairs of start and end; where it overlaps itself, all of that as one."""
    spans: list[tuple[int, int]] = []
    whole = bytes(data)
    start = whole.find(pattern)
    while start >= 0:
        end = start + len(pattern)
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
        start = whole.find(pattern, start + 1)
    return spans
