"""Where the server of a farm is, and where the token lies that it made."""

from __future__ import annotations

import os
import secrets
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


def token_file(port: int) -> Path:
    """Return where the token of the server at this port lies that made one itself."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tailrace" / f"server-{port}.token"


def kept_token(url: str) -> str | None:
    """Return the token that a server at this address has made; None if it is another machine, or there is none."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return None
    try:
        return token_file(parts.port or (443 if parts.scheme == "https" else 80)).read_text().strip() or None
    except OSError:
        return None


def make_token(path: Path) -> str:
    """Return the token in the file, which only its owner can read; it is made if it is not there.

    Raises `ValueError` if others can read it, `OSError` if it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read_token(path)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with os.fdopen(file, "w") as opened:
        opened.write(f"{token}\n")
    return token


def _read_token(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as opened:
        found = os.fstat(opened.fileno())
        if found.st_mode & 0o077 or found.st_uid != os.getuid():
            raise ValueError(f"{path} has the server's token and can be read by others: delete it, for a new one")
        token = opened.read().strip()
    if not token:
        raise ValueError(f"{path} should have the server's token, and is empty: delete it, for a new one")
    return token
