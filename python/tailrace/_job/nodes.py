"""Which machines of an engine are left out for a while, since whatever runs there fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

_IN_A_ROW = 3
"""So many chunks that failed one after another on a node make it a sick one."""
_LEFT_OUT = 600.0
"""How long it is left out, in seconds."""


class Nodes:
    """Takes how attempts ended on each node that an adapter names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: set[str] = set()
        self._failed: dict[str, list[int]] = {}
        """The chunks that failed on a node since the last that did not."""
        self._left_out: dict[str, float] = {}
        self._lost: dict[int, tuple[str, ...]] = {}
        """Where each chunk was lost since it last ended by itself."""

    def to_avoid(self, chunk_id: int) -> tuple[str, ...]:
        """Return the nodes that a chunk should not run on now."""
        return tuple(dict.fromkeys((*self._left_out_now(), *self._lost.get(chunk_id, ()))))

    def succeeded(self, node: str | None, chunk_id: int) -> None:
        """Take that a chunk was completed on a node."""
        self._lost.pop(chunk_id, None)
        if node is not None:
            self._known.add(node)
            self._failed.pop(node, None)

    def failed(self, node: str | None, chunk_id: int, *, is_lost: bool = False) -> str | None:
        """Take that a chunk failed or was lost on a node; return what is to be told if the node is left out for it."""
        if not is_lost:
            self._lost.pop(chunk_id, None)
        if node is None:
            return None
        self._known.add(node)
        if is_lost:
            self._lost[chunk_id] = (*self._lost.get(chunk_id, ()), node)
        if node in self._left_out_now():
            # What was on its way there when it was left out.
            return None
        chunks = self._failed.setdefault(node, [])
        if chunk_id not in chunks:
            chunks.append(chunk_id)
        # A job whose chunks all fail would end up without any.
        others = self._known - self._left_out.keys() - {node}
        if len(chunks) < _IN_A_ROW or not others:
            return None
        del self._failed[node]
        self._left_out[node] = self._clock() + _LEFT_OUT
        *first, last = map(str, chunks)
        which = f"chunks {', '.join(first)} and {last}"
        return f"node {node} is left out for {_LEFT_OUT / 60:g} minutes: {which} failed there one after another"

    def _left_out_now(self) -> Collection[str]:
        now = self._clock()
        self._left_out = {node: until for node, until in self._left_out.items() if until > now}
        return self._left_out
