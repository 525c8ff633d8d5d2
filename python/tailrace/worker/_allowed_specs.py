"""Which job specifications a worker reads."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .._errors import SpecError
from .._spec.source import LARGEST_SPEC, is_url, name_of, shown_url
from ._file_state import FileState
from ._parsed_specs import ParsedSpec, ParsedSpecs
from ._refused_error import RefusedError
from ._web_source import WebPrefix, download


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
                raise ValueError(f"an allowed place should be a URL without a query: {name_of(place)}?...")
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
            raise RefusedError(422, f"{name_of(address)}: {error}") from None

    def _read_file(self, name: str, base: Path | None) -> LoadedSpec:
        if "\0" in name or "://" in name:
            raise _not_allowed(shown_url(name))
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
