"""Run render jobs that are split into chunks, and watch every chunk while it runs."""

# As `typing` has it, which takes longer to load than Python to start.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from . import progress as progress
    from . import report as report
    from . import server as server
    from . import testing as testing
    from . import worker as worker
    from ._client.connect import connect
    from ._client.remote_farm import RemoteFarm
    from ._command.adapter import Capabilities, WorkerAdapter, open_adapters
    from ._command.early_end import CommandEnding
    from ._command.ending import describe_error
    from ._command.job import Callback, StreamMode, WorkerJob
    from ._command.memory_report import MemoryReport, ProcessMemory
    from ._command.plugin import AdapterContext, AdapterPlugin
    from ._command.result import Capture, ResourceUsage, UsageSample, WorkerResult
    from ._engines.containers.adapter import DockerAdapter
    from ._engines.ray.adapter import RayAdapter
    from ._engines.slurm.adapter import SlurmAdapter
    from ._errors import (
        ChunkFailedError,
        ErrorCategory,
        FarmServerError,
        JobLockedError,
        JobNotFoundError,
        JobStateError,
        MergeFailedError,
        RepositoryError,
        RepositoryLockedError,
        RepositoryLostError,
        RepositoryUnavailableError,
        SpecError,
        StitchError,
        TailraceError,
        WorkerBusyError,
        WorkerError,
        WorkerLostError,
        WorkerRemoteError,
        WorkerSpawnError,
        WorkerTimeoutError,
    )
    from ._events.chunk_state import ChunkState, MergeState
    from ._events.from_json import event_from_json
    from ._events.json import event_to_json
    from ._events.json_values import LoggedError
    from ._events.running import RunningCommand
    from ._events.state import JobState
    from ._events.types import (
        ChunkErrorReported,
        ChunkEvent,
        ChunkFailed,
        ChunkFileSaved,
        ChunkFinished,
        ChunkOutput,
        ChunkProgress,
        ChunkRetrying,
        ChunkSkipped,
        ChunkStarted,
        ChunkUsage,
        ChunkWarning,
        FrameFinished,
        FrameFlagged,
        FrameLevel,
        JobEvent,
        JobFinished,
        JobStarted,
        LogFailed,
        MergeFinished,
        MergeOutput,
        MergeStarted,
    )
    from ._executor import JobExecutor
    from ._farm.checking import check_farm
    from ._farm.farm import Farm
    from ._farm.manager import JobManager
    from ._farm.nodes import Node, NodeStatus
    from ._farm.retention import Retention
    from ._farm.settings import JobSettings
    from ._farm.status import ChunkStatus, FarmEvent, JobStatus, StateChange
    from ._frames.checker import check_frame, check_frames
    from ._frames.contact_sheet import write_contact_sheet
    from ._frames.result import FrameCheck
    from ._frames.thumbnails import Thumbnail, make_thumbnails, notable_frames
    from ._job.options import ChunkOutputCallback, JobExecutionOptions
    from ._job.report import JobReport
    from ._job.stream import JobEventStream
    from ._local.adapter import LocalWorkerAdapter, kill_all_commands
    from ._local.run import run
    from ._output.secret_mask import mask_secrets
    from ._planning.ask_scene import SceneInfo, inspect_scene
    from ._planning.plan import plan_job
    from ._planning.templates import template_names
    from ._preflight.check import MachineFault, check_machine
    from ._remote.cloud_run import CloudRunAdapter
    from ._remote.http import HttpWorkerAdapter
    from ._remote.lambda_ import AwsLambdaAdapter
    from ._remote.late_output import LateOutput
    from ._remote.pool import WorkerPool
    from ._remote.registry import AdapterRegistry, PluginFault, PluginPackage
    from ._spec.command import parse_command
    from ._spec.frame_range import FrameRange
    from ._spec.model import Chunk, JobMetadata, JobSpec
    from ._spec.notes import lint_job
    from ._spec.schema import job_schema
    from ._spec.source import shown_source
    from ._state.artifacts import completed_chunk_ids, reasons_to_run
    from ._state.job_frames import check_job_frames
    from ._state.missing_frames import missing_frames
    from ._stitching.ffmpeg import FfmpegStitcher
    from ._stitching.protocol import Stitcher, StreamingStitcher

    __version__: str
    """The version that is installed, such as "0.1.0": what `tailrace --version` prints."""

del TYPE_CHECKING

_NAMES = {
    "_errors": (
        "ChunkFailedError ErrorCategory FarmServerError JobLockedError JobNotFoundError JobStateError MergeFailedError "
        "RepositoryError RepositoryLockedError RepositoryLostError RepositoryUnavailableError SpecError StitchError "
        "TailraceError WorkerBusyError WorkerError WorkerLostError WorkerRemoteError WorkerSpawnError "
        "WorkerTimeoutError"
    ),
    "_engines.ray.adapter": "RayAdapter",
    "_remote.lambda_": "AwsLambdaAdapter",
    "_engines.slurm.adapter": "SlurmAdapter",
    "_remote.cloud_run": "CloudRunAdapter",
    "_engines.containers.adapter": "DockerAdapter",
    "_events.from_json": "event_from_json",
    "_events.json": "event_to_json",
    "_events.json_values": "LoggedError",
    "_events.chunk_state": "ChunkState MergeState",
    "_events.running": "RunningCommand",
    "_events.state": "JobState",
    "_remote.late_output": "LateOutput",
    "_remote.registry": "AdapterRegistry PluginFault PluginPackage",
    "_state.artifacts": "completed_chunk_ids reasons_to_run",
    "_state.job_frames": "check_job_frames",
    "_state.missing_frames": "missing_frames",
    "_events.types": (
        "ChunkErrorReported ChunkEvent ChunkFailed ChunkFileSaved ChunkFinished ChunkOutput "
        "ChunkProgress ChunkRetrying ChunkSkipped ChunkStarted ChunkUsage ChunkWarning FrameFinished FrameFlagged "
        "FrameLevel JobEvent JobFinished JobStarted LogFailed MergeFinished MergeOutput MergeStarted"
    ),
    "_job.options": "ChunkOutputCallback JobExecutionOptions",
    "_executor": "JobExecutor",
    "_client.connect": "connect",
    "_client.remote_farm": "RemoteFarm",
    "_farm.checking": "check_farm",
    "_farm.farm": "Farm",
    "_farm.manager": "JobManager",
    "_farm.nodes": "Node NodeStatus",
    "_farm.retention": "Retention",
    "_farm.settings": "JobSettings",
    "_farm.status": "ChunkStatus FarmEvent JobStatus StateChange",
    "_frames.checker": "check_frame check_frames",
    "_frames.contact_sheet": "write_contact_sheet",
    "_frames.result": "FrameCheck",
    "_frames.thumbnails": "Thumbnail make_thumbnails notable_frames",
    "_stitching.ffmpeg": "FfmpegStitcher",
    "_remote.http": "HttpWorkerAdapter",
    "_job.stream": "JobEventStream",
    "_output.secret_mask": "mask_secrets",
    "_planning.ask_scene": "SceneInfo inspect_scene",
    "_planning.plan": "plan_job",
    "_planning.templates": "template_names",
    "_job.report": "JobReport",
    "_local.adapter": "LocalWorkerAdapter kill_all_commands",
    "_spec.command": "parse_command",
    "_local.run": "run",
    "_spec.frame_range": "FrameRange",
    "_spec.model": "Chunk JobMetadata JobSpec",
    "_spec.notes": "lint_job",
    "_preflight.check": "MachineFault check_machine",
    "_spec.schema": "job_schema",
    "_spec.source": "shown_source",
    "_stitching.protocol": "Stitcher StreamingStitcher",
    "_command.adapter": "Capabilities WorkerAdapter open_adapters",
    "_command.plugin": "AdapterContext AdapterPlugin",
    "_command.early_end": "CommandEnding",
    "_command.ending": "describe_error",
    "_command.job": "Callback StreamMode WorkerJob",
    "_command.memory_report": "MemoryReport ProcessMemory",
    "_remote.pool": "WorkerPool",
    "_command.result": "Capture ResourceUsage UsageSample WorkerResult",
}
"""The modules that the names come from: each is loaded when it is used, for together they take a third of a second."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AdapterContext",
    "AdapterPlugin",
    "AdapterRegistry",
    "AwsLambdaAdapter",
    "Callback",
    "Capabilities",
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
    "ChunkSkipped",
    "ChunkStarted",
    "ChunkState",
    "ChunkStatus",
    "ChunkUsage",
    "ChunkWarning",
    "CloudRunAdapter",
    "CommandEnding",
    "DockerAdapter",
    "ErrorCategory",
    "Farm",
    "FarmEvent",
    "FarmServerError",
    "FfmpegStitcher",
    "FrameCheck",
    "FrameFinished",
    "FrameFlagged",
    "FrameLevel",
    "FrameRange",
    "HttpWorkerAdapter",
    "JobEvent",
    "JobEventStream",
    "JobExecutionOptions",
    "JobExecutor",
    "JobFinished",
    "JobLockedError",
    "JobManager",
    "JobMetadata",
    "JobNotFoundError",
    "JobReport",
    "JobSettings",
    "JobSpec",
    "JobStarted",
    "JobState",
    "JobStateError",
    "JobStatus",
    "LateOutput",
    "LocalWorkerAdapter",
    "LogFailed",
    "LoggedError",
    "MachineFault",
    "MemoryReport",
    "MergeFailedError",
    "MergeFinished",
    "MergeOutput",
    "MergeStarted",
    "MergeState",
    "Node",
    "NodeStatus",
    "PluginFault",
    "PluginPackage",
    "ProcessMemory",
    "RayAdapter",
    "RemoteFarm",
    "RepositoryError",
    "RepositoryLockedError",
    "RepositoryLostError",
    "RepositoryUnavailableError",
    "ResourceUsage",
    "Retention",
    "RunningCommand",
    "SceneInfo",
    "SlurmAdapter",
    "SpecError",
    "StateChange",
    "StitchError",
    "Stitcher",
    "StreamMode",
    "StreamingStitcher",
    "TailraceError",
    "Thumbnail",
    "UsageSample",
    "WorkerAdapter",
    "WorkerBusyError",
    "WorkerError",
    "WorkerJob",
    "WorkerLostError",
    "WorkerPool",
    "WorkerRemoteError",
    "WorkerResult",
    "WorkerSpawnError",
    "WorkerTimeoutError",
    "__version__",
    "check_farm",
    "check_frame",
    "check_frames",
    "check_job_frames",
    "check_machine",
    "completed_chunk_ids",
    "connect",
    "describe_error",
    "event_from_json",
    "event_to_json",
    "inspect_scene",
    "job_schema",
    "kill_all_commands",
    "lint_job",
    "make_thumbnails",
    "mask_secrets",
    "missing_frames",
    "notable_frames",
    "open_adapters",
    "parse_command",
    "plan_job",
    "reasons_to_run",
    "run",
    "shown_source",
    "template_names",
    "write_contact_sheet",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in ("progress", "report", "server", "testing", "worker"):
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        version: str = import_module(f"{__name__}._version").installed_version()
        globals()[name] = version
        return version
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
