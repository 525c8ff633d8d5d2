"""Which failures are worth another attempt, and when."""

from __future__ import annotations

import errno
import random
from collections.abc import Collection, Iterator

from .._command.result import WorkerResult
from .._errors import ErrorCategory, TailraceError, WorkerLostError, WorkerRemoteError, WorkerTimeoutError
from .options import JobExecutionOptions

_SHORT_OF_RESOURCES = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LONGEST_DELAY = 300.0
"""Where the doubling ends, in seconds, unless the first delay is longer."""
_JITTER = 0.5


def is_worth_retrying(
    error: Exception | None,
    result: WorkerResult | None,
    category: ErrorCategory | None,
    retry_on: Collection[type[Exception]],
    *,
    was_ended: bool = False,
) -> bool:
    """Return whether a failure may be gone at the next attempt.

    `error` is what the adapter raised, None if the command ended by itself; what it is of `retry_on` may pass, unless
    it is one of ours. `category` is what the output tells. That only counts where the command itself gave up, or was
    ended as one that has failed (`was_ended`): one that a limit or a signal ended may have gone on in spite of it.
    """
    if error is not None:
        errors = list(_leaves(error))
        ours = [each for each in errors if isinstance(each, TailraceError)]
        if ours:
            return all(map(_may_pass, ours))
        return any(isinstance(each, tuple(retry_on)) for each in errors)
    gave_up = was_ended or (result is not None and result.exit_code >= 0)
    return not (gave_up and category in ("missing_asset", "scene"))


def loss_of(error: Exception | None) -> WorkerLostError | None:
    """Return the loss of what ran the command that an error tells of; None if it tells of something else of ours."""
    if error is None:
        return None
    ours = [each for each in _leaves(error) if isinstance(each, TailraceError)]
    losses = [each for each in ours if isinstance(each, WorkerLostError)]
    return losses[0] if losses and len(losses) == len(ours) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, or what a group of errors is made of: an adapter may have a task group."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, WorkerTimeoutError | WorkerRemoteError | WorkerLostError):
        return True
    return isinstance(error, OSError) and error.errno in _SHORT_OF_RESOURCES


def delay_after(attempt: int, first_delay: float) -> float:
    """Return the seconds to wait after attempt number `attempt`: double each time, and up to half as much again.

    Without the random part, chunks that failed together (a licence server, a full disk) would meet there again.
    """
    doubled = first_delay * 2.0 ** min(attempt - 1, 64)
    return min(doubled, max(first_delay, _LONGEST_DELAY)) * random.uniform(1, 1 + _JITTER)  # noqa: S311


def least_delay(category: ErrorCategory | None, options: JobExecutionOptions) -> float:
    """Return the delay after the first attempt that failed in this way, in seconds."""
    if category in ("licence", "memory", "disk"):
        return max(options.retry_delay, options.resource_delay)
    return options.retry_delay
