"""How long a server that is busy asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tailrace._wire.http import parse_retry_after

DATE = "Fri, 31 Dec 1999 23:59:29 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 30.0),
        ("Fri, 31 Dec 1999 23:59:59 -0000", 30.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("1" * 400, None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 99 Foo", None),
    ],
)
def test_it_is_seconds_or_a_date_by_the_servers_own_clock(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, DATE) == seconds


def test_without_the_servers_clock_a_date_counts_from_now() -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for date in ("", "?"):
        seconds = parse_retry_after(value, date)
        assert seconds is not None
        assert 50 < seconds <= 100
