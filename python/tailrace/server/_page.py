"""The web page of a farm: files that say nothing of it, which anybody gets."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

_FOLDER = "/page/"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _File(NamedTuple):
    content: bytes
    headers: Mapping[str, str]


class Page:
    """Answers requests for the page and what it is made of."""

    def __init__(self) -> None:
        """Read the files, which take some ten kB."""
        self._files = {"/": _read("tailrace.server", "page/index.html")}
        self._files |= {_FOLDER + name: _read("tailrace.server", f"page/{name}") for name in _names()}
        # What a report looks like is what the page looks like.
        self._files[f"{_FOLDER}report.css"] = _read("tailrace.report", "page.css")

    @property
    def paths(self) -> Collection[str]:
        """Where they are."""
        return self._files.keys()

    async def answer(self, request: Request) -> Response:
        """Return the file, or that the browser has it as it is."""
        found = self._files[request.url.path]
        if request.headers.get("if-none-match") == found.headers["ETag"]:
            return Response(status_code=304, headers=found.headers)
        return Response(found.content, headers=found.headers)


def _names() -> Iterator[str]:
    return (entry.name for entry in (files("tailrace.server") / "page").iterdir() if entry.name != "index.html")


def _read(package: str, name: str) -> _File:
    content = (files(package) / name).read_bytes()
    kind = _TYPES.get(name[name.rfind(".") :]) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Content-Type": f"{kind}; charset=utf-8",
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:20]}"',
    }
    return _File(content, headers)
