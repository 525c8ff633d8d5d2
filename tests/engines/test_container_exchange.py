"""A container's first process, its stand-in here, and what both are told; this process takes the container's part."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from tailrace._engines.containers import exchange as exchange_module
from tailrace._engines.containers.exchange import SOCKET, Exchange, remove_left_behind
from tailrace._engines.containers.outcome import EndedBy, Kind, Outcome

pytestmark = pytest.mark.anyio


class Command(NamedTuple):
    """What the first process of a container is sent."""

    link: socket.socket
    stdout: FileIO
    stderr: FileIO
    outcome: FileIO
    variables: FileIO


@contextmanager
def stand_in(exchange: Exchange) -> Iterator[subprocess.Popen[bytes]]:
    words: list[str | Path] = [exchange.init, SOCKET]
    with subprocess.Popen(words, cwd=exchange.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def connected(exchange: Exchange) -> socket.socket:
    container = socket.socket(socket.AF_UNIX)
    folder = os.open(exchange.folder, os.O_PATH)
    container.connect(f"/proc/self/fd/{folder}/{SOCKET}")
    os.close(folder)
    container.settimeout(10)
    return container


@asynccontextmanager
async def begun(
    exchange: Exchange, container: socket.socket, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    await exchange.meet_container()
    assert await exchange.begin(variables or {})
    _, (link, *others), _, _ = socket.recv_fds(container, 1, 5)
    files = [FileIO(file, mode) for file, mode in zip(others, ("w", "w", "r+", "r+"), strict=True)]
    with ExitStack() as stack:
        for file in files:
            stack.enter_context(file)
        connection = stack.enter_context(socket.socket(fileno=link))
        connection.settimeout(10)
        yield Command(connection, *files)


async def test_a_stand_in_hands_on_its_pipes_and_ends_with_the_container() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange) as process:
        async with begun(exchange, container, {"A": "1", "B": "two\nlines"}) as command:
            assert os.pread(command.variables.fileno(), 100, 0) == b"A=1\0B=two\nlines\0"
            command.stdout.write(b"out")
            command.stderr.write(b"err")
            assert process.poll() is None
        assert process.communicate(timeout=10) == (b"out", b"err")
        assert process.returncode == 0
        assert not await exchange.is_over(0)
        container.close()
        assert await exchange.is_over(10)


async def test_a_stand_in_that_is_to_terminate_tells_the_container_and_waits_for_it() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange) as process:
        async with begun(exchange, container) as command:
            process.terminate()
            assert command.link.recv(1) == b""
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
        assert process.wait(10) == 0


async def test_a_stand_in_that_is_killed_ends_the_link() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange) as process:
        async with begun(exchange, container) as command:
            process.kill()
            assert command.link.recv(1) == b""


async def test_a_command_whose_stand_in_does_not_come_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "_STAND_IN_TIME", 0.1)
    with Exchange("tailrace-a") as exchange, connected(exchange) as container:
        await exchange.meet_container()
        assert not await exchange.begin({})
        exchange.call_off()
        assert socket.recv_fds(container, 1, 5)[:2] == (b"", [])


async def test_a_command_whose_stand_in_has_connected_and_gone_is_not_begun() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container:
        await exchange.meet_container()
        connected(exchange).close()
        assert not await exchange.begin({})
        exchange.call_off()
        assert socket.recv_fds(container, 1, 5)[:2] == (b"", [])


async def test_a_command_is_not_begun_in_a_container_that_is_gone() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange):
        await exchange.meet_container()
        container.close()
        assert not await exchange.begin({})


def test_what_could_not_be_made_leaves_no_folder_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(_: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(os, "memfd_create", lack)
    with pytest.raises(OSError, match="Too many open files"):
        Exchange("tailrace-a")
    assert list(tmp_path.iterdir()) == []
    assert sorted(Path("/proc/self/fd").iterdir()) == before


async def test_a_long_folder_for_temporary_files_has_room_for_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange):
        async with begun(exchange, container):
            pass


async def test_what_became_of_a_command_is_read_from_what_the_first_process_was_sent() -> None:
    with Exchange("tailrace-a") as exchange, connected(exchange) as container, stand_in(exchange):
        assert exchange.outcome() is None
        async with begun(exchange, container) as command:
            command.outcome.write(struct.pack("=7q", Kind.SIGNALLED, signal.SIGKILL, 0, 1, 10**6, 0, 2))
        outcome = exchange.outcome()
        assert outcome == Outcome(Kind.SIGNALLED, signal.SIGKILL, EndedBy.NOBODY, 1, 1.0, 0.0, 2048)
        assert outcome.exit_code == -signal.SIGKILL
        assert outcome.was_killed_for_memory
        assert not outcome._replace(ended_by=EndedBy.OUTSIDE).was_killed_for_memory


def test_the_first_process_does_nothing_where_it_is_not_the_first() -> None:
    with Exchange("tailrace-a") as exchange:
        assert subprocess.run([exchange.init, "1000", "true"], check=False).returncode == 125
        assert subprocess.run([exchange.init, "no-such-socket"], check=False).returncode == 125


async def test_nobody_is_there_before_a_container_has_come() -> None:
    with Exchange("tailrace-a") as exchange:
        exchange.call_off()
        assert not await exchange.is_over(0)
        with anyio.move_on_after(0.1) as scope:
            await exchange.meet_container()
        assert scope.cancelled_caught


def test_folders_of_hosts_that_are_gone_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "tailrace-other").mkdir()
    with Exchange("tailrace-gone") as left, Exchange("tailrace-here") as kept:
        remove_left_behind(lambda name: name == "tailrace-gone")
        assert not left.folder.exists()
        assert kept.folder.exists()
    assert (tmp_path / "tailrace-other").exists()
