"""What is left of a command when it has ended, and how much of its output is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .memory_report import MemoryReport

_DEFAULT_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Capture:
    """How much of each stream a `WorkerResult` keeps. Build one with a class method; sizes are bytes per stream.

    What the callbacks receive does not depend on it.
    """

    kind: Literal["full", "tail", "head_tail", "none"]
    memory: int = 0
    head: int = 0
    tail_size: int = 0

    @classmethod
    def full(cls, *, memory: int = _DEFAULT_MEMORY) -> Capture:
        """Keep everything: up to `memory` bytes per stream in memory, the rest in an unnamed temporary file."""
        return cls("full", memory=_size("memory", memory))

    @classmethod
    def tail(cls, max_bytes: int) -> Capture:
        """Keep the last `max_bytes` of each stream."""
        return cls("tail", tail_size=_size("max_bytes", max_bytes))

    @classmethod
    def head_tail(cls, head: int, tail: int) -> Capture:
        """Keep the first `head` and the last `tail` bytes of each stream."""
        return cls("head_tail", head=_size("head", head), tail_size=_size("tail", tail))

    @classmethod
    def none(cls) -> Capture:
        """Keep nothing."""
        return cls("none")


def _size(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of bytes (an int), not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return value


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a command used.

    `cpu_user` and `cpu_system` are seconds, of the command and the processes it waited for. `max_rss` is the peak
    resident memory of the largest of these, in bytes, or None where the system cannot tell. Of a tree that was ended
    before its time, all members count.
    `tree_max_rss` is the most that the command and everything it started had in memory at once, in bytes: proportional
    set sizes, so that what they share counts once. It is sampled, so that a short peak may be missed; None where it
    is not known.
    """

    cpu_user: float
    cpu_system: float
    max_rss: int | None
    tree_max_rss: int | None = None


@dataclass(frozen=True, slots=True)
class UsageSample:
    """What a command and everything it started use at one moment.

    `memory` is bytes, counted as in `ResourceUsage.tree_max_rss`; `cpu` is the seconds of processor time so far of
    those that are there and of whom they waited for.
    """

    memory: int
    cpu: float


class CapturedOutput(Protocol):
    """Output that is put together when somebody asks for it."""

    def __len__(self) -> int: ...
    def to_bytes(self) -> bytes: ...
    def end(self, count: int) -> bytes: ...
    def to_str(self) -> str: ...


class WorkerResult:
    """The exit code of a command and its complete output.

    `exit_code` is -N for a command that signal N ended, as in `subprocess`; `duration` is seconds;
    `truncated` is True if the capture dropped something or a pipe was still open and abandoned. `lingered` is whether
    the command was ended because it did not exit though its output was complete. `killed_for_memory` is what was seen
    of the memory where somebody but tailrace killed the command (SIGKILL) while there was no memory left, or it ended
    with the status 137 of a shell after the kernel had killed what it ran; else None. `node` is the name of the machine
    that ran it, where an engine chose one; else None.
    """

    __slots__ = (
        "_stderr",
        "_stderr_text",
        "_stdout",
        "_stdout_text",
        "duration",
        "exit_code",
        "killed_for_memory",
        "lingered",
        "node",
        "truncated",
        "usage",
    )

    exit_code: int
    duration: float
    usage: ResourceUsage | None
    truncated: bool
    lingered: bool
    killed_for_memory: MemoryReport | None
    node: str | None

    def __init__(
        self,
        exit_code: int,
        stdout: bytes | str | CapturedOutput = b"",
        stderr: bytes | str | CapturedOutput = b"",
        *,
        duration: float = 0.0,
        usage: ResourceUsage | None = None,
        truncated: bool = False,
        lingered: bool = False,
        killed_for_memory: MemoryReport | None = None,
        node: str | None = None,
    ) -> None:
        self.exit_code = exit_code
        self.duration = duration
        self.usage = usage
        self.truncated = truncated
        self.lingered = lingered
        self.killed_for_memory = killed_for_memory
        self.node = node
        self._stdout_text: str | None = None
        self._stderr_text: str | None = None
        self._stdout: bytes | CapturedOutput
        self._stderr: bytes | CapturedOutput
        if isinstance(stdout, str):
            self._stdout_text, self._stdout = stdout, stdout.encode(errors="replace")
        else:
            self._stdout = stdout
        if isinstance(stderr, str):
            self._stderr_text, self._stderr = stderr, stderr.encode(errors="replace")
        else:
            self._stderr = stderr

    @property
    def stdout_bytes(self) -> bytes:
        """The bytes the command wrote to its standard output, as far as the capture keeps them."""
        if not isinstance(self._stdout, bytes):
            self._stdout = self._stdout.to_bytes()
        return self._stdout

    @property
    def stderr_bytes(self) -> bytes:
        """The bytes the command wrote to its standard error, as far as the capture keeps them."""
        if not isinstance(self._stderr, bytes):
            self._stderr = self._stderr.to_bytes()
        return self._stderr

    @property
    def stdout(self) -> str:
        """`stdout_bytes` as text, decoded once; what is not UTF-8 becomes U+FFFD."""
        if self._stdout_text is None:
            self._stdout_text = _to_text(self._stdout)
        return self._stdout_text

    @property
    def stderr(self) -> str:
        """`stderr_bytes` as text, decoded once; what is not UTF-8 becomes U+FFFD."""
        if self._stderr_text is None:
            self._stderr_text = _to_text(self._stderr)
        return self._stderr_text

    def ends(self, count: int) -> tuple[bytes, bytes]:
        """Return the last `count` bytes of standard output and of standard error, without putting all together."""
        return end_of(self._stdout, count), end_of(self._stderr, count)

    def wrapped(self, wrap: Callable[[bytes | CapturedOutput], CapturedOutput]) -> WorkerResult:
        """Return the same with something else in place of the output of each stream."""
        return WorkerResult(
            self.exit_code,
            wrap(self._stdout),
            wrap(self._stderr),
            duration=self.duration,
            usage=self.usage,
            truncated=self.truncated,
            lingered=self.lingered,
            killed_for_memory=self.killed_for_memory,
            node=self.node,
        )

    def __repr__(self) -> str:
        # Short, whatever was written: asyncio formats the result of a task in its messages.
        note = (", truncated" if self.truncated else "") + (", lingered" if self.lingered else "")
        return (
            f"<WorkerResult exit_code={self.exit_code} stdout={len(self._stdout)} bytes"
            f" stderr={len(self._stderr)} bytes duration={self.duration:.3f}s{note}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (
            self.exit_code,
            self.stdout_bytes,
            self.stderr_bytes,
            {
                "duration": self.duration,
                "usage": self.usage,
                "truncated": self.truncated,
                "lingered": self.lingered,
                "killed_for_memory": self.killed_for_memory,
                "node": self.node,
            },
        )


def end_of(output: bytes | CapturedOutput, count: int) -> bytes:
    """Return the last `count` bytes."""
    if not isinstance(output, bytes):
        return output.end(count)
    return output[-count:] if count else b""


def _to_text(output: bytes | CapturedOutput) -> str:
    """Return output decoded; what is not UTF-8 becomes U+FFFD."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output.to_str()


def _restore(exit_code: int, stdout: bytes, stderr: bytes, rest: Mapping[str, Any]) -> WorkerResult:
    return WorkerResult(exit_code, stdout, stderr, **rest)
