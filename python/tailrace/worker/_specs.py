"""Which job specifications a worker reads, parsed once for all their chunks."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from .._errors import SpecError
from .._spec.model import JobSpec
from .._spec.outputs import OutputNames
from .._spec.source import LARGEST_SPEC, is_url, redact_url, shown_source
from ._file_state import FileState
from ._requests import RefusedError
from ._web_source import WebPrefix, download

_MOST = 8
_MOST_BYTES = LARGEST_SPEC
"""Of JSON, in all that are kept; the last one is kept however large it is."""


class ParsedSpec:
    """A specification, and what is looked up in it for each chunk."""

    def __init__(self, content: bytes) -> None:
        """Raises `SpecError` for what is none."""
        self.spec = JobSpec.parse(content)
        self.chunks = {chunk.id: chunk for chunk in self.spec.chunks}
        self.outputs = OutputNames(self.spec.chunks)


class ParsedSpecs:
    """Parses specifications, and keeps the last few. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[Future[ParsedSpec], int]] = OrderedDict()
        self._files: OrderedDict[FileState, bytes] = OrderedDict()

    def of_file(self, state: FileState | None) -> ParsedSpec | None:
        """Return what was parsed from a file in this state, if that is still known."""
        with self._lock:
            digest = None if state is None else self._files.get(state)
            known = None if digest is None else self._known.get(digest)
            if digest is None or known is None:
                return None
            self._known.move_to_end(digest)
        return known[0].result()

    def parse(self, content: bytes, state: FileState | None = None) -> ParsedSpec:
        """Return what `content` says, which came from a file in `state`; raises `SpecError` if it is no specification.

        Who comes while it is being parsed for somebody else waits for that.
        """
        digest = hashlib.sha256(content).digest()
        with self._lock:
            known = self._known.get(digest)
            future = Future[ParsedSpec]() if known is None else known[0]
            self._known[digest] = future, len(content)
            self._known.move_to_end(digest)
            if state is not None:
                self._files[state] = digest
            self._forget()
        if known is None:
            try:
                future.set_result(ParsedSpec(content))
            except BaseException as error:
                with self._lock:
                    self._known.pop(digest, None)
                future.set_exception(error)
                raise
        return future.result()

    def _forget(self) -> None:
        while len(self._known) > 1 and (
            len(self._known) > _MOST or sum(size for _, size in self._known.values()) > _MOST_BYTES
        ):
            self._known.popitem(last=False)
        while len(self._files) > _MOST:
            self._files.popitem(last=False)


class LoadedSpec(NamedTuple):
    """A specification and its file, with no links in its name; None for one from the web."""

    parsed: ParsedSpec
    path: Path | None


class AllowedSpecs:
    """Reads job specifications from the places that are listed, and from nowhere else."""

    def __init__(self, places: Sequence[str]) -> None:
        """Take folders and the beginnings of http(s) URLs. Raises `ValueError` for anything else."""
        for place in places:
            if is_url(place) and "?" in place:
                raise ValueError(f"an allowed place should be a URL without a query: {shown_source(place)}?...")
        self._prefixes = [WebPrefix.parse(place) for place in places if is_url(place)]
        self._folders = []
        for place in places:
            if not is_url(place):
                if not os.path.isdir(place):  # noqa: PTH112
                    raise ValueError(f"an allowed place should be a folder or an http(s) URL: {place!r}")
                self._folders.append(Path(os.path.realpath(place)))
        self._parsed = ParsedSpecs()

    def load(self, address: str, base: Path | None) -> LoadedSpec:
        """Return the specification at `address`; a file's name may be relative to `base`. Blocks.

        Raises `RefusedError` if it may not be read, cannot be, or is no specification.
        """
        try:
            if is_url(address):
                return LoadedSpec(self._parsed.parse(download(address, self._prefixes)), None)
            return self._read_file(address, base)
        except SpecError as error:
            raise RefusedError(422, f"{shown_source(address)}: {error}") from None

    def _read_file(self, name: str, base: Path | None) -> LoadedSpec:
        if "\0" in name or "://" in name:
            raise _not_allowed(redact_url(name))
        if base is None and not name.startswith("/"):
            raise RefusedError(403, f"jobPath should be a URL or an absolute path: {name!r}")
        path = Path(os.path.realpath(name if base is None else base / name))
        if not any(path.is_relative_to(folder) for folder in self._folders):
            raise _not_allowed(name)
        try:
            return LoadedSpec(self._read_regular(path, name), path)
        except OSError as error:
            status = 404 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 403
            raise RefusedError(status, f"{name}: cannot be read: {error.strerror}") from None

    def _read_regular(self, path: Path, name: str) -> ParsedSpec:
        # A link that was put there meanwhile is not followed, and nobody is waited for at the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RefusedError(403, f"{name}: is not a file")
            opened = f"/proc/self/fd/{descriptor}"
            if os.path.exists(opened) and os.path.realpath(opened) != str(path):  # noqa: PTH110
                raise _not_allowed(name)
            state = FileState.of(descriptor)
            parsed = self._parsed.of_file(state)
            if parsed is not None:
                return parsed
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(LARGEST_SPEC + 1)
        finally:
            os.close(descriptor)
        if len(content) > LARGEST_SPEC:
            raise RefusedError(422, f"{name}: is larger than {LARGEST_SPEC >> 20} MiB")
        return self._parsed.parse(content, state)


def _not_allowed(name: str) -> RefusedError:
    return RefusedError(403, f"{name!r} is in no place that this worker takes job specifications from (--allow-spec)")
