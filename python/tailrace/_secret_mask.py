"""Secrets, kept out of everything that is shown or written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from ._worker_result import WorkerResult

MASK = "***"
"""What stands in the place of a secret."""
_SHORTEST = 4
"""A shorter value, in bytes, would blot out parts of ordinary words."""


class SecretMask:
    """The secrets of a job: the values that environment variables have in this process, or get from the job.

    Raises `ValueError` for a value that is too short to be told from ordinary text.
    """

    def __init__(self, names: Collection[str], slot_env: Mapping[str, Sequence[str]]) -> None:
        secrets: set[bytes] = set()
        for name in names:
            for value in (os.environ.get(name, ""), *slot_env.get(name, ())):
                # What a program prints of a value that ends in a line end, as files do, may come without.
                secret = os.fsencode(value.strip())
                if 0 < len(secret) < _SHORTEST:
                    raise ValueError(
                        f"the value of {name} is too short to be masked: {_SHORTEST} bytes are the least that can be"
                        " told from ordinary text"
                    )
                if secret:
                    secrets.add(secret)
        self._secrets = sorted(secrets)

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def stream(self) -> StreamMask:
        """Return a mask for one stream of output."""
        return StreamMask(self._secrets)

    def text(self, text: str) -> str:
        """Return `text` with a mask for each secret."""
        if not self._secrets:
            return text
        return self.bytes(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def bytes(self, data: bytes) -> bytes:
        """Return `data` with a mask for each secret."""
        mask = self.stream()
        return mask.feed(data) + mask.finish()

    def result(self, result: WorkerResult) -> WorkerResult:
        """Return a result whose output is masked when somebody asks for it."""
        if not self._secrets:
            return result
        return WorkerResult(
            result.exit_code,
            _MaskedOutput(self, result, "stdout_bytes"),
            _MaskedOutput(self, result, "stderr_bytes"),
            duration=result.duration,
            usage=result.usage,
            truncated=result.truncated,
        )


class StreamMask:
    """Masks secrets in a stream that comes in pieces, also where one is split between them.

    Secrets that overlap are masked as one. What could be the beginning of a secret is kept back until the next piece
    shows whether it is: never as much as the longest secret.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._kept = b""
        self._covered = 0
        """How much of what is kept belongs to a secret whose mask has been put out already."""

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return what is safe to be shown of `data` and what was kept back before."""
        whole = b"".join((self._kept, data))
        return self._cut(whole, len(whole) - self._ambiguous(whole))

    def finish(self) -> bytes:
        """Return what was kept back and turned out to be no secret."""
        return self._cut(self._kept, len(self._kept))

    def _cut(self, data: bytes, safe: int) -> bytes:
        shown = []
        place = self._covered
        for start, end in sorted(span for secret in self._secrets for span in _find_all(data, secret)):
            if start < place:
                # Overlaps what has its mask already.
                place = max(place, end)
            elif start < safe:
                shown += [data[place:start], MASK.encode()]
                place = end
        shown.append(data[place:safe])
        self._kept = data[safe:]
        self._covered = max(0, place - safe)
        return b"".join(shown)

    def _ambiguous(self, data: bytes) -> int:
        """Return how many bytes at the end are the beginning of a secret, and not the whole of it."""
        longest = 0
        for secret in self._secrets:
            tail = data[max(0, len(data) - len(secret) + 1) :]
            while len(tail) > longest and not secret.startswith(tail):
                first = tail.find(secret[:1], 1)
                tail = tail[first:] if first > 0 else b""
            longest = max(longest, len(tail))
        return longest


class _MaskedOutput:
    """A stream of a result, masked when somebody asks for it."""

    def __init__(self, mask: SecretMask, result: WorkerResult, attribute: str) -> None:
        self._mask = mask
        self._result = result
        self._attribute = attribute

    def __len__(self) -> int:
        return len(self.to_bytes())

    def to_bytes(self) -> bytes:
        data: bytes = getattr(self._result, self._attribute)
        return self._mask.bytes(data)

    def to_str(self) -> str:
        return self.to_bytes().decode(errors="replace")


def _find_all(data: bytes, secret: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = data.find(secret, start + 1)
