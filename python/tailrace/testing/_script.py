"""What a fake adapter is to do, and which execution is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TypeAlias

from .._checks import check_delays, check_type
from .._command.job import STREAMS, StreamName, WorkerJob


@dataclass(frozen=True, slots=True)
class FakeOutput:
    """Something that is written to one stream; text is written as UTF-8.

    Raises `TypeError` or `ValueError` when a field cannot be used.
    """

    data: bytes | str
    _: KW_ONLY
    stream: StreamName = "stdout"
    at: float = 0.0
    """When it is written: seconds since the start of the execution."""

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes | str):
            raise TypeError(f"data must be bytes or a str, not {self.data!r}")
        if self.stream not in STREAMS:
            raise ValueError(f"stream must be 'stdout' or 'stderr', not {self.stream!r}")
        check_delays(at=self.at)

    @property
    def encoded(self) -> bytes:
        """The bytes that are written."""
        return self.data.encode() if isinstance(self.data, str) else self.data


@dataclass(frozen=True, slots=True)
class FakeExecution:
    """What happens in one execution.

    Raises `TypeError` or `ValueError` when a field cannot be used, for example when output would come after the end.
    """

    output: Sequence[FakeOutput | bytes | str] = ()
    """What is written, in the order of `at`, and as listed where that is the same; bytes and text alone go to standard
    output at once."""
    _: KW_ONLY
    exit_code: int = 0
    error: Exception | None = None
    """What is raised at the end, in place of a result."""
    duration: float | None = None
    """When it ends, in seconds since the start; None is the time of the last output."""

    def __post_init__(self) -> None:
        if isinstance(self.output, bytes | str) or not isinstance(self.output, Sequence):
            raise TypeError(f"output must be a list of FakeOutput, bytes or str, not {self.output!r}")
        check_type("exit_code", self.exit_code, int, "an int")
        if self.error is not None:
            check_type("error", self.error, Exception, "an exception to raise, or None")
        # Says so if something in it cannot be written.
        timeline = self.timeline
        if self.duration is not None:
            check_delays(duration=self.duration)
            for output in timeline:
                if output.at > self.duration:
                    raise ValueError(f"duration is {self.duration:g} s, but there is output at {output.at:g} s")

    @property
    def timeline(self) -> list[FakeOutput]:
        """All output in the order in which it is written."""
        outputs = (each if isinstance(each, FakeOutput) else FakeOutput(each) for each in self.output)
        return sorted(outputs, key=lambda output: output.at)


Key: TypeAlias = int | tuple[int, int] | None

Script: TypeAlias = (
    FakeExecution | Sequence[FakeExecution] | Mapping[Key, FakeExecution] | Callable[[WorkerJob], FakeExecution]
)
"""What a `FakeAdapter` does.

* One `FakeExecution`: each time the same.
* A sequence: the first execution, the second, and so on.
* A mapping: `(chunk_id, attempt)` for one attempt, counted from 1, or `chunk_id` for all others at that chunk; None for
  a job that is no chunk, as the merge command's.
* A function: it is called with each `WorkerJob`, and returns what happens.
"""


class ScriptReader:
    """Finds the execution that a script has for a job."""

    def __init__(self, script: Script) -> None:
        is_one = isinstance(script, FakeExecution | Sequence | Mapping) and not isinstance(script, str | bytes)
        if not is_one and not callable(script):
            raise TypeError(f"script must be a FakeExecution, a list or a mapping of them, or a function: {script!r}")
        self._script = script
        self._count = 0
        self._attempts: Counter[object] = Counter()

    def next(self, job: WorkerJob) -> tuple[FakeExecution, int]:
        """Return what happens, and the number of the attempt at the job's chunk.

        Raises `LookupError` if the script has nothing for it, and what the script raises if that is a function.
        """
        chunk_id = job.meta.get("chunk_id")
        self._attempts[chunk_id] += 1
        attempt = self._attempts[chunk_id]
        self._count += 1
        execution = self._find(job, chunk_id, attempt)
        if not isinstance(execution, FakeExecution):
            raise TypeError(f"the script must give a FakeExecution for {_name(chunk_id, attempt)}, not {execution!r}")
        return execution, attempt

    def _find(self, job: WorkerJob, chunk_id: object, attempt: int) -> object:
        script = self._script
        if isinstance(script, FakeExecution):
            return script
        if isinstance(script, Mapping):
            found: object
            for key in ((chunk_id, attempt), chunk_id):
                if key in script:
                    found = script[key]  # type: ignore[index]
                    return found
            raise LookupError(f"the script has nothing for {_name(chunk_id, attempt)}: add the key {chunk_id!r}")
        if isinstance(script, Sequence):
            if self._count > len(script):
                raise LookupError(f"the script has {len(script)} executions, and this is one more: add another")
            return script[self._count - 1]
        return script(job)


def _name(chunk_id: object, attempt: int) -> str:
    return "a job that is no chunk" if chunk_id is None else f"attempt {attempt} at chunk {chunk_id}"
