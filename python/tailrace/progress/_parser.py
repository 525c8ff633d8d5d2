"""From the output of a renderer to what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ._detection import all_signatures, renderer_of_command
from ._plan import Meaning, plan_of
from ._registry import renderer_named
from ._renderer import Renderer
from ._report import FileSaved, Progress, RenderError, Report
from ._state import State

_LONGEST_LINE = 64 * 1024
_DETECTED_WITHIN = 64 * 1024
_LONGEST_MESSAGE = 300
# From here on it pays to look for a trigger's rarest character first, at the speed of memchr.
_LARGE = 512


class ProgressParser:
    """Reads what a renderer prints, and says how far it is, which files it saved and what went wrong.

    `renderer` is a name that `renderer_names` lists, a `Renderer`, or "auto": the one whose program `command` runs,
    else the one known by a line in the first 64 KiB of output, until then and otherwise "generic". `frames` are the
    frames that the command renders: most renderers print only their numbers, which alone do not say how much is left.

    Raises `ValueError` for an unknown name.
    """

    progress: Progress
    """The newest state."""

    def __init__(
        self,
        renderer: str | Renderer = "auto",
        *,
        command: str | Sequence[str] = (),
        frames: range | None = None,
    ) -> None:
        self._frames = frames
        self._partial = {"stdout": bytearray(), "stderr": bytearray()}
        self._undetected = 0
        self._signatures: list[tuple[bytes, Renderer]] = []
        if renderer == "auto":
            found = renderer_of_command(command)
            if found is None:
                self._undetected = _DETECTED_WITHIN
                self._signatures = all_signatures()
                found = renderer_named("generic")
            renderer = found
        elif isinstance(renderer, str):
            renderer = renderer_named(renderer)
        self.progress = Progress()
        self._use(renderer)

    @property
    def renderer(self) -> str:
        """The name of the renderer that the output is taken for now."""
        return self._plan.name

    def feed(self, data: str | bytes | memoryview, stream: Literal["stdout", "stderr"] = "stdout") -> list[Report]:
        r"""Return what `data`, the next piece of one of the streams, completes.

        A line ends in "\n", "\r\n" or "\r". Saved files and errors come each and in order; the state comes at most
        once, at the end, and only if it differs from the one before. Of a line longer than 64 KiB the end is read.
        """
        if isinstance(data, str):
            data = data.encode(errors="replace")
        elif not isinstance(data, bytes):
            data = bytes(data)
        # An "\r\n" leaves an empty line behind, which means nothing.
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        partial = self._partial[stream]
        end = data.rfind(b"\n")
        reports: list[Report] = []
        if end >= 0:
            start = 0
            if partial:
                start = data.find(b"\n")
                partial += data[:start]
                self._read(bytes(partial), 0, len(partial), reports)
                partial.clear()
                start += 1
            if start < end:
                self._read(data, start, end, reports)
        partial += data[max(end + 1, len(data) - _LONGEST_LINE) :]
        if len(partial) > _LONGEST_LINE:
            del partial[:-_LONGEST_LINE]
        return self._report(reports)

    def finish(self) -> list[Report]:
        """Return what the end of both streams completes: their last lines."""
        reports: list[Report] = []
        for partial in self._partial.values():
            if partial:
                self._read(bytes(partial), 0, len(partial), reports)
                partial.clear()
        return self._report(reports)

    def _use(self, renderer: Renderer) -> None:
        self._plan = plan_of(renderer)
        self._state = State(self._frames)
        self._changed = True

    def _report(self, reports: list[Report]) -> list[Report]:
        if self._changed:
            self._changed = False
            progress = self._state.progress()
            if progress != self.progress:
                self.progress = progress
                reports.append(progress)
        return reports

    def _read(self, data: bytes, start: int, end: int, reports: list[Report]) -> None:
        if self._undetected > 0:
            known = self._detect(data, start, end)
            if known is not None:
                at, renderer = known
                if at > start:
                    self._read_lines(data, start, at - 1, reports)
                self._use(renderer)
                start = at
        self._read_lines(data, start, end, reports)

    def _detect(self, data: bytes, start: int, end: int) -> tuple[int, Renderer] | None:
        """Return where the line starts by which the renderer is known, if one of these is."""
        while self._undetected > 0 and start <= end:
            stop = data.find(b"\n", start, end)
            stop = end if stop < 0 else stop
            line = data[max(start, stop - _LONGEST_LINE) : stop]
            for text, renderer in self._signatures:
                if text in line:
                    self._undetected = 0
                    return start, renderer
            self._undetected -= min(stop - start, _LONGEST_LINE) + 1
            start = stop + 1
        return None

    def _read_lines(self, data: bytes, start: int, end: int, reports: list[Report]) -> None:
        """Read the lines of data[start:end], of which only few mean something."""
        plan = self._plan
        meanings: dict[int, tuple[Meaning, str] | None] = {}
        large = end - start >= _LARGE
        for trigger, rarest in plan.triggers:
            if large and data.find(rarest, start, end) < 0:
                continue
            at = data.find(trigger, start, end)
            while at >= 0:
                line_start, line_end = _line_around(data, at, start, end)
                if line_start not in meanings:
                    meanings[line_start] = self._understand(data, line_start, line_end)
                at = data.find(trigger, line_end, end)
        if plan.whole_triggers:
            self._read_newest(data, start, end, meanings)
        for line_start in sorted(meanings):
            found = meanings[line_start]
            if found is not None:
                self._take(*found, reports)

    def _read_newest(self, data: bytes, start: int, end: int, meanings: dict[int, tuple[Meaning, str] | None]) -> None:
        """Add lines of which the newest counts, from there back to the first that is complete."""
        newest = {trigger: data.rfind(trigger, start, end) for trigger in self._plan.whole_triggers}
        while True:
            at = max(newest.values())
            if at < 0:
                return
            line_start, line_end = _line_around(data, at, start, end)
            if line_start not in meanings:
                meanings[line_start] = self._understand(data, line_start, line_end)
            found = meanings[line_start]
            if found is not None and found[0].complete:
                return
            for trigger, place in newest.items():
                if place >= line_start:
                    newest[trigger] = data.rfind(trigger, start, line_start)

    def _understand(self, data: bytes, start: int, end: int) -> tuple[Meaning, str] | None:
        line = _text(data, start, end)
        meaning = self._plan.meaning(line)
        return None if meaning is None else (meaning, line)

    def _take(self, meaning: Meaning, line: str, reports: list[Report]) -> None:
        rule, match, complete = meaning
        groups = rule.regex.groupindex
        if "error" in groups and match["error"] is not None:
            reports.append(RenderError(line.strip()[:_LONGEST_MESSAGE], rule.category, rule.fatal))
        if "saved" in groups and match["saved"] is not None:
            reports.append(FileSaved(match["saved"]))
        if complete:
            self._state.forget(self._plan.whole_groups, self._plan.whole_of)
        self._state.apply(rule, match)
        self._changed = True


def _line_around(data: bytes, at: int, start: int, end: int) -> tuple[int, int]:
    line_start = data.rfind(b"\n", start, at)
    line_end = data.find(b"\n", at, end)
    return (start if line_start < 0 else line_start + 1), (end if line_end < 0 else line_end)


def _text(data: bytes, start: int, end: int) -> str:
    return data[max(start, end - _LONGEST_LINE) : end].decode(errors="replace")
