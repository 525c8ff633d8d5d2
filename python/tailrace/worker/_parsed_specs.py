"""Specifications that have been parsed, so that a job of many chunks is not parsed for each of them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future

from .._spec.model import JobSpec
from .._spec.output_names import OutputNames
from .._spec.source import LARGEST_SPEC
from ._file_state import FileState

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
