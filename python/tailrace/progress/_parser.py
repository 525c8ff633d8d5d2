"""From the output of a renderer to what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ._detection import renderer_of_command, signatures_beside
from ._error_patterns import ErrorPatterns
from ._plan import Meaning, PlannedRule, common_category, meaning_of, plan_of
from ._registry import renderer_named
from ._renderer import Renderer
from ._report import FileSaved, Progress, RenderError, Report
from ._search import EveryLine, Search, line_ends, search_for
from ._state import State
from ._traceback import HEADS, Traceback, category_of_exception, find_head

# Both ends of a longer line are read, each half of it, so that no line can hold up those who wait.
_LONGEST_LINE = 4 * 1024
_END = _LONGEST_LINE // 2
# A line without an end is shortened from here on, not at every piece of it.
_LONGEST_PARTIAL = 64 * 1024
_LONGEST_MESSAGE = 300
# A script may run several renderers in turn, but each change costs a new search of what was just printed.
_MOST_CHANGES = 250
# From here on it pays to look for a trigger's rarest character first, at the speed of memchr.
_LARGE = 512
# From a line that holds something on, so much is read closely before the next such line is searched for.
_BLOCK = 64 * 1024


class ProgressParser:
    """Reads what a renderer prints, and says how far it is, which files it saved and what went wrong.

    `renderer` is a name that `renderer_names` lists, a `Renderer`, or "auto": the one whose program `command` runs,
    else the one known by a line of the output, until then and otherwise "generic". A renderer that is known by its
    output, or seems to be run by another program such as a shell, gives way to the next that is known by its output.
    `frames` are the frames that the command renders, in the order in which it does: most renderers print only their
    numbers, which alone do not say how much is left, and some only how many they rendered.

    `error_patterns` are pairs of a category, one of `ErrorCategory` or "error" for any other, and a regular expression
    of `re` that is searched in each line, before what is known of the renderer: a line that it is found in tells of an
    error, and nothing else. That is fatal if the category is "missing_asset" or "scene". At most 4 KiB of a line are
    searched, but an expression that goes back and forth without end holds up the program even so.

    Raises `ValueError` for an unknown name, and for an error pattern that is no expression or has no such category.
    """

    progress: Progress
    """The newest state."""

    def __init__(
        self,
        renderer: str | Renderer = "auto",
        *,
        command: str | Sequence[str] = (),
        frames: Sequence[int] | None = None,
        error_patterns: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._frames = frames
        self._partial = {"stdout": bytearray(), "stderr": bytearray()}
        self._tracebacks: dict[str, Traceback] = {}
        self._raised: str | None = None
        self._own_errors = ErrorPatterns(error_patterns)
        self._certain = True
        self._changes = 0
        if renderer == "auto":
            renderer, self._certain = renderer_of_command(command) or (renderer_named("generic"), False)
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

        A line ends in "\n", "\r\n" or "\r". Saved files, finished frames and errors come each and in order; the state
        comes at most once, at the end, and only if it differs from the one before. Of a line longer than 4 KiB the
        first 2 KiB are read and, if they mean nothing, the last 2 KiB.
        """
        if isinstance(data, str):
            data = data.encode(errors="replace")
        elif not isinstance(data, bytes):
            data = memoryview(data)
            data = data.cast("B") if data.c_contiguous else data.tobytes()
        partial = self._partial[stream]
        ends = line_ends(data)
        reports: list[Report] = []
        start = 0
        if ends is not None:
            first, last = ends
            if partial:
                partial += data[:first]
                self._read(bytes(partial), 0, len(partial), stream, reports)
                partial.clear()
                start = first + 1
            self._read(data, start, last, stream, reports)
            start = last + 1
        partial += data[start:]
        if len(partial) > _LONGEST_PARTIAL:
            # It stays longer than a line that is read as a whole.
            del partial[_END:-_LONGEST_LINE]
        return self._report(reports)

    def finish(self) -> list[Report]:
        """Return what the end of both streams completes: their last lines, and a frame that was complete."""
        reports: list[Report] = []
        for stream, partial in self._partial.items():
            if partial:
                self._read(bytes(partial), 0, len(partial), stream, reports)
                partial.clear()
        self._state.end()
        reports += self._state.take_rendered()
        self._changed = True
        return self._report(reports)

    def _use(self, renderer: Renderer) -> None:
        self._plan = plan_of(renderer)
        self._state = State(self._frames, encoder=self._plan.encoder)
        self._signatures = () if self._certain else signatures_beside(renderer)
        self._search = EveryLine() if self._own_errors else self._search_of_texts()
        self._changed = True

    def _search_of_texts(self) -> Search:
        return search_for((*self._plan.texts, *HEADS, *(signature.text for signature in self._signatures)))

    def _report(self, reports: list[Report]) -> list[Report]:
        if self._changed:
            self._changed = False
            progress = self._state.progress()
            if progress != self.progress:
                self.progress = progress
                reports.append(progress)
        return reports

    def _read(self, data: bytes | memoryview, start: int, end: int, stream: str, reports: list[Report]) -> None:
        """Read the lines of data[start:end], of which only few mean something."""
        while True:
            traceback = self._tracebacks.get(stream)
            if traceback is not None:
                start = self._read_traceback(traceback, data, start, end, stream, reports)
                if stream in self._tracebacks:
                    return
            start = self._search.find_line(data, start, end)
            if start < 0:
                return
            block = _block_from(data, start, end)
            head = find_head(block, _END)
            if head is not None:
                self._tracebacks[stream] = Traceback(block[head[0] : min(head[1], head[0] + _END)])
                start += head[1] + 1
                block = block[: max(0, head[0] - 1)]
            else:
                start += len(block) + 1
            if block:
                self._read_block(block, reports)

    def _read_traceback(
        self, traceback: Traceback, data: bytes | memoryview, start: int, end: int, stream: str, reports: list[Report]
    ) -> int:
        """Read on in a traceback; return where it ends, or the data."""
        while start < end:
            block = _block_from(data, start, end)
            for line in block.split(b"\n"):
                ending = traceback.read(line[:_END].decode(errors="replace"))
                is_read = ending.is_read
                if ending.message is not None:
                    is_read = self._take_exception(ending.message, traceback.before, reports)
                if not is_read or not ending.goes_on:
                    del self._tracebacks[stream]
                    return start + (len(line) + 1 if is_read else 0)
                start += len(line) + 1
        return start

    def _take_exception(self, message: str, before: str, reports: list[Report]) -> bool:
        """Report what was raised, unless the line says something else: a traceback may have been cut off."""
        rules = self._plan.rules_for(self._plan.texts)
        meaning = meaning_of(message, rules)
        rule = None if meaning is None else meaning.planned.rule
        if rule is not None and "error" not in rule.regex.groupindex:
            return False
        category = (rule and rule.category) or common_category(message) or category_of_exception(message)
        if category is None:
            # A renderer may say what an exception means that it tells of.
            said = meaning_of(before, rules)
            category = None if said is None else said.planned.rule.category
        self._raised = message.strip()[:_LONGEST_MESSAGE]
        own = self._own_error_of(message)
        fatal = rule is not None and rule.fatal
        self._add_error(RenderError(self._raised, category, fatal) if own is None else own, reports)
        return True

    def _read_block(self, data: bytes, reports: list[Report]) -> None:
        start, end = 0, len(data)
        looked = start
        while self._signatures and looked < end:
            known = self._detect(data, looked, end)
            if known is None:
                break
            at, looked, renderer = known
            if at > start:
                self._read_lines(data, start, at - 1, reports)
            self._changes += 1
            self._certain = self._changes == _MOST_CHANGES
            self._use(renderer)
            start = at
        self._read_lines(data, start, end, reports)

    def _detect(self, data: bytes, start: int, end: int) -> tuple[int, int, Renderer] | None:
        """Return the first line by which another renderer is known, as its start and its end."""
        first = None
        large = end - start >= _LARGE
        for text, rarest, renderer in self._signatures:
            if large and data.find(rarest, start, end) < 0:
                continue
            at = data.find(text, start, end)
            while at >= 0:
                line_start, line_end = _line_around(data, at, start, end)
                if any(text in piece for piece in _pieces(data, line_start, line_end)):
                    first = line_start, line_end, renderer
                    # Of the others, only those count that come before.
                    end = line_start
                    break
                at = data.find(text, line_end, end)
        return first

    def _read_lines(self, data: bytes, start: int, end: int, reports: list[Report]) -> None:
        plan = self._plan
        own_errors: dict[int, RenderError] = {}
        if self._own_errors:
            data = self._take_out_own_errors(data, start, end, own_errors)
        lines, texts = _lines_that_hold(plan.triggers, data, start, end)
        rules = plan.rules_for(texts)
        meanings: dict[int, tuple[Meaning, str]] = {}
        for line_start, line_end in lines.items():
            found = _understand(rules, data, line_start, line_end)
            if found is not None:
                meanings[line_start] = found
        newest = self._newest_complete(data, start, end, meanings)
        for line_start in sorted({*meanings, *own_errors} if own_errors else meanings):
            if line_start in own_errors:
                self._add_error(own_errors[line_start], reports)
                continue
            meaning, line = meanings[line_start]
            if line_start < newest and meaning.planned.rule.whole:
                self._state.follow(meaning.planned.rule, meaning.match)
            else:
                self._take(meaning, line, reports, complete=line_start == newest)
            reports += self._state.take_rendered()
            self._changed = True

    def _take_out_own_errors(self, data: bytes, start: int, end: int, errors: dict[int, RenderError]) -> bytes:
        """Add the lines that a pattern of the user's is found in, by their starts; return the data without them."""
        rest = bytearray(data)
        while start < end:
            line_end = data.find(b"\n", start, end)
            line_end = end if line_end < 0 else line_end
            for piece in _pieces(data, start, line_end):
                error = self._own_error_of(piece.decode(errors="replace"))
                if error is not None:
                    errors[start] = error
                    rest[start:line_end] = b" " * (line_end - start)
                    break
            start = line_end + 1
        return bytes(rest) if errors else data

    def _own_error_of(self, line: str) -> RenderError | None:
        found = self._own_errors.find(line)
        return None if found is None else RenderError(line.strip()[:_LONGEST_MESSAGE], *found)

    def _add_error(self, error: RenderError, reports: list[Report]) -> None:
        if error.fatal:
            self._state.fail()
        reports.append(error)

    def _newest_complete(self, data: bytes, start: int, end: int, meanings: dict[int, tuple[Meaning, str]]) -> int:
        """Return the start of the newest line after which earlier ones of its kind count no more, or -1.

        Lines that nobody looked for yet, because only the newest of them counts, are added from there on.
        """
        plan = self._plan
        if not plan.newest_triggers:
            return _newest_complete_of(meanings)
        newest = {trigger: data.rfind(trigger, start, end) for trigger in plan.newest_triggers}
        rules = plan.rules_for((*plan.texts,))
        while (at := max(newest.values())) >= 0:
            line_start, line_end = _line_around(data, at, start, end)
            if line_start not in meanings:
                found = _understand(rules, data, line_start, line_end)
                if found is not None:
                    meanings[line_start] = found
            if line_start in meanings and meanings[line_start][0].is_complete:
                break
            for trigger, place in newest.items():
                if place >= line_start:
                    newest[trigger] = data.rfind(trigger, start, line_start)
        return _newest_complete_of(meanings)

    def _take(self, meaning: Meaning, line: str, reports: list[Report], *, complete: bool) -> None:
        rule, match = meaning.planned.rule, meaning.match
        groups = rule.regex.groupindex
        if "error" in groups and match["error"] is not None:
            message = line.strip()[:_LONGEST_MESSAGE]
            if rule.after_traceback and self._raised is not None:
                message = self._raised
            self._add_error(RenderError(message, rule.category or common_category(line), rule.fatal), reports)
        if "saved" in groups and match["saved"] is not None:
            reports.append(FileSaved(match["saved"]))
        if complete:
            self._state.forget(self._plan.whole_groups, self._plan.whole_of)
        self._state.apply(rule, match)


def _block_from(data: bytes | memoryview, start: int, end: int) -> bytes:
    """Return whole lines of data[start:end], from its first one on, without the end of the last."""
    block = bytes(data[start : min(end, start + _BLOCK)])
    if end - start > _BLOCK:
        ends = line_ends(block)
        block = bytes(data[start:end]) if ends is None else block[: ends[1]]
    # An "\r\n" leaves an empty line behind, which means nothing.
    return block.replace(b"\r", b"\n") if b"\r" in block else block


def _newest_complete_of(meanings: dict[int, tuple[Meaning, str]]) -> int:
    for at in sorted(meanings, reverse=True):
        if meanings[at][0].is_complete:
            return at
    return -1


def _lines_that_hold(
    triggers: list[tuple[bytes, bytes]], data: bytes, start: int, end: int
) -> tuple[dict[int, int], tuple[bytes, ...]]:
    """Return the starts and ends of the lines that hold a trigger, in no order, and the triggers that there are."""
    lines = {}
    found = []
    large = end - start >= _LARGE
    for trigger, rarest in triggers:
        if large and data.find(rarest, start, end) < 0:
            continue
        at = data.find(trigger, start, end)
        if at >= 0:
            found.append(trigger)
        while at >= 0:
            line_start, line_end = _line_around(data, at, start, end)
            lines[line_start] = line_end
            at = data.find(trigger, line_end, end)
    return lines, tuple(found)


def _understand(rules: list[PlannedRule], data: bytes, start: int, end: int) -> tuple[Meaning, str] | None:
    if end - start <= _LONGEST_LINE:
        line = data[start:end].decode(errors="replace")
        meaning = meaning_of(line, rules)
        return None if meaning is None else (meaning, line)
    for piece in _pieces(data, start, end):
        line = piece.decode(errors="replace")
        meaning = meaning_of(line, rules)
        if meaning is not None:
            return meaning, line
    return None


def _line_around(data: bytes, at: int, start: int, end: int) -> tuple[int, int]:
    line_start = data.rfind(b"\n", start, at)
    line_end = data.find(b"\n", at, end)
    return (start if line_start < 0 else line_start + 1), (end if line_end < 0 else line_end)


def _pieces(data: bytes, start: int, end: int) -> list[bytes]:
    """Return what is read of a line."""
    if end - start <= _LONGEST_LINE:
        return [data[start:end]]
    # What begins there is not at the start of the line.
    return [data[start : start + _END], b"..." + data[end - _END : end]]
