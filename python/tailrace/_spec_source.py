"""The text of a job specification, from a file or from the web."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ._errors import SpecError

if TYPE_CHECKING:
    from http.client import HTTPResponse

HTTP_TIMEOUT = 30.0
"""The longest a download may take, in seconds."""
LARGEST_SPEC = 64 * 2**20
"""The most bytes that a specification from the web, or on a worker, may have."""
_READ_SIZE = 2**16


def is_url(source: str) -> bool:
    """Return whether `source` names something on the web rather than a file."""
    return source.lower().startswith(("http://", "https://"))


def name_of(source: str) -> str:
    """Return `source` as messages show it: a URL without its query, which may hold a signature."""
    return source.partition("?")[0] if is_url(source) else source


def stem_of(source: str) -> str:
    """Return the name of the file without its last suffix, or an empty text."""
    return PurePosixPath(unquote(urlsplit(source).path)).stem if is_url(source) else Path(source).absolute().stem


def read_source(source: str) -> bytes:
    """Return the bytes of the file or the URL; raises `SpecError` if they cannot be had."""
    if is_url(source):
        return fetch(source, _open)
    if "://" in source:
        raise SpecError(f"{source}: expected a file or an http(s) URL")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise SpecError(f"{source}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{source!r}: is not the name of a file: {error}") from error


def fetch(url: str, open_url: Callable[[str], AbstractContextManager[HTTPResponse]]) -> bytes:
    """Return what `open_url` gives for `url`; raises `SpecError` if it is too large, too late or cannot be had."""
    # Most specifications are files, and these take long to load.
    from http.client import HTTPException
    from urllib.error import HTTPError

    deadline = time.monotonic() + HTTP_TIMEOUT
    body = bytearray()
    try:
        with open_url(url) as response:
            # The time limit of a socket is for each read: a server that drips would never be given up.
            while part := response.read1(_READ_SIZE):
                body += part
                if len(body) > LARGEST_SPEC:
                    raise SpecError(f"{name_of(url)}: is larger than {LARGEST_SPEC >> 20} MiB")
                if time.monotonic() > deadline:
                    raise TimeoutError
    except HTTPError as error:
        with error:
            raise SpecError(f"{name_of(url)}: the server answered {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise SpecError(f"{name_of(url)}: no answer within {HTTP_TIMEOUT:g} s") from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
        raise SpecError(f"{name_of(url)}: cannot be downloaded: {reason}") from error
    return bytes(body)


def _open(url: str) -> AbstractContextManager[HTTPResponse]:
    from urllib.request import urlopen

    return urlopen(url, timeout=HTTP_TIMEOUT)  # type: ignore[no-any-return]  # noqa: S310
