"""What clients and servers of HTTP agree on beside their messages: living connections, and when to ask again."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_IDLE = 60
"""Seconds of silence before the first probe; NAT gateways forget a connection after some minutes (AWS: 350 s)."""
_INTERVAL = 20
"""Seconds from one probe to the next."""
_PROBES = 6
"""How many may go unanswered before the connection counts as lost."""


def keep_alive_options() -> list[tuple[int, int, int]]:
    """Return the arguments of `setsockopt` that turn it on."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # macOS calls the first one TCP_KEEPALIVE.
    for names, value in (
        (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), _IDLE),
        (("TCP_KEEPINTVL",), _INTERVAL),
        (("TCP_KEEPCNT",), _PROBES),
    ):
        number = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return options


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
