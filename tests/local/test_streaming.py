"""Every byte a command writes arrives, in order, once, in every mode."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.loops import on_every_loop
from support.processes import FAST_WRITER, python, resident_memory
from tailrace import Capture, LocalWorkerAdapter, WorkerError, WorkerJob, WorkerResult, WorkerTimeoutError

pytestmark = pytest.mark.anyio

Mode = Literal["bytes", "text", "lines"]
MODES: tuple[Mode, ...] = ("bytes", "text", "lines")

REPLAY = """
import json, os, sys, time
for stream, text, pause in json.loads(sys.argv[1]):
    view = memoryview(text.encode("latin-1"))
    while view:
        view = view[os.write(stream, view):]
    time.sleep(pause)
"""


backend: Literal["native", "python"]


@pytest.fixture(autouse=True, params=["native", "python"])
def _choose_backend(request: pytest.FixtureRequest) -> None:
    global backend
    backend = request.param


async def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(*command, **options))


def mebibytes(some: int, many: int) -> pytest.MarkDecorator:
    """Have a test take `size`: some MiB of output, and many where there is time."""
    return pytest.mark.parametrize("size", [some, pytest.param(many, marks=pytest.mark.stress)])


@mebibytes(200, 2048)
async def test_no_byte_is_lost_or_changed_at_full_speed(size: int) -> None:
    digest = hashlib.sha256()
    result = await execute(
        python(FAST_WRITER, str(size)), stream="bytes", on_stdout=digest.update, capture=Capture.tail(1000)
    )
    assert result.exit_code == 0
    assert digest.hexdigest() == result.stderr


@on_every_loop
async def test_the_buffered_result_is_complete_at_full_speed() -> None:
    digest = hashlib.sha256()
    result = await execute(python(FAST_WRITER, "100"), stream="bytes", on_stdout=digest.update)
    assert digest.hexdigest() == hashlib.sha256(result.stdout_bytes).hexdigest() == result.stderr
    assert not result.truncated


# Bytes where decoding and line splitting have something to get wrong, and any others.
tricky = [
    b"\n",
    b"\r",
    b"\r\n",
    *map(str.encode, "é€😀"),
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
]
pieces = st.one_of(
    st.lists(st.sampled_from(tricky), max_size=30).map(b"".join),
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=1),
    st.integers(1, 300_000).map(lambda size: (b"0123456789abcdef\n" * (size // 17 + 1))[:size]),
)
pauses = st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.001, 0.003])
plans = st.lists(st.tuples(st.sampled_from([1, 1, 2]), pieces, pauses), max_size=12)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans)
async def test_callbacks_join_to_the_result_and_to_what_was_written(
    mode: Mode, plan: list[tuple[int, bytes, float]]
) -> None:
    received: dict[int, list[Any]] = {1: [], 2: []}
    plan_text = json.dumps([(stream, piece.decode("latin-1"), pause) for stream, piece, pause in plan])
    # An argument may have 128 KiB: what is longer goes in several.
    command = python(REPLAY.replace("sys.argv[1]", "''.join(sys.argv[1:])"), *split(plan_text, 30_000))
    result = await execute(command, stream=mode, on_stdout=received[1].append, on_stderr=received[2].append)
    assert result.exit_code == 0
    for stream, kept in ((1, result.stdout_bytes), (2, result.stderr_bytes)):
        written = b"".join(piece for number, piece, _ in plan if number == stream)
        assert kept == written
        assert all(len(piece) > 0 for piece in received[stream]) or mode == "lines"
        if mode == "bytes":
            assert b"".join(received[stream]) == written
        elif mode == "text":
            assert "".join(received[stream]) == written.decode(errors="replace")
        else:
            assert received[stream] == lines(written)


def lines(written: bytes) -> list[str]:
    text = re.split("\r\n|\r|\n", written.decode(errors="replace"))
    return text if text[-1] else text[:-1]


def split(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


@mebibytes(10, 100)
async def test_a_line_of_any_length_arrives_whole(size: int) -> None:
    received: list[str] = []
    source = "import os, sys\nfor _ in range(int(sys.argv[1])): os.write(1, b'x' * (1 << 20))"
    result = await execute(python(source, str(size)), stream="lines", on_stdout=received.append, capture=Capture.none())
    assert result.exit_code == 0
    assert [len(line) for line in received] == [size << 20]


async def test_characters_split_between_reads_are_never_garbled() -> None:
    received: list[str] = []
    source = "import os\nfor _ in range(2000): os.write(1, b'\\xc3'); os.write(1, b'\\xa9' * 1)"
    result = await execute(python(source), on_stdout=received.append)
    assert "".join(received) == "é" * 2000 == result.stdout


async def test_an_invalid_byte_does_not_stop_the_reader() -> None:
    received: list[str] = []
    source = "import os\nos.write(1, b'before \\xff after\\n'); os.write(1, b'x' * 1_000_000)"
    result = await execute(python(source), on_stdout=received.append)
    assert "".join(received) == "before � after\n" + "x" * 1_000_000 == result.stdout


async def test_the_last_line_without_an_end_is_delivered() -> None:
    received: list[str] = []
    await execute(("printf", ["one\\ntwo"]), stream="lines", on_stdout=received.append)
    assert received == ["one", "two"]


async def test_a_progress_line_ended_by_a_return_is_delivered_at_once() -> None:
    seen: list[str] = []
    source = "import os, sys\nos.write(1, b'50%\\r')\nsys.stdin.read()\nimport time; time.sleep(20)"
    with anyio.move_on_after(10) as scope:

        def on_line(line: str) -> None:
            seen.append(line)
            scope.cancel()

        await execute(python(source), stream="lines", on_stdout=on_line)
    assert seen == ["50%"]


async def test_both_streams_are_live_while_the_other_is_silent_or_full() -> None:
    received: list[str] = []
    source = "import os\nos.write(2, b'e' * 5_000_000)\nos.write(1, b'out')"
    result = await execute(python(source), on_stdout=received.append)
    assert received == ["out"]
    assert len(result.stderr_bytes) == 5_000_000


async def test_a_line_longer_than_64_kb_is_no_problem() -> None:
    received: list[str] = []
    await execute(python("print('x' * 300_000)"), stream="lines", on_stdout=received.append)
    assert received == ["x" * 300_000]


@mebibytes(200, 2048)
@pytest.mark.parametrize("held_size", [10, 100_000])
async def test_a_view_keeps_its_bytes_however_much_has_passed(held_size: int, size: int) -> None:
    held: list[memoryview] = []

    def hold(view: memoryview) -> None:
        if not held:
            held.append(view)

    source = (
        "import os, sys, time\n"
        "os.write(1, b'first' * int(sys.argv[1])); time.sleep(0.2)\n"
        "for number in range(int(sys.argv[2])): os.write(1, bytes([number % 251]) * (1 << 20))"
    )
    await execute(python(source, str(held_size), str(size)), stream="bytes", on_stdout=hold, capture=Capture.none())
    assert held[0].readonly
    assert (b"first" * held_size).startswith(held[0])
    assert len(held[0]) >= 50


async def test_every_callback_of_bytes_gets_a_read_only_memoryview() -> None:
    received: list[object] = []
    await execute(python("import os; os.write(1, b'x' * 100_000)"), stream="bytes", on_stdout=received.append)
    assert all(isinstance(view, memoryview) and view.readonly for view in received)


@on_every_loop
async def test_memory_stays_flat_and_the_command_waits_while_a_callback_is_slow() -> None:
    source = "import os\nfor _ in range(300): os.write(1, b'x' * (1 << 20))"
    total = peak = 0
    base = resident_memory()

    async def slow(view: memoryview) -> None:
        nonlocal total, peak
        if total == 0:
            await anyio.sleep(1)
        total += len(view)
        peak = max(peak, resident_memory())

    await execute(python(source), stream="bytes", on_stdout=slow, capture=Capture.none())
    assert total == 300 << 20
    assert peak - base < 64 << 20


@on_every_loop
async def test_async_callbacks_are_awaited_in_order_before_the_next_call() -> None:
    events: list[str] = []

    async def on_line(line: str) -> None:
        events.append(f"begin {line}")
        await anyio.sleep(0.001)
        events.append(f"end {line}")

    source = "for number in range(20): print(number)"
    await execute(python(source), stream="lines", on_stdout=on_line)
    assert events == [f"{what} {number}" for number in range(20) for what in ("begin", "end")]


async def test_callbacks_run_in_the_task_that_called_execute() -> None:
    tasks = set()
    await execute(("echo", ["hello"]), on_stdout=lambda _: tasks.add(anyio.get_current_task().id))
    # Python alone reads the two streams in tasks of their own.
    assert (tasks == {anyio.get_current_task().id}) is (backend == "native")


@on_every_loop
async def test_a_busy_stream_leaves_the_event_loop_to_others() -> None:
    source = "import os\nfor _ in range(400_000 // 100): os.write(1, b'a line of output\\n' * 100)"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.lowlevel.checkpoint()
            ticks += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await execute(python(source), stream="lines", on_stdout=lambda line: line.split())
        tasks.cancel_scope.cancel()
    assert ticks > 10


@on_every_loop
async def test_a_burst_of_starts_leaves_the_event_loop_to_others() -> None:
    ticks = 0
    started_at: set[int] = set()

    class Environment(Mapping[str, str]):
        """Tells when it is read, which is when the command is started."""

        def __getitem__(self, name: str) -> str:
            return name

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            started_at.add(ticks)
            return iter(["NAME"])

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as ticking:
        ticking.start_soon(tick)
        async with anyio.create_task_group() as tasks:
            for job in [WorkerJob("true", env=Environment()) for _ in range(200)]:
                tasks.start_soon(LocalWorkerAdapter(backend=backend).execute, job)
        ticking.cancel_scope.cancel()
    assert len(started_at) > 10


@pytest.mark.parametrize(
    ("capture", "kept", "truncated"),
    [
        (Capture.full(), "0123456789", False),
        (Capture.tail(4), "6789", True),
        (Capture.tail(10), "0123456789", False),
        (Capture.head_tail(2, 3), "01789", True),
        (Capture.head_tail(5, 5), "0123456789", False),
        (Capture.none(), "", True),
    ],
)
async def test_a_capture_keeps_what_it_says_and_tells_when_something_is_missing(
    capture: Capture, kept: str, truncated: bool
) -> None:
    received: list[str] = []
    result = await execute(("printf", ["0123456789"]), capture=capture, on_stdout=received.append)
    assert "".join(received) == "0123456789"
    assert (result.stdout, result.truncated) == (kept, truncated)


async def test_a_large_tail_is_exact() -> None:
    source = "import os\nfor number in range(2_000_000 // 10): os.write(1, b'%09d\\n' % number)"
    result = await execute(python(source), capture=Capture.head_tail(20, 1_000_000))
    written = b"".join(b"%09d\n" % number for number in range(200_000))
    assert result.stdout_bytes == written[:20] + written[-1_000_000:]


@pytest.mark.parametrize(
    "capture", [Capture.full(), Capture.full(memory=100_000), Capture.head_tail(9, 200_000)], ids=repr
)
@pytest.mark.parametrize("end", [b"z", "é".encode(), b"\xff", b"\xe2\x82"], ids=repr)
async def test_the_text_of_a_result_is_its_bytes_decoded(capture: Capture, end: bytes) -> None:
    source = f"import sys; sys.stdout.buffer.write(b'abc' * 150_000 + {end!r})"
    result = await execute(python(source), capture=capture)
    assert result.stdout.endswith(end.decode(errors="replace"))
    assert result.stdout == result.stdout_bytes.decode(errors="replace")


async def test_output_beyond_the_memory_limit_is_complete_and_not_in_memory() -> None:
    digest = hashlib.sha256()
    base = resident_memory()
    result = await execute(
        python(FAST_WRITER, "200"), stream="bytes", on_stdout=digest.update, capture=Capture.full(memory=10 << 20)
    )
    assert resident_memory() - base < 100 << 20
    assert not result.truncated
    assert len(result.stdout_bytes) == 200 * ((1 << 20) + 8)
    assert digest.hexdigest() == hashlib.sha256(result.stdout_bytes).hexdigest() == result.stderr


async def test_a_temporary_folder_that_cannot_be_written_is_an_error_that_carries_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    with pytest.raises(WorkerError, match="a temporary file in /no/such/folder could not be written") as caught:
        source = "import os, time\nfor _ in range(1000): os.write(1, b'x' * 10_000)\ntime.sleep(60)"
        await execute(python(source), capture=Capture.full(memory=5000))
    assert caught.value.result is not None
    assert caught.value.result.stdout == "x" * 5000
    assert caught.value.result.truncated


@pytest.mark.stress
async def test_more_than_512_mib_of_output_does_not_end_the_host() -> None:
    digest = hashlib.sha256()
    result = await execute(
        python(FAST_WRITER, "600"), stream="bytes", on_stdout=digest.update, capture=Capture.full(memory=64 << 20)
    )
    assert len(result.stdout_bytes) == 600 * ((1 << 20) + 8)
    assert digest.hexdigest() == result.stderr


@mebibytes(200, 1000)
async def test_endless_stderr_fills_neither_memory_nor_disk(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    base = resident_memory()
    source = "import os, sys\nfor _ in range(int(sys.argv[1])): os.write(2, b'x' * (1 << 20))\nos.write(2, b'the end')"
    result = await execute(python(source, str(size)), capture=Capture.tail(65536))
    assert result.stderr.endswith("xthe end")
    assert (len(result.stderr_bytes), result.truncated) == (65536, True)
    assert resident_memory() - base < 32 << 20


@mebibytes(100, 1000)
async def test_huge_output_does_not_slow_the_command_down(size: int) -> None:
    source = "import os, sys\nfor _ in range(int(sys.argv[1])): os.write(1, b'x' * (1 << 20))"
    alone = timed_alone(source, size)
    result = await execute(python(source, str(size)), on_stdout=len, capture=Capture.none())
    assert result.duration < 20 * alone + 10


def timed_alone(source: str, size: int) -> float:
    command, args = python(source, str(size))
    started = time.monotonic()
    with subprocess.Popen([command, *args], stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while process.stdout.read(1 << 20):
            pass
    return time.monotonic() - started


MANY_SMALL_WRITES = """
import os, sys, time
for number in range(400):
    os.write(1, b"%d\\n" % number)
    time.sleep(0.002)
"""


@pytest.mark.parametrize("mode", MODES)
async def test_gathering_output_changes_no_byte_of_it(mode: Mode) -> None:
    pieces: list[Any] = []
    result = await execute(
        python(MANY_SMALL_WRITES),
        stream=mode,
        merge_window=0.1,
        on_stdout=lambda piece: pieces.append(bytes(piece) if mode == "bytes" else piece),
    )
    expected = "".join(f"{number}\n" for number in range(400))
    assert result.stdout == expected
    joined = b"".join(pieces).decode() if mode == "bytes" else "".join(pieces)
    assert joined == (expected if mode != "lines" else expected.replace("\n", ""))
    if backend == "native" and mode != "lines":
        # It takes 0.8 s at least, the pieces of which come in eight or nine windows.
        assert len(pieces) < 40


async def test_output_that_is_gathered_still_comes_while_the_command_runs() -> None:
    came: list[float] = []
    began = time.monotonic()
    await execute(
        python("import os, time\nfor _ in range(3): os.write(1, b'x'); time.sleep(1)"),
        stream="bytes",
        merge_window=0.02,
        on_stdout=lambda piece: came.append(time.monotonic() - began),
    )
    assert len(came) == 3
    assert came[2] - came[0] > 1


async def test_a_fast_writer_is_not_held_up_by_gathering() -> None:
    count = 0

    def add(piece: memoryview) -> None:
        nonlocal count
        count += len(piece)

    began = time.monotonic()
    await execute(
        ("dd", ["if=/dev/zero", "bs=512", "count=400000"]),
        stream="bytes",
        merge_window=0.2,
        on_stdout=add,
        capture=Capture.none(),
    )
    assert count == 400_000 * 512
    # A pipe that is emptied once in a window takes some 600 s for this.
    assert time.monotonic() - began < 60


async def test_a_silent_command_reaches_its_idle_limit_though_its_output_is_gathered() -> None:
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(
            python("import os, time\nfor _ in range(30): os.write(1, b'x'); time.sleep(0.02)\ntime.sleep(60)"),
            merge_window=0.02,
            idle_timeout=0.5,
            on_stdout=lambda piece: None,
        )
    assert caught.value.kind == "idle"
    assert caught.value.result is not None
    assert caught.value.result.stdout == "x" * 30


async def test_a_limit_shorter_than_the_gathering_sees_every_byte() -> None:
    result = await execute(
        python("import os, time\nfor _ in range(20): os.write(1, b'x'); time.sleep(0.1)"),
        merge_window=1,
        idle_timeout=0.9,
        on_stdout=lambda piece: None,
    )
    assert result.stdout == "x" * 20
