"""Where the server of a farm is, and where the token lies that it made."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PORT = 8089
"""Where a server listens and a client asks, unless they are told otherwise."""
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
URL_VARIABLE = "TAILRACE_SERVER"
TOKEN_VARIABLE = "TAILRACE_SERVER_TOKEN"  # noqa: S105 (the name of a variable)
API = "/api/v1"
ATTEMPT_HEADER = "Tailrace-Attempt"
"""Of an answer with a log: which attempt at the chunk wrote it."""
ENDED_HEADER = "Tailrace-Ended"
"""Of an answer with a log that is followed: "true" once nothing more will come."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN_BYTES = 32
_PATIENCE = 1.0
"""How long a server waits for clients that look whether another one lives, in seconds."""
_PAUSE = 0.01
_HELD = (BlockingIOError, PermissionError)
"""What flock raises where somebody else has the lock: PermissionError on NFS and SMB."""

_kept_open: list[int] = []
"""Files with tokens, which are locked as long as this process lives."""


def token_file(port: int) -> Path:
    """Return where the token of the server at this port lies that made one itself.

    Raises `ValueError` for a user without a home.
    """
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        raise ValueError("there is no home folder for the server's token: set XDG_STATE_HOME") from None
    return Path(state) / "tailrace" / f"server-{port}.token"


def kept_token(url: str) -> str | None:
    """Return the token that a server at this address has made; None if it is another machine, or there is none."""
    try:
        if urlsplit(url).hostname not in _LOOPBACK:
            return None
        return token_file(_port_of(url)).read_text().strip() or None
    except (OSError, ValueError):
        return None


def maker_lives(url: str) -> bool:
    """Return whether the server does that made that token. If not, its port may be anybody's of this machine by now."""
    try:
        file = os.open(token_file(_port_of(url)), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        # It has the lock; or there are none on this file system, and nobody can tell.
        return True
    finally:
        os.close(file)
    return False


def make_token(path: Path) -> str:
    """Return the token in the file, which only its owner can read; it is made if it is not there.

    The file is locked until this process ends: clients see by that whom they would tell the token.

    Raises `ValueError` if others can read it, `OSError` if it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        token = _read_token(path)
    else:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with os.fdopen(file, "w") as opened:
            opened.write(f"{token}\n")
    _lock(path)
    return token


def _lock(path: Path) -> None:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    _kept_open.append(file)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except _HELD:
            # A client looks; or it is that of another server, at the same port of another address.
            time.sleep(_PAUSE)
        except OSError:
            # There are none on this file system.
            return
        else:
            return


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _read_token(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path} should be a file with the server's token, and is none: delete it, for a new one")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as opened:
        found = os.fstat(opened.fileno())
        if found.st_mode & 0o077 or found.st_uid != os.getuid():
            raise ValueError(f"{path} has the server's token and can be read by others: delete it, for a new one")
        token = opened.read().strip()
    if not token:
        raise ValueError(f"{path} should have the server's token, and is empty: delete it, for a new one")
    return token
