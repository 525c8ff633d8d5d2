"""The answer that comes at once, when the command has ended."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncIterator

from .._wire.frames import FrameKind
from ._output_log import LogReader, OutputLog

_STREAMS = {"stdout": FrameKind.STDOUT, "stderr": FrameKind.STDERR}


async def buffered_answer(outcome: dict[str, object], log: OutputLog) -> AsyncIterator[bytes]:
    """Yield the parts of the JSON: what `outcome` says, and the output from a log that is finished.

    Neither the output nor its text is ever in memory as a whole.
    """
    yield json.dumps(outcome | {"truncated": outcome["truncated"] or not log.is_complete})[:-1].encode()
    for name, kind in _STREAMS.items():
        yield f', "{name}": "'.encode()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        checker = codecs.getincrementaldecoder("utf-8")()
        is_text = True
        async for data in _output(log, kind):
            if is_text:
                is_text = _can_take(checker, data, final=False)
            yield _escape(decoder.decode(data))
        yield _escape(decoder.decode(b"", final=True))
        yield b'"'
        if not (is_text and _can_take(checker, b"", final=True)):
            yield f', "{name}Base64": "'.encode()
            async for part in _base64(log, kind):
                yield part
            yield b'"'
    yield b"}"


async def _output(log: OutputLog, kind: FrameKind) -> AsyncIterator[bytes]:
    reader: LogReader = log.reader()
    try:
        while pieces := await reader.read():
            data = b"".join(piece.data for piece in pieces if piece.kind == kind)
            if data:
                yield data
    finally:
        reader.close()


async def _base64(log: OutputLog, kind: FrameKind) -> AsyncIterator[bytes]:
    rest = b""
    async for data in _output(log, kind):
        rest += data
        whole = len(rest) // 3 * 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)


def _can_take(checker: codecs.IncrementalDecoder, data: bytes, *, final: bool) -> bool:
    try:
        checker.decode(data, final)
    except UnicodeDecodeError:
        return False
    return True


def _escape(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()
