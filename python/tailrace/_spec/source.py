"""Where job specifications come from: files, the web, and JSON from either."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._errors import SpecError

if TYPE_CHECKING:
    from http.client import HTTPResponse


def read_json(content: str | bytes, where: str) -> object:
    """Return what `content` holds; raises `SpecError`, one line that begins with `where`, if it is no JSON in UTF-8."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise SpecError(f"{where}: byte {error.start} is not UTF-8: expected JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise SpecError(f"{where}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise SpecError(f"{where}: the JSON is nested too deeply") from error
    except ValueError as error:
        raise SpecError(f"{where}: not JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


HTTP_TIMEOUT = 30.0
"""The longest a download may take, in seconds."""
LARGEST_SPEC = 64 * 2**20
"""The most bytes that a specification from the web, or on a worker, may have."""
_READ_SIZE = 2**16
_USER = re.compile(r"\A([^/?#]*//)[^/?#]*@")


def is_url(source: str) -> bool:
    """Return whether `source` names something on the web rather than a file."""
    return source.lower().startswith(("http://", "https://"))


def shown_source(source: str, *, mark: str = "") -> str:
    """Return `source` as messages may show it: the name of a file as it is, a URL without its user and its query.

    These may hold a password and a signature; `mark`, if it is given, stands in the place of each. Raises nothing,
    whatever `source` is.
    """
    return redact_url(source, mark=mark) if is_url(source) else source


def redact_url(url: str, *, mark: str = "") -> str:
    """Return `url` as it may be shown: without its user and its query, which may hold a password and a signature.

    It may be relative. `mark`, if it is given, stands in the place of each of them. Raises nothing, whatever `url` is.
    """
    address, _, query = url.partition("?")
    address = _USER.sub(rf"\1{mark}@" if mark else r"\1", address)
    return f"{address}?{mark}" if mark and query else address


def has_user(url: str) -> bool:
    """Return whether a URL has a user name or a password in it."""
    return _USER.match(url) is not None


def stem_of(source: str) -> str:
    """Return the name of the file without its last suffix, or an empty text."""
    return PurePosixPath(unquote(urlsplit(source).path)).stem if is_url(source) else Path(source).absolute().stem


def read_source(source: str) -> bytes:
    """Return the bytes of the file or the URL; raises `SpecError` if they cannot be had."""
    if is_url(source):
        if has_user(source):
            # urllib would take it for a part of the host's name.
            raise SpecError(
                f"{shown_source(source)}: must have no user name or password in it, which would not be sent:"
                " download the file first"
            )
        return fetch(source, _open)
    if "://" in source:
        raise SpecError(f"{redact_url(source)}: expected a file or an http(s) URL")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise SpecError(f"{source}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"{source!r}: is not the name of a file: {error}") from error


def fetch(url: str, open_url: Callable[[str], AbstractContextManager[HTTPResponse]]) -> bytes:
    """Return what `open_url` gives for `url`; raises `SpecError` if it is too large, too late or cannot be had."""
    # Most specifications are files, and these take long to load.
    from http.client import HTTPException, InvalidURL
    from urllib.error import HTTPError

    deadline = time.monotonic() + HTTP_TIMEOUT
    body = bytearray()
    try:
        with open_url(url) as response:
            # The time limit of a socket is for each read: a server that drips would never be given up.
            while part := response.read1(_READ_SIZE):
                body += part
                if len(body) > LARGEST_SPEC:
                    raise SpecError(f"{shown_source(url)}: is larger than {LARGEST_SPEC >> 20} MiB")
                if time.monotonic() > deadline:
                    raise TimeoutError
    except HTTPError as error:
        # What urllib says of a redirect that it does not follow has the whole of that address in it.
        told = f" {error.reason}" if error.code >= 400 else ", a redirect that cannot be followed"
        with error:
            raise SpecError(f"{shown_source(url)}: the server answered {error.code}{told}") from None
    except TimeoutError as error:
        raise SpecError(f"{shown_source(url)}: no answer within {HTTP_TIMEOUT:g} s") from error
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, InvalidURL) or not isinstance(error, OSError | HTTPException):
            # What is wrong would be shown with a password or a signature in it.
            raise SpecError(f"{shown_source(url)}: it, or the address that it leads to, is not a valid URL") from None
        inner = getattr(error, "reason", None) or error
        reason = getattr(error, "verify_message", None) or getattr(inner, "strerror", None) or inner
        raise SpecError(f"{shown_source(url)}: cannot be downloaded: {reason}") from error
    return bytes(body)


def _open(url: str) -> AbstractContextManager[HTTPResponse]:
    from urllib.request import urlopen

    return urlopen(url, timeout=HTTP_TIMEOUT)  # type: ignore[no-any-return]  # noqa: S310
