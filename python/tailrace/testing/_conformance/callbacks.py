"""What callbacks have to be called with, and when."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ..._command.job import StreamName
from ..._command.result import Capture
from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import EVERY_BYTE, LARGE, LARGE_SCRIPT, lasting, print_every_byte

_STREAMS = pytest.mark.parametrize("stream", ["stdout", "stderr"])


class CallbackError(Exception):
    """What the callbacks of these tests raise."""


class CallbackConformance(ConformanceHooks):
    """Callbacks get the output while the command runs, where the adapter streams, and else are not called."""

    async def test_whether_it_streams_is_said_alike_in_both_places(self, runner: CommandRunner) -> None:
        assert runner.adapter.streams is runner.capabilities.streams

    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    async def test_the_start_is_told_once_and_before_the_output_or_quietly_not(
        self, is_async: bool, runner: CommandRunner
    ) -> None:
        told: list[str] = []

        async def note_later() -> None:
            await anyio.sleep(0.1)
            told.append("started")

        def note() -> None:
            told.append("started")

        def hear(_: str) -> None:
            told.append("output")

        await runner.run_script("echo begun", on_started=note_later if is_async else note, on_stdout=hear)
        expected = ["started"] if runner.capabilities.tells_start else []
        assert told == [*expected, *(["output"] if runner.capabilities.streams else [])]

    async def test_what_the_callback_of_the_start_raises_comes_out_unchanged_and_ends_the_command(
        self, runner: CommandRunner, mark: str
    ) -> None:
        error = CallbackError("from the callback")

        def fail() -> None:
            raise error

        if not runner.capabilities.tells_start:
            assert (await runner.run_script("echo done", on_started=fail)).stdout == "done\n"
            return
        limit = None if self.ends_abandoned_commands else self.startup + 2
        with pytest.raises(CallbackError) as caught:
            await runner.run_script(lasting(mark), timeout=limit, on_started=fail)
        assert caught.value is error
        await runner.wait_until_gone(mark)

    async def test_bytes_arrive_as_read_only_views_of_what_was_written(self, runner: CommandRunner) -> None:
        received: dict[str, list[memoryview]] = {"stdout": [], "stderr": []}
        result = await runner.run_script(
            f"{print_every_byte()}; {print_every_byte()} >&2",
            stream="bytes",
            on_stdout=received["stdout"].append,
            on_stderr=received["stderr"].append,
        )
        assert (result.stdout_bytes, result.stderr_bytes) == (EVERY_BYTE, EVERY_BYTE)
        written = EVERY_BYTE if runner.capabilities.streams else b""
        assert {name: b"".join(views) for name, views in received.items()} == {"stdout": written, "stderr": written}
        for view in (*received["stdout"], *received["stderr"]):
            assert isinstance(view, memoryview)
            assert view.readonly
            assert len(view) > 0

    @_STREAMS
    async def test_text_never_splits_a_character_and_replaces_what_is_none(
        self, stream: StreamName, runner: CommandRunner
    ) -> None:
        received: list[str] = []
        # The two bytes of one character, with time for them to be read apart; then half of one at the end.
        script = r"{ printf 'gr\303'; sleep 0.3; printf '\274n, \377, 猫 \303'; }" + _to(stream)
        result = await runner.run_script(script, **{f"on_{stream}": received.append})
        assert getattr(result, stream) == "grün, \ufffd, 猫 \ufffd"
        assert "".join(received) == ("grün, \ufffd, 猫 \ufffd" if runner.capabilities.streams else "")
        assert all(isinstance(piece, str) and piece for piece in received)

    @_STREAMS
    async def test_lines_are_whole_and_without_their_ends(self, stream: StreamName, runner: CommandRunner) -> None:
        received: list[str] = []
        script = r"{ printf 'one\ntw'; sleep 0.3; printf 'o\r\n10%%\r20%%\r\n\nlast'; }" + _to(stream)
        result = await runner.run_script(script, stream="lines", **{f"on_{stream}": received.append})
        assert getattr(result, f"{stream}_bytes") == b"one\ntwo\r\n10%\r20%\r\n\nlast"
        lines = ["one", "two", "10%", "20%", "", "last"]
        assert received == (lines if runner.capabilities.streams else [])

    @_STREAMS
    async def test_output_comes_while_the_command_runs(self, stream: StreamName, runner: CommandRunner) -> None:
        came_at: list[float] = []
        received: list[str] = []

        def note(text: str) -> None:
            came_at.append(anyio.current_time())
            received.append(text)

        script = "{ echo begun; sleep 0.6; echo done; }" + _to(stream)
        result = await runner.run_script(script, **{f"on_{stream}": note})
        assert getattr(result, stream) == "begun\ndone\n"
        if runner.capabilities.streams:
            assert "".join(received) == "begun\ndone\n"
            assert anyio.current_time() - came_at[0] > 0.3
        else:
            assert received == []

    async def test_a_slow_async_callback_is_awaited_before_the_next_call_and_misses_nothing(
        self, runner: CommandRunner
    ) -> None:
        received: list[bytes] = []
        is_busy = False

        async def take(view: memoryview) -> None:
            nonlocal is_busy
            assert not is_busy, "it was called again before it was done"
            is_busy = True
            await anyio.sleep(0.005)
            received.append(bytes(view))
            is_busy = False

        script = "for i in 1 2 3 4 5; do head -c 100000 /dev/zero | tr '\\0' $i; sleep 0.02; done"
        result = await runner.run_script(script, stream="bytes", on_stdout=take)
        written = b"".join(digit * 100_000 for digit in (b"1", b"2", b"3", b"4", b"5"))
        assert bool(result.stdout_bytes == written)
        assert bool(b"".join(received) == (written if runner.capabilities.streams else b""))
        assert not is_busy

    async def test_an_awaitable_that_a_plain_function_returns_is_awaited(self, runner: CommandRunner) -> None:
        received: list[str] = []

        async def take(text: str) -> None:
            await anyio.sleep(0.01)
            received.append(text)

        await runner.run_script("echo begun; sleep 0.2; echo done", on_stdout=lambda text: take(text))
        assert "".join(received) == ("begun\ndone\n" if runner.capabilities.streams else "")

    async def test_eight_mebibytes_arrive_whole_though_the_result_keeps_none(self, runner: CommandRunner) -> None:
        received: list[bytes] = []

        def take(view: memoryview) -> None:
            received.append(bytes(view))

        result = await runner.run_script(LARGE_SCRIPT, stream="bytes", on_stdout=take, capture=Capture.none())
        assert (result.stdout_bytes, result.truncated) == (b"", True)
        written = LARGE if runner.capabilities.streams else b""
        assert len(b"".join(received)) == len(written)
        assert bool(b"".join(received) == written), "the output has its length, but other bytes"

    async def test_merge_windows_change_no_output(self, runner: CommandRunner) -> None:
        received: list[str] = []
        script = "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done"
        result = await runner.run_script(script, stream="lines", merge_window=0.5, on_stdout=received.append)
        assert result.stdout == "1\n2\n3\n4\n5\n"
        assert received == (["1", "2", "3", "4", "5"] if runner.capabilities.streams else [])

    @_STREAMS
    @pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
    async def test_what_a_callback_raises_comes_out_unchanged_and_ends_the_command(
        self, is_async: bool, stream: StreamName, runner: CommandRunner, mark: str
    ) -> None:
        error = CallbackError("from the callback")
        calls: list[str] = []

        def fail(text: str) -> None:
            calls.append(text)
            raise error

        async def fail_later(text: str) -> None:
            calls.append(text)
            await anyio.sleep(0.01)
            raise error

        callback: dict[str, Any] = {f"on_{stream}": fail_later if is_async else fail}
        if not runner.capabilities.streams:
            result = await runner.run_script("{ echo begun; }" + _to(stream), **callback)
            assert getattr(result, stream) == "begun\n"
            assert calls == []
            return
        limit = None if self.ends_abandoned_commands else self.startup + 2
        first = "{ echo begun; sleep 0.1; echo more; }" + _to(stream)
        with pytest.raises(CallbackError) as caught:
            await runner.run_script(lasting(mark, first=first), timeout=limit, **callback)
        assert caught.value is error
        assert len(calls) == 1
        await runner.wait_until_gone(mark)


def _to(stream: StreamName) -> str:
    return " >&2" if stream == "stderr" else ""
