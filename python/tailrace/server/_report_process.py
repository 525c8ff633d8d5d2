"""The process that makes reports of a job, from the side of the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from ._refusal import RefusedError

_PATIENCE = 240.0
"""How long an answer may take, in seconds, with pictures of a hundred frames: less than clients wait."""
_LONGEST_ANSWER = 64 * 2**20


class ReportProcess:
    """Answers questions about one job, one at a time; it begins with the first, and anew where it has ended."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the job's logs."""
        self._folder = folder
        self._turn = anyio.Lock()
        self._process: Process | None = None

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer. Raises `RefusedError` where there is none."""
        async with self._turn:
            is_new = self._process is None
            try:
                with anyio.fail_after(_PATIENCE):
                    try:
                        answer = await self._ask(question)
                    except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
                        if is_new:
                            raise
                        # Nobody asked for a while.
                        await self._end()
                        answer = await self._ask(question)
            except TimeoutError:
                await self._end()
                raise RefusedError(503, f"the report took longer than {_PATIENCE:g} s") from None
            except BaseException:
                await self._end()
                raise
        if "error" in answer:
            raise RefusedError(503, answer["error"])
        return answer

    @property
    def is_busy(self) -> bool:
        """Whether something is being asked."""
        return self._turn.locked()

    async def close(self) -> None:
        """End it."""
        async with self._turn:
            await self._end()

    async def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            # Not the current folder's modules, and Ctrl-C is for the server.
            command = [sys.executable, "-P", "-m", "tailrace.server._report_program", str(self._folder)]
            self._process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, start_new_session=True
            )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        await self._process.stdin.send(json.dumps(question).encode() + b"\n")
        line = await BufferedByteReceiveStream(self._process.stdout).receive_until(b"\n", _LONGEST_ANSWER)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()
