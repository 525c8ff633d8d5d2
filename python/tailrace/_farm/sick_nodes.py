"""Which nodes of a farm are left out for a while, since whatever runs there fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

_IN_A_ROW = 3
"""So many chunks that failed one after another on a node make it a sick one, if they are of several jobs."""
LEFT_OUT = 600.0
"""How long it is left out, in seconds."""


class SickNodes:
    """Takes how commands ended on each node."""

    def __init__(self, names: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Take the names of all nodes."""
        self._clock = clock
        self._names = names
        self._failed: dict[str, dict[tuple[str, object], None]] = {}
        """The chunks that failed on a node since the last that did not, each with its job."""
        self._left_out: dict[str, float] = {}

    def succeeded(self, node: str) -> None:
        """Take that a command of a chunk succeeded on a node."""
        self._failed.pop(node, None)

    def failed(self, node: str, job_id: str, chunk_id: object) -> str | None:
        """Take that one failed or was lost; return what is to be told if the node is left out for it from now on."""
        if node in self._left_out:
            # It was on its way there before.
            return None
        chunks = self._failed.setdefault(node, {})
        chunks[job_id, chunk_id] = None
        jobs = list(dict.fromkeys(job for job, _ in chunks))
        # A job whose chunks all fail is no fault of the node, and the last node is kept.
        if len(chunks) < _IN_A_ROW or len(jobs) < 2 or len(self._left_out) + 1 >= len(self._names):
            return None
        del self._failed[node]
        self._left_out[node] = self._clock() + LEFT_OUT
        return (
            f"node {node} is left out for {LEFT_OUT / 60:g} minutes: {len(chunks)} chunks of jobs {', '.join(jobs)}"
            " failed there one after another"
        )

    def well_again(self) -> list[str]:
        """Return the nodes that are to be tried again, and have been left out until now."""
        over = [node for node, until in self._left_out.items() if until <= self._clock()]
        for node in over:
            del self._left_out[node]
        return over

    def forget(self, node: str) -> None:
        """Have a node count as well."""
        self._left_out.pop(node, None)
        self._failed.pop(node, None)

    def __contains__(self, node: object) -> bool:
        """Return whether a node is left out."""
        return node in self._left_out
