"""Run render jobs that are split into chunks, and watch every chunk while it runs."""

from ._capture import Capture
from ._errors import (
    ChunkFailedError,
    JobLockedError,
    MergeFailedError,
    SpecError,
    TailraceError,
    WorkerError,
    WorkerRemoteError,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from ._local_adapter import LocalWorkerAdapter
from ._run import run
from ._worker_adapter import WorkerAdapter
from ._worker_job import Callback, StreamMode, WorkerJob
from ._worker_result import ResourceUsage, WorkerResult

__all__ = [
    "Callback",
    "Capture",
    "ChunkFailedError",
    "JobLockedError",
    "LocalWorkerAdapter",
    "MergeFailedError",
    "ResourceUsage",
    "SpecError",
    "StreamMode",
    "TailraceError",
    "WorkerAdapter",
    "WorkerError",
    "WorkerJob",
    "WorkerRemoteError",
    "WorkerResult",
    "WorkerSpawnError",
    "WorkerTimeoutError",
    "run",
]
