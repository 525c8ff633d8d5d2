"""TCP keep-alive, without which whoever stands between forgets a connection on which nothing happens for minutes."""

from __future__ import annotations

import socket

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
