"""What is sent to a remote worker; docs/worker-protocol.md describes it."""

from __future__ import annotations

import json
import uuid

from .._command.job import WorkerJob

_NO_LIMIT = 1e9
"""From here on a time is as good as no limit, in seconds; infinity has no JSON."""
_SHORTEST_HEARTBEAT = 0.1
_LONGEST_HEARTBEAT = 60.0
"""What workers take, in seconds."""


def remote_request(job: WorkerJob, job_def_url: str | None, *, heartbeat: float | None = None) -> bytes:
    """Return the JSON that asks for the chunk in `job.meta`; `heartbeat` seconds ask for a stream.

    What `job.meta` has for `job_def_url` counts before the argument. Raises `ValueError` if the chunk or the
    address of the specification is missing.
    """
    chunk_id = job.meta.get("chunk_id")
    if not isinstance(chunk_id, int) or isinstance(chunk_id, bool):
        raise ValueError(
            f"a remote worker is told a chunk, not a command: meta['chunk_id'] is {chunk_id!r}, not an int"
        )
    address = job.meta.get("job_def_url") or job_def_url
    if not isinstance(address, str) or not address:
        raise ValueError(
            f"chunk {chunk_id}: a remote worker reads the job specification itself: give the adapter a job_def_url,"
            f" the job a meta['job_def_url'], or one of a farm `job submit --job-def-url`, not {address!r}"
        )
    request: dict[str, object] = {"jobPath": address, "chunkIndex": chunk_id, "attemptId": uuid.uuid4().hex}
    if job.timeout is not None and job.timeout < _NO_LIMIT:
        request["timeout"] = job.timeout
    if job.cpu_idle_timeout is not None and job.cpu_idle_timeout < _NO_LIMIT:
        request["cpuIdleTimeout"] = job.cpu_idle_timeout
    if heartbeat is not None:
        request["heartbeat"] = min(max(heartbeat, _SHORTEST_HEARTBEAT), _LONGEST_HEARTBEAT)
    return json.dumps(request).encode()
