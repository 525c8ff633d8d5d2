"""What is public is listed here, so that nothing becomes public, or ceases to be, unseen."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass, isroutine
from types import ModuleType

import pytest

NAMES = {
    "tailrace": """
        AdapterContext
        AdapterPlugin
        AdapterRegistry
        AwsLambdaAdapter
        Callback
        Capabilities
        Capture
        Chunk
        ChunkErrorReported
        ChunkEvent
        ChunkFailed
        ChunkFailedError
        ChunkFileSaved
        ChunkFinished
        ChunkOutput
        ChunkOutputCallback
        ChunkProgress
        ChunkRetrying
        ChunkSkipped
        ChunkStarted
        ChunkState
        ChunkStatus
        ChunkUsage
        ChunkWarning
        CloudRunAdapter
        CommandEnding
        DockerAdapter
        ErrorCategory
        Farm
        FarmEvent
        FarmServerError
        FfmpegStitcher
        FrameCheck
        FrameFinished
        FrameFlagged
        FrameLevel
        FrameRange
        HttpWorkerAdapter
        JobEvent
        JobEventStream
        JobExecutionOptions
        JobExecutor
        JobFinished
        JobLockedError
        JobManager
        JobMetadata
        JobNotFoundError
        JobReport
        JobSettings
        JobSpec
        JobStarted
        JobState
        JobStateError
        JobStatus
        LateOutput
        LocalWorkerAdapter
        LogFailed
        LoggedError
        MachineFault
        MemoryReport
        MergeFailedError
        MergeFinished
        MergeOutput
        MergeStarted
        MergeState
        Node
        NodeStatus
        PluginFault
        PluginPackage
        ProcessMemory
        RayAdapter
        RemoteFarm
        RepositoryError
        RepositoryLockedError
        RepositoryLostError
        RepositoryUnavailableError
        ResourceUsage
        Retention
        RunningCommand
        SceneInfo
        SlurmAdapter
        SpecError
        StateChange
        StitchError
        Stitcher
        StreamMode
        StreamingStitcher
        TailraceError
        Thumbnail
        UsageSample
        WorkerAdapter
        WorkerBusyError
        WorkerError
        WorkerJob
        WorkerLostError
        WorkerPool
        WorkerRemoteError
        WorkerResult
        WorkerSpawnError
        WorkerTimeoutError
        __version__
        check_farm
        check_frame
        check_frames
        check_job_frames
        check_machine
        completed_chunk_ids
        connect
        describe_error
        event_from_json
        event_to_json
        inspect_scene
        job_schema
        kill_all_commands
        lint_job
        make_thumbnails
        mask_secrets
        missing_frames
        notable_frames
        open_adapters
        parse_command
        plan_job
        reasons_to_run
        run
        shown_source
        template_names
        write_contact_sheet
    """,
    "tailrace.progress": """
        ErrorCategory
        FileSaved
        FrameRendered
        GROUPS
        Progress
        ProgressParser
        RenderError
        Renderer
        Report
        Rule
        register_renderer
        renderer_names
    """,
    "tailrace.report": """
        AttemptReport
        ChunkReport
        FailureReport
        FrameReport
        JobReportData
        LogExcerpt
        MergeReport
        RunHistory
        RunReport
        combine_runs
        read_log_folder
        report_to_csv
        report_to_json
        write_report
    """,
    "tailrace.server": """
        DEFAULT_PORT
        ServerSettings
        make_token
        serve
        token_file
    """,
    "tailrace.testing": """
        AdapterConformance
        FakeAdapter
        FakeExecution
        FakeOutput
        FakeRecord
        Script
    """,
    "tailrace.worker": """
        WorkerApp
        WorkerSettings
        create_app
        lambda_handler
        serve
    """,
}


@pytest.mark.parametrize("package", list(NAMES))
def test_a_public_package_has_the_names_that_are_listed_here_and_no_others(package: str) -> None:
    module = import_module(package)
    names: list[str] = module.__all__
    assert sorted(names) == NAMES[package].split()
    # They are loaded when they are used.
    public = {name for name in dir(module) if not name.startswith("_")} | ({"__version__"} & set(names))
    assert {name for name in public if not isinstance(getattr(module, name), ModuleType)} == set(names)


@pytest.mark.parametrize("package", list(NAMES))
def test_a_public_class_or_function_says_what_it_is(package: str) -> None:
    module = import_module(package)
    public = [(name, getattr(module, name)) for name in NAMES[package].split()]
    documented = [(name, value.__doc__) for name, value in public if isclass(value) or isroutine(value)]
    assert len(documented) > 1
    assert [name for name, text in documented if not text] == []
