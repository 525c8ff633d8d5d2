"""Secrets, kept out of everything that is shown or written."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence

from .._command.result import Capture, CapturedOutput, WorkerResult, end_of
from .._errors import TailraceError, WorkerError

try:
    from .._native import find_spans
except ImportError:
    from .._pure_python import find_spans

MASK = "***"
"""What stands in the place of a secret."""
_SHORTEST = 4
"""A shorter value, in bytes, would blot out parts of ordinary words."""


class SecretMask:
    """The secrets of a job: the values that environment variables have in this process, or get from the job.

    Raises `ValueError` for a variable that there is not, and for a value too short to be told from ordinary text.
    """

    def __init__(self, names: Collection[str], slot_env: Mapping[str, Sequence[str]], *, mark: str = MASK) -> None:
        self._mark = mark.encode()
        secrets: set[bytes] = set()
        for name in names:
            if name not in os.environ and name not in slot_env:
                # Whoever mistyped it would learn so from a log.
                raise ValueError(f"the variable {name} is not set, so there is nothing of it to mask")
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
        return StreamMask(self._secrets, self._mark)

    def text(self, text: str) -> str:
        """Return `text` with a mask for each secret."""
        if not self._secrets:
            return text
        return self.output(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def output(self, data: bytes) -> bytes:
        """Return `data` with a mask for each secret."""
        mask = self.stream()
        return b"".join((mask.feed(data), mask.finish()))

    def result(self, result: WorkerResult, capture: Capture) -> WorkerResult:
        """Return a result whose output is masked when somebody asks for it; `capture` says what may be cut off."""
        if not self._secrets:
            return result
        return result.wrapped(lambda output: _MaskedOutput(self, output, capture if result.truncated else None))

    def error(self, error: Exception, result: WorkerResult | None) -> Exception:
        """Return `error`, or if it or what comes with it tells of a secret, one that does not and stands alone.

        `result` is its masked result.
        """
        if not self._secrets:
            return error
        if any(self.text(shown) != shown for shown in _texts_of(error)):
            text = self.text(str(error))
            if text != str(error) or not isinstance(error, TailraceError):
                return WorkerError(text or type(error).__name__, result)
            # Only what it came from or its notes tell of the secret: the error itself says what kind of failure it is.
            error.__cause__ = error.__context__ = None
            vars(error).pop("__notes__", None)
        if hasattr(error, "result"):
            error.result = result
        return error

    def captured(self, data: bytes, capture: Capture) -> bytes:
        """Return output of which `capture` has dropped some, also with a mask for what is left of secrets it cut."""
        cut = capture.head if capture.kind == "head_tail" else 0 if capture.kind == "tail" else len(data)
        return self.output(self._without_beginning(data[:cut]) + self._without_end(data[cut:]))

    def _without_beginning(self, data: bytes) -> bytes:
        """Return `data` with a mask at its end in place of the beginning of a secret."""
        for length in range(max(map(len, self._secrets)) - 1, _SHORTEST - 1, -1):
            if data.endswith(tuple(secret[:length] for secret in self._secrets if len(secret) > length)):
                return data[:-length] + self._mark
        return data

    def _without_end(self, data: bytes) -> bytes:
        """Return `data` with a mask at its start in place of the end of a secret."""
        for length in range(max(map(len, self._secrets)) - 1, _SHORTEST - 1, -1):
            if data.startswith(tuple(secret[-length:] for secret in self._secrets if len(secret) > length)):
                return self._mark + data[length:]
        return data


def mask_secrets(
    text: str, names: Collection[str], *, slot_env: Mapping[str, Sequence[str]] | None = None, mark: str = MASK
) -> str:
    """Return `text` with `mark` in place of each secret, as `JobExecutionOptions.mask_env` masks a job's output.

    The secrets are the values that the environment variables `names` have in this process, and those that `slot_env`
    gives them. Raises `ValueError` for a variable that is in neither, and for a value of less than 4 bytes, which
    cannot be told from ordinary text.
    """
    return SecretMask(names, slot_env or {}, mark=mark).text(text)


def _texts_of(error: BaseException) -> Iterator[str]:
    """Yield what is shown of an error, of what it came from and of the errors that it groups."""
    # Each by itself: a traceback indents the errors of a group, and a secret of several lines would not be found there.
    waiting = [error]
    seen = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield "".join(traceback.format_exception_only(one))
        grouped = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [other for other in (one.__cause__, one.__context__, *grouped) if other is not None]


class StreamMask:
    """Masks secrets in a stream that comes in pieces, also where one is split between them.

    Secrets that overlap are masked as one. What could be the beginning of a secret is kept back until the next piece
    shows whether it is: never as much as the longest secret.
    """

    def __init__(self, secrets: Sequence[bytes], mark: bytes) -> None:
        self._secrets = secrets
        self._mark = mark
        self._kept = b""
        self._covered = 0
        """How much of what is kept belongs to a secret whose mask has been put out already."""

    def feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return what is safe to be shown of `data` and what was kept back before."""
        whole = b"".join((self._kept, data)) if self._kept else data
        return self._cut(whole, len(whole) - self._ambiguous(whole))

    def finish(self) -> bytes | memoryview:
        """Return what was kept back and turned out to be no secret."""
        return self._cut(self._kept, len(self._kept))

    def _cut(self, data: bytes | memoryview, safe: int) -> bytes | memoryview:
        shown: list[bytes | memoryview] = []
        place = self._covered
        for start, end in sorted(span for secret in self._secrets for span in find_spans(data, secret)):
            if start < place:
                # Overlaps what has its mask already.
                place = max(place, end)
            elif start < safe:
                shown += [data[place:start], self._mark]
                place = end
        shown.append(data[place:safe])
        self._kept = bytes(data[safe:])
        self._covered = max(0, place - safe)
        # Nearly always there was no secret, and nothing is copied.
        return shown[0] if len(shown) == 1 else b"".join(shown)

    def _ambiguous(self, data: bytes | memoryview) -> int:
        """Return how many bytes at the end are the beginning of a secret, and not the whole of it."""
        longest = 0
        for secret in self._secrets:
            tail = bytes(data[max(0, len(data) - len(secret) + 1) :])
            while len(tail) > longest and not secret.startswith(tail):
                first = tail.find(secret[:1], 1)
                tail = tail[first:] if first > 0 else b""
            longest = max(longest, len(tail))
        return longest


class _MaskedOutput:
    """A stream of a result, masked when somebody asks for it."""

    def __init__(self, mask: SecretMask, output: bytes | CapturedOutput, cut_by: Capture | None) -> None:
        self._mask = mask
        self._output = output
        self._cut_by = cut_by

    def __len__(self) -> int:
        # Without the masks: to know the length with them, all of it would have to be read.
        return len(self._output)

    def to_bytes(self) -> bytes:
        data = self._output if isinstance(self._output, bytes) else self._output.to_bytes()
        return self._mask.output(data) if self._cut_by is None else self._mask.captured(data, self._cut_by)

    def end(self, count: int) -> bytes:
        data = end_of(self._output, count)
        return self._mask.captured(data, Capture.tail(count))

    def to_str(self) -> str:
        return self.to_bytes().decode(errors="replace")
