"""AWS event streams, the format in which `InvokeWithResponseStream` answers (application/vnd.amazon.eventstream).

A message is its length, the length of its headers, a CRC-32 of both, the headers, the payload, and a CRC-32 of all
that. A header is the length of its name, the name, 7 for a text, the length of the text, the text. Read from
botocore/eventstream.py, which reads it.
"""

from __future__ import annotations

import json
import struct
import zlib


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Return the bytes of one message."""
    encoded = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    begin = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded + payload
    return begin + struct.pack(">I", zlib.crc32(begin))


def payload_chunk(data: bytes) -> bytes:
    """Return the event that carries what a function wrote."""
    headers = {":message-type": "event", ":event-type": "PayloadChunk", ":content-type": "application/octet-stream"}
    return message(headers, data)


def invoke_complete(**fields: str) -> bytes:
    """Return the event that ends a stream."""
    headers = {":message-type": "event", ":event-type": "InvokeComplete", ":content-type": "application/json"}
    return message(headers, json.dumps(fields).encode())


def stream_error(code: str, text: str) -> bytes:
    """Return what breaks a stream off."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text}, b"")
