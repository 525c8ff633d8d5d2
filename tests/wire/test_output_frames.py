"""Output arrives through frames as it was, or an error says what is missing."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace._wire.frames import LARGEST_PAYLOAD, Frame, FrameError, FrameKind, FrameReader, FrameWriter

_FRAMES = st.lists(st.tuples(st.sampled_from([FrameKind.STDOUT, FrameKind.STDERR, FrameKind.HEARTBEAT]), st.binary()))
_RESULT = (FrameKind.RESULT, b"{}")


def written(frames: list[tuple[FrameKind, bytes]]) -> bytes:
    """Return the bytes of these frames."""
    writer = FrameWriter()
    return b"".join(bytes(part) for kind, payload in frames for part in writer.write(kind, payload))


@given(_FRAMES, st.data())
def test_what_was_written_comes_out_wherever_the_stream_is_cut(
    frames: list[tuple[FrameKind, bytes]], data: st.DataObject
) -> None:
    whole = written([*frames, _RESULT])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    reader = FrameReader()
    read = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for frame in reader.feed(whole[start:end])
    ]
    reader.finish()
    for kind in (FrameKind.STDOUT, FrameKind.STDERR):
        assert _payloads(read, kind) == b"".join(payload for other, payload in frames if other is kind)
    assert [frame for frame in read if frame.kind is FrameKind.HEARTBEAT] == [
        frame for frame in frames if frame[0] is FrameKind.HEARTBEAT
    ]
    assert read[-1] == _RESULT
    # In their order, each stream's in those of the other.
    order = [kind for kind, payload in frames if payload or kind is FrameKind.HEARTBEAT]
    assert _without_repetitions([frame.kind for frame in read[:-1]]) == _without_repetitions(order)


def _payloads(frames: list[Frame], kind: FrameKind) -> bytes:
    return b"".join(frame.payload for frame in frames if frame.kind is kind)


def _without_repetitions(kinds: list[FrameKind]) -> list[FrameKind]:
    return [kind for kind, _ in groupby(kinds)]


def test_output_is_there_before_its_frame_is_complete() -> None:
    reader = FrameReader()
    whole = written([(FrameKind.STDOUT, b"0123456789")])
    assert list(reader.feed(whole[:-4])) == [Frame(FrameKind.STDOUT, b"012345")]
    assert list(reader.feed(whole[-4:])) == [Frame(FrameKind.STDOUT, b"6789")]


@given(_FRAMES)
def test_a_stream_that_is_not_whole_is_an_error(frames: list[tuple[FrameKind, bytes]]) -> None:
    whole = written([*frames, _RESULT])
    for end in range(len(whole)):
        reader = FrameReader()
        list(reader.feed(whole[:end]))
        with pytest.raises(FrameError, match="the stream ended"):
            reader.finish()


def test_a_large_payload_goes_in_several_frames() -> None:
    payload = bytes(range(256)) * (LARGEST_PAYLOAD // 256) + b"rest"
    frames = list(FrameReader().feed(written([(FrameKind.STDOUT, payload)])))
    assert frames == [Frame(FrameKind.STDOUT, payload[:LARGEST_PAYLOAD]), Frame(FrameKind.STDOUT, b"rest")]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (written([_RESULT]) * 2, "something follows the result"),
        (b"\7" + bytes(12), "frame 0 is of an unknown kind, 7"),
        (written([(FrameKind.STDOUT, b"a")]) * 2, "frame 1 was expected, and 0 came"),
        (b"\1" + bytes(8) + b"\xff\0\0\0", "frame 0 says it has 4278190080 bytes"),
        (b"HTTP/1.1 502 Bad Gateway", "frame 0 is of an unknown kind, 72"),
    ],
)
def test_what_is_no_stream_of_frames_is_refused(stream: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        list(FrameReader().feed(stream))
