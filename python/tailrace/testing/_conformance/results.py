"""What a result has to hold."""

from __future__ import annotations

import signal

import anyio
import pytest

from ..._command.result import Capture
from ..._errors import WorkerSpawnError
from .command_runner import CommandRunner
from .hooks import ConformanceHooks
from .scripts import EVERY_BYTE, LARGE, LARGE_SCRIPT, print_every_byte

_KEPT = [
    (Capture.full(), b"0123456789", False),
    (Capture.tail(4), b"6789", True),
    (Capture.tail(10), b"0123456789", False),
    (Capture.head_tail(2, 3), b"01789", True),
    (Capture.none(), b"", True),
]


class ResultConformance(ConformanceHooks):
    """A result holds the exit code and the output of the command, as they were."""

    @pytest.mark.parametrize("exit_code", [0, 1, 3, 100])
    async def test_the_exit_code_is_that_of_the_command(self, exit_code: int, runner: CommandRunner) -> None:
        assert (await runner.run_script(f"exit {exit_code}")).exit_code == exit_code

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
    async def test_a_signal_is_told_by_its_negative_number(self, number: int, runner: CommandRunner) -> None:
        assert (await runner.run_script(f"kill -{int(number)} $$; sleep 10")).exit_code == -number

    async def test_both_streams_come_apart(self, runner: CommandRunner) -> None:
        result = await runner.run_script("echo one; echo two >&2; echo three")
        assert (result.stdout, result.stderr) == ("one\nthree\n", "two\n")

    async def test_a_command_without_output_has_an_empty_result(self, runner: CommandRunner) -> None:
        result = await runner.run(["true"])
        assert (result.exit_code, result.stdout_bytes, result.stderr_bytes, result.truncated) == (0, b"", b"", False)

    async def test_every_byte_comes_back_as_it_was(self, runner: CommandRunner) -> None:
        result = await runner.run_script(f"{print_every_byte()}; {print_every_byte()} >&2")
        assert (result.stdout_bytes, result.stderr_bytes) == (EVERY_BYTE, EVERY_BYTE)

    async def test_text_beyond_ascii_goes_in_and_out(self, runner: CommandRunner) -> None:
        result = await runner.run_script("printf %s 'Größe: 5 µm, 猫, 🎬'; printf %s 'schön' >&2")
        assert (result.stdout, result.stderr) == ("Größe: 5 µm, 猫, 🎬", "schön")

    async def test_what_is_no_utf8_becomes_a_replacement_character_in_the_text(self, runner: CommandRunner) -> None:
        result = await runner.run_script(r"printf 'caf\351 \303'")
        assert (result.stdout, result.stdout_bytes) == ("caf\ufffd \ufffd", b"caf\xe9 \xc3")

    async def test_eight_mebibytes_come_whole_or_are_marked(self, runner: CommandRunner) -> None:
        result = await runner.run_script(f"{LARGE_SCRIPT}; exit 3")
        assert result.exit_code == 3
        if self.largest_output is None or self.largest_output >= len(LARGE):
            # Not by `==`, of which pytest would show a difference of megabytes.
            assert len(result.stdout_bytes) == len(LARGE)
            assert bool(result.stdout_bytes == LARGE), "the output has its length, but other bytes"
            assert not result.truncated
        else:
            assert result.truncated
            assert 0 < len(result.stdout_bytes) < len(LARGE)

    @pytest.mark.parametrize(
        ("capture", "kept", "truncated"), _KEPT, ids=["all", "tail", "all-in-tail", "head-and-tail", "nothing"]
    )
    async def test_the_capture_says_what_is_kept(
        self, capture: Capture, kept: bytes, truncated: bool, runner: CommandRunner
    ) -> None:
        result = await runner.run_script("printf 0123456789; printf 0123456789 >&2", capture=capture)
        assert (result.stdout_bytes, result.stderr_bytes, result.truncated) == (kept, kept, truncated)

    async def test_the_duration_is_how_long_the_command_ran(self, runner: CommandRunner) -> None:
        began = anyio.current_time()
        result = await runner.run_script("sleep 0.5")
        assert 0.4 < result.duration < anyio.current_time() - began + 0.1

    async def test_a_program_that_does_not_exist_cannot_be_started(self, runner: CommandRunner) -> None:
        with pytest.raises(WorkerSpawnError, match="tailrace-no-such-program"):
            await runner.run(["tailrace-no-such-program", "--frame", "1"])
