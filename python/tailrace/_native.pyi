__all__ = [
    "BUILD_PROFILE",
    "CONTAINER_INIT",
    "CapturedOutput",
    "Ended",
    "Execution",
    "LineSplitter",
    "Mailbox",
    "Needles",
    "after_fork_in_child",
    "after_fork_in_parent",
    "before_fork",
    "find_spans",
    "line_ends",
    "raise_open_files_limit",
    "shut_down",
]

from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import Any, Final, Literal, TypeAlias, final

BUILD_PROFILE: Final = "release"

CONTAINER_INIT: Final[bytes]
"""The executable that is the first process of a container; empty where it could not be built."""

@final
class Mailbox:
    """Collects which executions have news."""

    def __new__(cls) -> Mailbox: ...
    def fileno(self) -> int:
        """A descriptor that is readable while there is news."""
    def take(self) -> list[int]:
        """The ids of the executions that have news."""
    def wait(self, timeout: float | None = None) -> bool:
        """Block until there is news, then forget it. Raises what a signal handler raises.

        Returns False if none came for `timeout` seconds.
        """

@final
class Execution:
    """A command that runs, or is about to."""

    def __new__(
        cls,
        mailbox: Mailbox,
        program: str,
        args: Sequence[str],
        *,
        env: Sequence[tuple[str, str]] | None,
        cwd: str | PathLike[str] | None,
        timeout: float | None,
        idle_timeout: float | None,
        kill_grace: float,
        stream: Literal["text", "lines", "bytes"],
        merge_window: float,
        keep: int | tuple[int, int],
        on_stdout: Callable[[Any], object] | None,
        on_stderr: Callable[[Any], object] | None,
        wants_usage: bool = False,
        wants_activity: bool = False,
    ) -> Execution:
        """Start a command; `mailbox` gets its news.

        `program`, `args` and the rest are what `WorkerJob` says of them; `keep` is how many bytes of each stream to
        keep in memory before the rest goes to a file, or a pair: how many to keep of its beginning and of its end.

        Returns at once: whether the command could be started is one of the news. Raises `OSError` if this process
        cannot have the threads that running commands takes.
        """

    @property
    def id(self) -> int:
        """The number that `Mailbox.take` gives when there is news of this execution."""
    @property
    def backlog(self) -> bool:
        """Whether there is more to deliver right now."""
    @property
    def finished(self) -> bool:
        """Whether the command has ended and everything has been delivered."""
    @property
    def over(self) -> bool:
        """Whether the command and everything it started are gone, delivered or not."""
    @property
    def seconds_past_limit(self) -> float | None:
        """How many seconds ago a limit ended the command; None if none has."""
    @property
    def usage(self) -> tuple[int, float] | None:
        """What the command and all it started use now: memory in bytes and seconds of processor time.

        None before it was looked at. A change is news if that is wanted (`wants_usage`).
        """
    @property
    def largest_processes(self) -> list[tuple[int, str, int]]:
        """Its largest processes then: number, name and memory."""
    @property
    def activity(self) -> tuple[float, float, list[int]]:
        """The seconds for which it was watched, and of processor time that it used; who was there at the last look.

        Only with `wants_activity`.
        """
    def deliver(self) -> Awaitable[object] | None:
        """Call the callbacks with what has come. Raises what a callback raises.

        Returns an awaitable that a callback returned: await it, then call again. Returns None otherwise: call again
        at once if `backlog`, and after the next news unless `finished`.
        """
    def end(self, *, for_idleness: bool = False) -> None:
        """End the command and all it started before its time, and deliver all its output.

        With `for_idleness` that is the limit for a command that uses no processor, which is not ended any more once it
        has exited.
        """
    def stop(self, *, listens: bool = False) -> None:
        """End the command and all it started, and deliver nothing more unless `listens`.

        The news come when they are gone.
        """
    def outcome(self) -> Ended | tuple[int, str]:
        """How the command ended. Raises `RuntimeError` before that, or if it was stopped before it had started.

        A command that could not be started gives a pair of its errno and a message.
        """

_Process: TypeAlias = tuple[int, str, int]
_Memory: TypeAlias = tuple[bool, int | None, int | None, list[_Process], list[_Process], float | None]
"""Whether the kernel killed somebody, how much was available and of how much, the largest processes of the command and
of the machine, and how many seconds before that was."""

@final
class Ended:
    """How a command that was started ended. Times are seconds, memory is bytes."""

    @property
    def exit_code(self) -> int | None:
        """None: nobody knows, because somebody else collected the exit status."""
    @property
    def stdout(self) -> CapturedOutput: ...
    @property
    def stderr(self) -> CapturedOutput: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def pipe_held(self) -> bool:
        """A descendant kept a pipe open for too long after the command's own end, and the tree was ended for that."""
    @property
    def duration(self) -> float: ...
    @property
    def cpu_user(self) -> float: ...
    @property
    def cpu_system(self) -> float: ...
    @property
    def max_rss(self) -> int | None: ...
    @property
    def tree_max_rss(self) -> int | None: ...
    @property
    def limit(self) -> Literal["total", "idle", "cpu"] | None: ...
    @property
    def left(self) -> list[tuple[int, str, str, str]]:
        """Processes of the command that could not be ended: number, name, state and wait channel."""
    @property
    def unseen(self) -> list[tuple[int, str, str, str]]:
        """Processes that could not be looked at, and may belong to the command."""
    @property
    def memory(self) -> _Memory | None:
        """What was seen of it where the command was killed because there was none left."""
    @property
    def error(self) -> str | None:
        """Why the output could not be read or kept."""

@final
class CapturedOutput:
    """The kept output of one stream."""

    def __len__(self) -> int: ...
    def to_bytes(self) -> bytes:
        """Put the output together; a copy of its own each time, unless it is in one piece already."""
    def end(self, count: int) -> bytes:
        """Return the last `count` bytes, or all if there are fewer."""
    def to_str(self) -> str:
        """The same as text; what is not UTF-8 becomes U+FFFD."""

@final
class LineSplitter:
    """Cuts a stream into lines, as `WorkerJob.stream` tells them."""

    def __new__(cls) -> LineSplitter: ...
    def feed(self, data: bytes | memoryview) -> list[str]:
        """The lines that `data` completes, without their ends."""
    def finish(self) -> str | None:
        """At the end of the stream: the last line, if nothing ended it."""

def find_spans(data: bytes | memoryview, pattern: bytes) -> list[tuple[int, int]]:
    """Where `pattern` is in `data`, as pairs of start and end; where it overlaps itself, all of that as one.

    Raises `ValueError` for an empty pattern.
    """

@final
class Needles:
    """Texts to look for in output."""

    def __new__(cls, texts: Sequence[tuple[bytes, int]]) -> Needles:
        """Look for the given texts; with each comes the place in it from which on it is the least likely in other text.

        Raises `ValueError` where it would not be faster than to look for one after the other.
        """
    def find_line(self, data: bytes | memoryview, start: int, end: int) -> int:
        """The start of the first line of `data[start:end]` that holds one of the texts, or -1."""

def line_ends(data: bytes | memoryview) -> tuple[int, int] | None:
    """The places of the first and the last line end of `data`, or None."""

def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child() -> None:
    """The three hooks of `os.register_at_fork`."""

def raise_open_files_limit() -> None:
    """Raise the limit of open files as far as this process may; commands keep the one that there was."""

def shut_down(patience: float) -> bool:
    """Kill every command that this process runs, and wait until they are gone, for at most `patience` seconds.

    Returns False if a thread hangs in the kernel, so that this process cannot end before that returns.
    """
