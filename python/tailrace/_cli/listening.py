"""What the commands that serve have in common: where they listen, their tokens, and what they tell."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket

import click

from .writing import print_message

_BACKLOG = 1024
_SILENCE = {
    # What finds out in a minute or two that a client's machine is gone, without a word from it.
    "SO_KEEPALIVE": (socket.SOL_SOCKET, 1),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, 30),
    "TCP_KEEPINTVL": (socket.IPPROTO_TCP, 10),
    "TCP_KEEPCNT": (socket.IPPROTO_TCP, 3),
    "TCP_USER_TIMEOUT": (socket.IPPROTO_TCP, 60_000),
}


def take_token(option: str, variable: str | None) -> str | None:
    """Return the value of the variable that an option names, and take it out of the environment."""
    if variable is None:
        return None
    # The commands that are run have no business with it.
    token = os.environ.pop(variable, None)
    if token is None:
        raise click.UsageError(f"{option}: there is no environment variable {variable}")
    return token


class _Messages(logging.Handler):
    """Writes as all else here does, and never waits for who reads it: the worker would stand still."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(self.format(record), patience=0)


def log_to_standard_error(level: int) -> None:
    """Write what tailrace logs, from this level on, to standard error."""
    logger = logging.getLogger("tailrace")
    logger.addHandler(_Messages())
    logger.setLevel(level)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises `click.UsageError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # All addresses are those of IPv4 too: Python has a socket of IPv6 take its own alone.
        takes_both = address[0] == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=takes_both)
    except (OSError, UnicodeError) as error:
        # The latter for what cannot be the name of a machine.
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            # Python adds the address.
            reason = f"{os.strerror(error.errno)}: give another --port, or end what listens there"
        raise click.UsageError(f"cannot listen on {host}, port {port}: {reason}") from error
    for name, (level, value) in _SILENCE.items():
        # Connections inherit them; not every system has them all.
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(level, option, value)
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the address by which what listens there is reached."""
    address, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"


def is_for_others(listener: socket.socket) -> bool:
    """Return whether it can be reached from other machines."""
    return not ipaddress.ip_address(listener.getsockname()[0]).is_loopback
