"""What Prometheus is told of a farm."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Mapping, Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from .._command.result import WorkerResult
from .._events.types import ChunkFailed, ChunkFinished, ChunkOutput, MergeOutput
from .._farm.nodes import NodeStatus
from .._farm.status import FarmEvent, JobStatus, StateChange

MEDIA_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_BYTES = tuple(2.0**power for power in range(24, 40, 2))
_LAGS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """Counts what happens from the start of the server on, and says how the farm is when it is asked."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._changes = Counter("tailrace_chunk_changes", "Chunks that came into a state", ["state"], registry=registry)
        self._duration = Histogram(
            "tailrace_chunk_duration_seconds",
            "How long the last attempts at chunks took",
            ["state"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._memory = Histogram(
            "tailrace_chunk_memory_bytes", "The most memory of an attempt", buckets=_BYTES, registry=registry
        )
        self._output = Counter("tailrace_output_bytes", "What commands wrote", registry=registry)
        self._lag = Histogram(
            "tailrace_event_lag_seconds",
            "From when something happened until the server had it",
            buckets=_LAGS,
            registry=registry,
        )
        self._requests = Counter(
            "tailrace_http_requests", "Requests that were answered", ["method", "status"], registry=registry
        )
        self._jobs = Gauge("tailrace_jobs", "Jobs that have not ended", ["state"], registry=registry)
        self._chunks = Gauge("tailrace_chunks", "Chunks of jobs that have not ended", ["state"], registry=registry)
        self._slots = Gauge("tailrace_slots", "Chunks that can run at a time", ["node"], registry=registry)
        self._used = Gauge("tailrace_slots_used", "Chunks that run", ["node"], registry=registry)

    def count(self, event: FarmEvent) -> None:
        """Take something that happened."""
        self._lag.observe(max(0.0, time.time() - event.time))
        match event.event:
            case ChunkOutput(data=data) | MergeOutput(data=data):
                self._output.inc(len(data.encode()) if isinstance(data, str) else data.nbytes)
            case StateChange(chunk_id=int(), state=state):
                self._changes.labels(state).inc()
            case ChunkFinished(result=result):
                self._ended("completed", result)
            case ChunkFailed(error=error) if error.result is not None:
                self._ended("failed", error.result)

    def answered(self, method: str, status: int) -> None:
        """Take a request that was answered."""
        self._requests.labels(method, str(status)).inc()

    def text(
        self,
        jobs: Sequence[JobStatus],
        chunks: Mapping[str, int],
        nodes: Sequence[NodeStatus],
    ) -> bytes:
        """Return all for Prometheus: the jobs that have not ended, how many chunks of them are in which state."""
        self._jobs.clear()
        for job_state, count in Counts(job.state for job in jobs).items():
            self._jobs.labels(job_state).set(count)
        self._chunks.clear()
        for state, count in chunks.items():
            self._chunks.labels(state).set(count)
        for node in nodes:
            self._slots.labels(node.name).set(node.slots)
            self._used.labels(node.name).set(node.running)
        return prometheus_client.generate_latest(self._registry)

    def _ended(self, state: str, result: WorkerResult) -> None:
        self._duration.labels(state).observe(result.duration)
        if result.usage is not None and (memory := result.usage.tree_max_rss or result.usage.max_rss) is not None:
            self._memory.observe(memory)
