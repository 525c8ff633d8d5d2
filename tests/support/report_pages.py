"""Reports read back: the page as a browser would parse it, and logs of events that a test makes up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tailrace import ChunkFailedError, ResourceUsage, WorkerResult, event_to_json
from tailrace._events.types import ChunkFailed, ChunkFinished, ChunkStarted, JobEvent, JobFinished, JobStarted

_VOID = {"meta", "img", "br"}


@dataclass
class Node:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def walk(self) -> Iterator[Node]:
        """Yield it and all elements in it."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, class_: str | None = None) -> list[Node]:
        """Return the elements of that name in it, and of that class."""
        return [
            node
            for node in self.walk()
            if node.tag == tag and (class_ is None or class_ in (node.attributes.get("class") or "").split())
        ]

    def section(self, name: str) -> Node | None:
        """Return the section of that id."""
        return next((node for node in self.all("section") if node.attributes.get("id") == name), None)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """What elements are in it, with the names of their attributes: no text may change that."""
        return [(node.tag, tuple(node.attributes)) for node in self.walk()]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> ends <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def close(self) -> None:
        super().close()
        assert len(self._open) == 1, f"<{self._open[-1].tag}> has no end"


def parse(page: str) -> Node:
    """Return the page as a tree; every element has its end in its place."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.root


class EventLog:
    """Writes a log of events as a run does that takes as long as the test says."""

    def __init__(self, folder: Path, *, job_id: str = "job-1", run_id: str = "0" * 16) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "job.ndjson"
        self._head = {"job_id": job_id, "run_id": run_id}
        self._lines: list[str] = []

    def add(self, kind: type[JobEvent], at: float, **fields: Any) -> None:
        """Add an event that happens so many seconds after the run began."""
        head: dict[str, Any] = {**self._head, "sequence": len(self._lines)}
        self._lines.append(event_to_json(kind(**head, time=1.8e9 + at, monotonic=100.0 + at, **fields)))

    def start(self, chunks: int, *done: int) -> None:
        """Begin the run."""
        self.add(JobStarted, 0, total_chunks=chunks, completed_chunk_ids=done)

    def chunk(
        self, chunk_id: int, begin: float, end: float, *, slot: int = 0, memory: int = 2**30, **result: Any
    ) -> None:
        """Have a chunk run and succeed."""
        self.add(ChunkStarted, begin, chunk_id=chunk_id, attempt=1, slot=slot, command=f"render {chunk_id}")
        usage = ResourceUsage(end - begin, 0.0, memory, memory)
        done = WorkerResult(0, duration=end - begin, usage=usage, **result)
        self.add(ChunkFinished, end, chunk_id=chunk_id, attempt=1, result=done)

    def failed_chunk(self, chunk_id: int, begin: float, end: float, reason: str) -> None:
        """Have a chunk run and fail."""
        self.add(ChunkStarted, begin, chunk_id=chunk_id, attempt=1, slot=0, command=f"render {chunk_id}")
        result = WorkerResult(3, duration=end - begin)
        error = ChunkFailedError(reason, chunk_id=chunk_id, attempts=1, result=result)
        self.add(ChunkFailed, end, chunk_id=chunk_id, attempt=1, error=error)

    def finish(self, at: float) -> None:
        """End the run well."""
        self.add(JobFinished, at, duration=at, error=None)

    def write(self, *, rest: bytes = b"") -> Path:
        """Write the file, with the rest at its end, and return its folder."""
        self.path.write_bytes("".join(f"{line}\n" for line in self._lines).encode() + rest)
        return self.path.parent
