"""How a job is to be run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

from .._checks import check_callback, check_collection, check_delays, check_limits, check_method, check_path, check_type
from .._command.adapter import WorkerAdapter
from .._command.job import CHUNK_META, SLOT_VARIABLE, StreamMode
from .._command.result import Capture, WorkerResult
from .._errors import SpecError
from .._events.types import FrameLevel, JobEvent
from .._output.secret_mask import SecretMask
from .._spec.frame_range import FrameRange
from .._spec.needs import GPUS, Needs
from .._stitching.protocol import Stitcher
from ..progress import ProgressParser, Renderer
from .capacity import GPU_VARIABLE

_LEAST_LOG_LIMIT = 64 * 1024
"""With less, a new file would have to be begun for every few lines."""

ChunkOutputCallback: TypeAlias = Callable[[int, Any], object]
"""Takes a chunk's id and a piece of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExecutionOptions:
    """How `JobExecutor.execute` runs a job. Times are seconds.

    Callbacks are plain functions, or async ones, which are awaited. One that raises ends the job, and its exception
    comes out of `execute` unchanged. Raises `TypeError` or `ValueError` for values that cannot be used.
    """

    concurrency: int = 1
    """How many chunks may run at a time."""
    capacity: Mapping[str, float] | None = None
    """What the running chunks have together, by the names in their `needs`: memory in bytes, gpus, cpus and others.

    A chunk starts when its needs fit beside those of the running ones; one whose turn it is waits for ten others or ten
    minutes at most before room is kept for it. Chunks that do not say how much memory they need are taken to need as
    much as the largest of them so far, and run one at a time until that is known. With `gpus` each chunk has its own in
    `CUDA_VISIBLE_DEVICES`, of those in this process's, and one that needs none sees none. None: nothing is counted.
    """
    enforce_memory: bool = False
    """Whether a command is ended when it and all it started take more memory than its chunk says it needs.

    It counts where the adapter can end a command early (`Capabilities.ends_early`) and knows what it uses. Else a
    `ChunkWarning` tells it.
    """
    job_dir: str | os.PathLike[str] | None = None
    """The folder that the commands run in and the output files are relative to; it is made if it is missing.

    None is the folder of the specification's file, or the current one if it did not come from a file.
    """
    record: bool = True
    """Whether completed chunks are recorded, and other runs kept out that would write the same files.

    Without a `job_dir`, a `state_dir` or a specification's file they are not.
    """
    state_dir: str | os.PathLike[str] | None = None
    """The folder for the record and the locks, of this job and others; None is `.tailrace` in the job's folder.

    It serves where that cannot be written, or refuses locks. A run with another `state_dir` is not kept out.
    """
    merge: bool = True
    """Whether the chunks are put together at the end."""
    retries: int = 0
    """How often a chunk that failed is started again."""
    retry_delay: float = 1.0
    """How long it waits for that the first time; the wait doubles each time, and a random part is added."""
    retry_on: Collection[type[Exception]] = (OSError, TimeoutError)
    """What an adapter raises that may be gone at the next attempt, by itself or in an `ExceptionGroup`.

    Errors of tailrace's own keep their rules: a limit and a remote worker's failure are retried, a command that cannot
    start only if descriptors, processes or memory were short. What a callback raises is never retried.
    """
    timeout: float | None = None
    """The longest one attempt at a chunk may take."""
    idle_timeout: float | None = None
    """The longest an attempt may go without writing a byte."""
    cpu_idle_timeout: float | None = None
    """The longest an attempt may go on with less than 1 % of one processor used; see `WorkerJob.cpu_idle_timeout`.

    Adapters whose `Capabilities.honours_cpu_limit` is False ignore it.
    """
    no_progress_timeout: float | None = None
    """The longest an attempt may go without any progress that its output tells of; see `progress`.

    Progress is another frame, another part of it or of all, another status, or a file that was saved. Adapters that
    cannot stream ignore it, like `idle_timeout`. Its clock starts when the command begins, where the adapter tells that
    (`Capabilities.tells_start`); else on another machine with the first output.
    """
    finish_timeout: float | None = None
    """How long a command may go on when all of its output is whole and, as far as it is read, its progress complete.

    Then it is ended, and its chunk has succeeded: `WorkerResult.lingered` is True. Unless `check_frames` looks into the
    files, one is taken for whole that is not empty and has not changed for as long. It counts where the files are seen
    here and the adapter can end a command early (`Capabilities.ends_early`).
    """
    stop_on_error: bool = False
    """Whether a command is ended at the first error in its output after which the frames cannot be right."""
    fail_on_error: bool = False
    """Whether an exit code of 0 is a failure when the output has an error after which the frames cannot be right."""
    resource_delay: float = 30.0
    """The least wait before the next attempt when there was no licence, too little memory or no space on the disk.

    While a chunk waits for space no other begins. One that finds none then, or has no attempt left, ends the job,
    whatever `fail_fast` and `fail_after` say, and its error says how much is free. Workers that do not share files
    (`Capabilities.shares_files`) have disks of their own: there it is retried like any other.
    """
    fail_fast: bool | None = None
    """Whether the first chunk that failed ends the job; else the others are run before the error is raised.

    None is True, or False where `fail_after` is given.
    """
    fail_after: int | None = None
    """How many chunks have to fail for good before the job ends; None leaves it to `fail_fast`."""
    verify_output: bool = False
    """Whether an attempt has failed if its output files are not all there, or one is empty: `check_frames="exist"`."""
    check_frames: FrameLevel | None = None
    """How closely each frame is looked at while the chunks run; a chunk with one that is missing or damaged has failed.

    "exist" is that its files are there and not empty, "whole" that they can be read to their end, "looks" that they
    look like the others too, which only makes for warnings. The last two need the extra `frames`. None does not look.
    A `ValueError` from the executor where the files are not seen here (`Capabilities.shares_files`).
    """
    chunk_frames: Mapping[int, str | Iterable[int]] = field(default_factory=dict)
    """The frames to render of some chunks, by id, where their other frames are left as they are.

    It counts for chunks that have parts (`Chunk.has_parts`), where the adapter's files are seen here
    (`Capabilities.sees_parts`); others are rendered as a whole. One without any frame is skipped.
    """
    on_progress: Callable[[int, int], object] | None = None
    """Called with the number of completed chunks, skipped ones included, and of all, after each completed chunk."""
    on_chunk_complete: Callable[[int, WorkerResult], object] | None = None
    """Called with the id and the result of each completed chunk."""
    on_chunk_stdout: ChunkOutputCallback | None = None
    """Called with a chunk's id and a piece of its standard output, while it runs."""
    on_chunk_stderr: ChunkOutputCallback | None = None
    """The same for standard error."""
    on_event: Callable[[JobEvent], object] | None = None
    """Called with everything that happens, one event at a time in the order of their sequence numbers."""
    observers: Collection[Callable[[JobEvent], object]] = ()
    """Called like `on_event`, and after it: several that want to know need not know of one another."""
    stream: StreamMode = "text"
    """What the output callbacks receive; see `WorkerJob.stream`."""
    progress: str | Renderer | None = "auto"
    """How the chunks' output is read for progress, saved files and errors: as that of the renderer of this name.

    "auto" is told from the command and the output (see `tailrace.progress`), None does not read it. Errors in it decide
    about retries: what a missing file or a broken scene has failed is not tried again.
    """
    error_patterns: Sequence[tuple[str, str]] = ()
    """Lines of the output that tell of errors, beside those that the renderer is known for.

    Each is a category (one of `ErrorCategory`, or "error" for any other) and a regular expression that is searched in
    each line; see `ProgressParser`. One of "missing_asset" or "scene" is fatal.
    """
    log_dir: str | os.PathLike[str] | None = None
    """The folder for log files: one for each chunk, attempt and stream, and `job.ndjson` for the events.

    They are written as the output comes; what an earlier run left there is moved aside. A log that cannot be written
    does not end the job: a `LogFailed` event tells of it.
    """
    log_limit: int | None = None
    """How large each log of output may become, in bytes, at least 64 KiB: the beginning and the end are kept."""
    log_compress: bool = False
    """Whether the logs of output are compressed (gzip) when their command has ended."""
    mask_env: Collection[str] = ()
    """The names of environment variables whose values are secret.

    They are replaced by `***` in all output, events, logs, results and errors; `slot_env` is looked at too. A name that
    neither of them has is a `ValueError`.
    """
    capture: Capture = field(default_factory=Capture.full)
    """How much of each chunk's output the results keep."""
    merge_adapter: WorkerAdapter | None = None
    """What runs the merge command.

    None is the executor's own adapter if that runs commands on this machine, else a `LocalWorkerAdapter`.
    """
    stitcher: Stitcher | None = None
    """Puts the chunks together into `output_file`, in place of the merge command."""
    output_file: str | os.PathLike[str] | None = None
    """What the stitcher writes, relative to the job's folder."""
    merge_timeout: float | None = None
    """The longest the merge command or the stitcher may take; the other limits are for the chunks."""
    completed_chunk_ids: Collection[int] = ()
    """Chunks to skip because they are done already."""
    slot_env: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    """Variables with one value for each slot: the chunk that runs in slot 0 gets the first value, and so on."""
    meta: Mapping[str, object] = field(default_factory=dict, repr=False)
    """For the adapter; goes into the `meta` of each chunk's `WorkerJob`, beside the chunk's own fields."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.progress is not None:
            # Says so if there is no such renderer, or a pattern is none.
            ProgressParser(self.progress, error_patterns=self.error_patterns)
        elif self.no_progress_timeout is not None or self.fail_on_error or self.stop_on_error or self.error_patterns:
            raise ValueError(
                "no_progress_timeout, fail_on_error, stop_on_error and error_patterns need the output to be read:"
                " progress is None"
            )
        if self.state_dir is not None and not self.record:
            raise ValueError("state_dir is for the record, and record=False keeps none: use one of them")
        if self.log_dir is None and (self.log_limit is not None or self.log_compress):
            raise ValueError("log_limit and log_compress are for the logs in log_dir: give that too")
        if self.fail_fast and self.fail_after is not None:
            raise ValueError(
                "fail_fast=True ends the job at the first failed chunk, fail_after after so many: use one of them"
            )
        for name in ("merge_timeout", "merge_adapter", "stitcher"):
            if not self.merge and getattr(self, name) is not None:
                raise ValueError(f"{name} is for the merge, and merge=False does without: use one of them")
        if self.stitcher is None and self.output_file is not None:
            raise ValueError("output_file is what a stitcher writes: give a stitcher too")
        if self.stitcher is not None and not (self.output_file and os.fspath(self.output_file)):
            raise ValueError("a stitcher needs an output_file")
        if self.stitcher is not None and self.merge_adapter is not None:
            raise ValueError(
                "merge_adapter runs the merge command, and a stitcher takes its place: give one of the two"
            )
        for name, values in self.slot_env.items():
            _check_slot_values(name, values, self.concurrency)
        if SLOT_VARIABLE in self.slot_env:
            raise ValueError(f"slot_env[{SLOT_VARIABLE!r}] would hide the number of the slot: use another name")
        if self.capacity is not None and GPUS in self.capacity and GPU_VARIABLE in self.slot_env:
            raise ValueError(
                f"capacity counts gpus and sets {GPU_VARIABLE} for each chunk, as slot_env does: use one of them"
            )
        for name in CHUNK_META:
            if name in self.meta:
                raise ValueError(f"meta[{name!r}] is set for each chunk by the executor: use another name")
        # Says so if a variable is missing or its value cannot be masked.
        SecretMask(self.mask_env, self.slot_env)

    @property
    def frame_level(self) -> FrameLevel | None:
        """How closely frames are looked at, whichever option says so."""
        return self.check_frames or ("exist" if self.verify_output else None)

    @property
    def done_chunk_ids(self) -> frozenset[int]:
        """The chunks that are not run: those that are completed, and those of which no frame is asked for."""
        return frozenset(self.completed_chunk_ids).union(id_ for id_, asked in self.chunk_frames.items() if not asked)

    @property
    def listeners(self) -> Mapping[str, Callable[[JobEvent], object]]:
        """Who is called with each event, in this order, by the option that names them."""
        first = {} if self.on_event is None else {"on_event": self.on_event}
        return first | {f"observers[{place}]": observer for place, observer in enumerate(self.observers)}

    @property
    def failure_limit(self) -> int | None:
        """How many failed chunks end the job, whichever option says so; None runs all chunks."""
        if self.fail_after is not None:
            return self.fail_after
        return None if self.fail_fast is False else 1

    def _check_types(self) -> None:
        _check_count("concurrency", self.concurrency, least=1)
        _check_count("retries", self.retries, least=0)
        if self.fail_after is not None:
            _check_count("fail_after", self.fail_after, least=1)
        if self.log_limit is not None:
            _check_count("log_limit", self.log_limit, least=_LEAST_LOG_LIMIT)
        check_delays(retry_delay=self.retry_delay, resource_delay=self.resource_delay)
        for name in (
            "timeout",
            "idle_timeout",
            "finish_timeout",
            "cpu_idle_timeout",
            "no_progress_timeout",
            "merge_timeout",
        ):
            check_limits(**{name: getattr(self, name)})
        for name in (
            "record",
            "merge",
            "enforce_memory",
            "stop_on_error",
            "fail_on_error",
            "verify_output",
            "log_compress",
        ):
            check_type(name, getattr(self, name), bool, "True or False")
        if self.fail_fast is not None:
            check_type("fail_fast", self.fail_fast, bool, "True, False or None")
        for name in ("job_dir", "state_dir", "log_dir", "output_file"):
            check_path(name, getattr(self, name))
        for name in ("on_progress", "on_chunk_complete", "on_chunk_stdout", "on_chunk_stderr", "on_event"):
            check_callback(name, getattr(self, name))
        if self.check_frames is not None and self.check_frames not in get_args(FrameLevel):
            raise ValueError(f"check_frames must be 'exist', 'whole', 'looks' or None, not {self.check_frames!r}")
        if self.capacity is not None:
            check_type("capacity", self.capacity, Mapping, "a mapping of names to amounts, or None")
            try:
                # "64G" is for the eye.
                object.__setattr__(self, "capacity", Needs(self.capacity))
            except ValueError as error:
                raise ValueError(f"capacity: {error}") from None
        check_type("chunk_frames", self.chunk_frames, Mapping, "a mapping of chunk ids to frames")
        object.__setattr__(self, "chunk_frames", {id_: _frames_of(id_, one) for id_, one in self.chunk_frames.items()})
        if self.stream not in get_args(StreamMode):
            raise ValueError(f"stream must be 'text', 'lines' or 'bytes', not {self.stream!r}")
        if not isinstance(self.progress, str | Renderer | None):
            raise TypeError(f"progress must be the name of a renderer, a Renderer or None, not {self.progress!r}")
        check_collection("error_patterns", self.error_patterns, Sequence, "pairs of a category and an expression")
        _check_observers(self.observers)
        check_collection("mask_env", self.mask_env, str, "names")
        _check_errors("retry_on", self.retry_on)
        check_collection("completed_chunk_ids", self.completed_chunk_ids, int, "ids")
        check_type("capture", self.capture, Capture, "a Capture, such as Capture.tail(65536)")
        check_type("slot_env", self.slot_env, Mapping, "a mapping of names to values")
        check_type("meta", self.meta, Mapping, "a mapping")
        if self.merge_adapter is not None:
            check_method("merge_adapter", self.merge_adapter, "execute")
        if self.stitcher is not None:
            check_method("stitcher", self.stitcher, "stitch")


def _check_count(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: {value}")


def _frames_of(chunk_id: int, frames: str | Iterable[int]) -> FrameRange:
    try:
        return FrameRange.of(frames)
    except SpecError as error:
        raise ValueError(f"chunk_frames[{chunk_id}]: {str(error).removeprefix('frames: ')}") from None
    except TypeError:
        raise TypeError(f"chunk_frames[{chunk_id}] must be a text such as '1-8,11' or frames: {frames!r}") from None


def _check_observers(observers: object) -> None:
    if isinstance(observers, str | bytes) or not isinstance(observers, Collection):
        raise TypeError(f"observers must be a collection of callables, such as a list, not {observers!r}")
    for place, observer in enumerate(observers):
        if not callable(observer):
            raise TypeError(f"observers[{place}] must be callable, not {observer!r}")


def _check_errors(name: str, kinds: object) -> None:
    if not isinstance(kinds, Collection) or not all(_is_error_class(kind) for kind in kinds):
        raise TypeError(f"{name} must be a collection of exception classes, such as (OSError,), not {kinds!r}")


def _is_error_class(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _check_slot_values(name: str, values: Sequence[str], concurrency: int) -> None:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise ValueError(f"slot_env: {name!r} cannot be the name of a variable")
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(one, str) for one in values):
        raise TypeError(f"slot_env[{name!r}] must be a sequence of str, one for each slot, not {type(values).__name__}")
    if len(values) < concurrency:
        raise ValueError(
            f"slot_env[{name!r}] has {len(values)} value{'s' * (len(values) != 1)} for {concurrency} slots:"
            " give one for each chunk that may run at a time (concurrency)"
        )
    if any("\0" in value for value in values):
        raise ValueError(f"slot_env[{name!r}] must not contain a NUL byte")
