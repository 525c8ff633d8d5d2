"""Run render jobs that are split into chunks, and watch every chunk while it runs."""

from ._aws_lambda_adapter import AwsLambdaAdapter
from ._capture import Capture
from ._cloud_run_adapter import CloudRunAdapter
from ._completed_chunks import completed_chunk_ids
from ._errors import (
    ChunkFailedError,
    ErrorCategory,
    JobLockedError,
    MergeFailedError,
    SpecError,
    StitchError,
    TailraceError,
    WorkerBusyError,
    WorkerError,
    WorkerRemoteError,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from ._events import (
    ChunkErrorReported,
    ChunkEvent,
    ChunkFailed,
    ChunkFileSaved,
    ChunkFinished,
    ChunkOutput,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkUsage,
    ChunkWarning,
    JobEvent,
    JobFinished,
    JobStarted,
    LogFailed,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)
from ._execution_options import ChunkOutputCallback, JobExecutionOptions
from ._executor import JobExecutor
from ._ffmpeg_stitcher import FfmpegStitcher
from ._http_worker_adapter import HttpWorkerAdapter
from ._job_event_stream import JobEventStream
from ._job_plan import plan_job
from ._job_report import JobReport
from ._local_adapter import LocalWorkerAdapter, kill_all_commands
from ._parse_command import parse_command
from ._run import run
from ._spec import Chunk, JobMetadata, JobSpec
from ._stitcher import Stitcher, StreamingStitcher
from ._worker_adapter import WorkerAdapter
from ._worker_job import Callback, StreamMode, WorkerJob
from ._worker_pool import WorkerPool
from ._worker_result import ResourceUsage, UsageSample, WorkerResult

__all__ = [
    "AwsLambdaAdapter",
    "Callback",
    "Capture",
    "Chunk",
    "ChunkErrorReported",
    "ChunkEvent",
    "ChunkFailed",
    "ChunkFailedError",
    "ChunkFileSaved",
    "ChunkFinished",
    "ChunkOutput",
    "ChunkOutputCallback",
    "ChunkProgress",
    "ChunkRetrying",
    "ChunkStarted",
    "ChunkUsage",
    "ChunkWarning",
    "CloudRunAdapter",
    "ErrorCategory",
    "FfmpegStitcher",
    "HttpWorkerAdapter",
    "JobEvent",
    "JobEventStream",
    "JobExecutionOptions",
    "JobExecutor",
    "JobFinished",
    "JobLockedError",
    "JobMetadata",
    "JobReport",
    "JobSpec",
    "JobStarted",
    "LocalWorkerAdapter",
    "LogFailed",
    "MergeFailedError",
    "MergeFinished",
    "MergeOutput",
    "MergeStarted",
    "ResourceUsage",
    "SpecError",
    "StitchError",
    "Stitcher",
    "StreamMode",
    "StreamingStitcher",
    "TailraceError",
    "UsageSample",
    "WorkerAdapter",
    "WorkerBusyError",
    "WorkerError",
    "WorkerJob",
    "WorkerPool",
    "WorkerRemoteError",
    "WorkerResult",
    "WorkerSpawnError",
    "WorkerTimeoutError",
    "completed_chunk_ids",
    "kill_all_commands",
    "parse_command",
    "plan_job",
    "run",
]
