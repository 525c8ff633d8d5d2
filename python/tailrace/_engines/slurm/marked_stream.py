"""Takes out of a stream what is not the command's: what the script on the node tells, and what slurmstepd says."""

from __future__ import annotations

import re

from .on_node import MARK

_SLURMSTEPD = b"slurmstepd"
_LONGEST = 4096
"""Nothing that is taken out is longer, in bytes: it is written at once, and a pipe takes no more than this whole."""


class MarkedStream:
    """One stream of a step."""

    def __init__(self, mark: str, *, is_shared: bool) -> None:
        """Say whether slurmstepd writes into it too; that one tells the beginning as well."""
        self.began: str | None = None if is_shared else ""
        """What was told of the beginning: None until then."""
        self.ended: str | None = None
        """What was told of the end: None until then."""
        self.refused: str | None = None
        """Why the command was not begun."""
        self.messages: list[str] = []
        """What slurmstepd said, in lines."""
        opening = MARK + mark.encode() + b" "
        told = re.escape(opening) + rb"([\w-]+) ?([^\x1e]*)\x1e\n"
        # As Slurm's log begins its lines; newer versions name the node too.
        said = rb"|(slurmstepd(?:-[\w.-]+)?: (?:error|fatal): [^\n\x1e]*)\n" if is_shared else rb""
        self._pattern = re.compile(told + said)
        self._names_the_step = re.compile(b"")
        self._openings = [(opening, MARK + b"\n"), *([(_SLURMSTEPD, b"\n")] if is_shared else [])]
        self._held = b""

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return what of this is the command's output; the beginning of what may be something else is kept back."""
        whole = self._held + data
        kept = []
        start = 0
        for found in self._pattern.finditer(whole):
            if found[1] is None and not self._names_the_step.search(found[3]):
                # An old log that the command prints, or the messages of an srun of its own, are of other steps.
                continue
            kept.append(self._output(whole[start : found.start()]))
            self._note(found)
            start = found.end()
        held_from = self._beginning_of_something(whole, start)
        self._held = whole[held_from:]
        kept.append(self._output(whole[start:held_from]))
        return b"".join(kept)

    def finish(self) -> bytes:
        """Return what was kept back."""
        rest, self._held = self._held, b""
        if rest.startswith(self._openings[0][0]):
            # Who was to tell something was killed over it.
            return b""
        return self._output(rest)

    def _note(self, found: re.Match[bytes]) -> None:
        kind = found[1]
        if kind is None:
            self.messages.append(found[3].decode(errors="replace"))
            return
        text = found[2].decode(errors="replace")
        match kind:
            case b"began":
                self.began = text
                job_id, step_id, _ = text.split(" ", 2)
                named = rf"(?i:step(?:id=| ){job_id}\.{step_id}|job(?:id=| ){job_id})\b"
                self._names_the_step = re.compile(named.encode())
            case b"ended":
                self.ended = text
            case _:
                self.refused = kind.decode()

    def _beginning_of_something(self, data: bytes, start: int) -> int:
        for opening, closing in self._openings:
            at = data.rfind(opening, start)
            if at >= 0 and len(data) - at < _LONGEST and closing not in data[at + len(opening) :]:
                return at
            for length in range(min(len(opening) - 1, len(data) - start), 0, -1):
                if data.endswith(opening[:length]):
                    return len(data) - length
        return len(data)

    def _output(self, data: bytes) -> bytes:
        if self.began is None and data:
            # Before the command begins there can be nothing of its own.
            self.messages += data.decode(errors="replace").splitlines()
            return b""
        return data
