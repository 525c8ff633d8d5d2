"""When an HTTP server that is busy wants to be asked again."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"\d{1,15}(\.\d{0,15})?")


def parse_retry_after(value: str, date: str = "") -> float | None:
    """Return the seconds that a `Retry-After` asks to wait; None if it is neither a number of them nor a date.

    A date counts from that of the answer (`Date`) if there is one: the server's clock may not be ours.
    """
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    then = _parse_date(value)
    if then is None:
        return None
    return max((then - (_parse_date(date) or datetime.now(UTC))).total_seconds(), 0.0)


def _parse_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
