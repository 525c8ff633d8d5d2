"""Frames are looked at by a few processes, which cost nobody anything and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from support.frame_files import AT_ONCE, check, cut, ffmpeg, noise, oiiotool, slow_picture
from support.loops import on_every_loop, on_one_loop
from tailrace import TailraceError, check_frame, check_frames
from tailrace._frames import checker as checker_module
from tailrace._frames.checker import FrameChecker, missing_tools
from tailrace._frames.decoder import FrameLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one, which is whole."""
    return noise(tmp_path_factory.mktemp("picture") / "n.png")


@pytest.fixture(scope="module")
def endless_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes a minute."""
    return slow_picture(tmp_path_factory.mktemp("slow") / "endless.tif", images=500)


@pytest.fixture(scope="module")
def slow_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes a minute: the same few frames again and again."""
    folder = tmp_path_factory.mktemp("slow")
    short, path = folder / "short.mkv", folder / "slow.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1280x720", "-frames:v", "50", "-preset", "ultrafast", short)
    ffmpeg("-stream_loop", "600", "-i", short, "-c", "copy", path)
    return path


async def test_many_files_are_told_in_the_order_in_which_they_were_given(picture: Path, tmp_path: Path) -> None:
    paths: list[Path] = []
    for number in range(12):
        path = tmp_path / f"f.{number:04}.png"
        cut(path, data_of(picture)[: None if number % 3 else 2000])
        paths.insert(0, path)
    found = await check_frames(paths, concurrency=2)
    assert [(one.path, one.ok) for one in found] == [(str(path), int(path.stem[2:]) % 3 > 0) for path in paths]
    assert await check_frames([]) == []
    assert children() == []


def test_one_file_is_looked_at_without_an_event_loop(picture: Path) -> None:
    found = check_frame(picture)
    assert (found.ok, found.kind, found.format, found.width, found.height) == (True, "picture", "png", 160, 96)
    assert children() == []


async def test_what_cannot_be_used_is_refused_with_its_name(picture: Path) -> None:
    with pytest.raises(ValueError, match="path must not contain a NUL byte"):
        check_frame("a\0b.png")
    with pytest.raises(TypeError, match="path must be a path"):
        check_frame(b"a.png")  # type: ignore[arg-type]
    for one in (str(picture), picture):
        with pytest.raises(
            TypeError, match=r"paths must be several paths, such as a list, not .*: one is for check_frame"
        ):
            await check_frames(one)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must be 'exist', 'whole' or 'looks', not 'all'"):
        await check_frames([picture], level="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind must be 'picture', 'video', 'other' or None, not 'png'"):
        check_frame(picture, kind="png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frames must be at least 1: 0"):
        check_frame(picture, frames=0)
    with pytest.raises(ValueError, match="concurrency must be at least 1: 0"):
        await check_frames([picture], concurrency=0)


@on_every_loop
async def test_a_file_is_decoded_once_while_it_does_not_change(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cut(tmp_path / "n.png", data_of(picture))
    async with FrameChecker(limits=AT_ONCE) as checker:
        asked = counted(checker, monkeypatch)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(checker.check, path)
        assert len(asked) == 1
        await checker.check(path, level="looks")
        assert len(asked) == 2
        found = await checker.check(path)
        # What was seen more closely is known.
        assert (len(asked), found.level, found.ok) == (2, "whole", True)
        # Same size, same name, another time.
        os.utime(path, ns=(1, 1))
        await checker.check(path)
        os.utime(path, ns=(2, 2))
        cut(path, data_of(picture)[:-20])
        assert not (await checker.check(path)).ok
        assert len(asked) == 4


def counted(checker: FrameChecker, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what the processes of a checker are asked from now on."""
    asked: list[object] = []
    original = checker._read

    async def read(key: object, given: str) -> object:
        asked.append(key)
        return await original(key, given)  # type: ignore[arg-type]

    monkeypatch.setattr(checker, "_read", read)
    return asked


async def test_a_decoder_that_crashes_costs_its_own_picture_alone(picture: Path, endless_picture: Path) -> None:
    async with FrameChecker(concurrency=1, limits=AT_ONCE) as checker:
        assert (await checker.check(picture)).ok
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill_decoder, checker, signal.SIGSEGV)
            found = await checker.check(endless_picture)
        assert found.reason == "cannot be decoded: its decoder ended with signal 11"
        os.utime(picture)
        assert (await checker.check(picture)).ok
        # It is not tried again with what is known to end it.
        assert not (await checker.check(endless_picture)).ok
    assert children() == []


@on_every_loop
async def test_a_decoder_that_is_killed_says_nothing_of_its_picture(
    picture: Path, endless_picture: Path, tmp_path: Path
) -> None:
    other = cut(tmp_path / "other.png", data_of(picture))
    slow = slow_picture(tmp_path / "slow.tif", images=8)
    async with FrameChecker(concurrency=1, limits=AT_ONCE) as checker:
        assert (await checker.check(picture)).ok
        # One that has nothing to do.
        ((idle, _),) = checker._pool._idle
        idle._process.kill()
        idle._process.wait()
        assert (await checker.check(other)).ok
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill_decoder, checker, signal.SIGKILL)
            assert (await checker.check(slow)).ok
        with anyio.CancelScope() as killing:
            async with anyio.create_task_group() as tasks:

                async def kill_each() -> None:
                    while True:
                        await kill_decoder(checker, signal.SIGKILL)

                tasks.start_soon(kill_each)
                with pytest.raises(TailraceError, match=r"endless.tif was not looked at: .* is the memory full"):
                    await checker.check(endless_picture)
                killing.cancel()
    assert children() == []


async def kill_decoder(checker: FrameChecker, number: int) -> None:
    """Send a signal to the process that is at work."""
    await until(lambda: bool(checker._pool._busy))
    await anyio.sleep(0.2)
    (decoder,) = checker._pool._busy
    os.kill(decoder._process.pid, number)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (
            FrameLimits(yields=False, samples=1_000_000),
            "has 4000 x 4000 pixels of 3 channels, 48,000,000 values: more than the 1,000,000 that are read",
        ),
        (
            FrameLimits(yields=False, processor_time=0.01),
            "is given up: its decoder took more than 0.01 s of processor time",
        ),
    ],
    ids=["samples", "processor-time"],
)
@on_one_loop
async def test_a_picture_that_takes_more_than_it_may_is_given_up(
    limits: FrameLimits, reason: str, endless_picture: Path, picture: Path
) -> None:
    async with FrameChecker(concurrency=1, limits=limits) as checker:
        # Until it has loaded its libraries it has used a part of its time.
        with contextlib.suppress(TailraceError):
            await checker.check(picture)
        assert (await checker.check(endless_picture)).reason == reason
    assert children() == []


@on_one_loop
async def test_a_disk_or_a_processor_that_lets_wait_is_no_fault_of_the_file(endless_picture: Path) -> None:
    async with FrameChecker(concurrency=1, limits=FrameLimits(yields=False, wall_time=0.3)) as checker:
        with pytest.raises(TailraceError, match=r"endless.tif was not looked at: nothing came of it within 0.3 s"):
            await checker.check(endless_picture)
    assert children() == []


@on_every_loop
async def test_a_disk_that_does_not_answer_does_not_keep_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    stat = os.stat

    def hanging_stat(path: str) -> os.stat_result:
        if str(path).endswith("hung.png"):
            answers.wait(30)
        return stat(path)

    monkeypatch.setattr(os, "stat", hanging_stat)
    began = time.monotonic()
    with anyio.move_on_after(0.2):
        await check_frames([tmp_path / "hung.png"])
    answers.set()
    assert time.monotonic() - began < 10


@on_one_loop
async def test_a_picture_that_takes_more_memory_than_it_may_is_given_up(picture: Path, tmp_path: Path) -> None:
    # This format has to be decoded as a whole.
    oiiotool("--pattern", "constant:color=0.5,0.5,0.5", "4500x4500", "3", "-o", tmp_path / "big.webp")
    async with FrameChecker(concurrency=1, limits=FrameLimits(yields=False, memory=100 << 20)) as checker:
        found = await checker.check(tmp_path / "big.webp")
        assert str(found.reason).startswith("needs more than 0.0977 GiB of memory")
        assert (await checker.check(picture)).ok
    assert (await check(tmp_path / "big.webp"))[0].ok


@pytest.mark.parametrize("kind", ["picture", "video"])
@on_every_loop
async def test_a_cancellation_ends_the_work_and_leaves_nothing_behind(
    kind: str, endless_picture: Path, slow_video: Path
) -> None:
    path = endless_picture if kind == "picture" else slow_video
    async with FrameChecker(limits=AT_ONCE) as checker:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(checker.check, path)
                await until(lambda: len(children()) == (1 if kind == "picture" else 2))
                began = time.monotonic()
                scope.cancel()
        assert time.monotonic() - began < 5
        await until(lambda: children() == [])
        assert checker._pool._busy == set()


@on_one_loop
async def test_leaving_a_checker_ends_its_processes(picture: Path) -> None:
    async with FrameChecker(limits=AT_ONCE) as checker:
        await checker.check(picture)
        assert len(children()) == 1
    assert children() == []


@on_every_loop
async def test_leaving_a_checker_ends_also_what_is_at_work(picture: Path, endless_picture: Path) -> None:
    told: list[str] = []

    async def ask(checker: FrameChecker, path: Path) -> None:
        try:
            await checker.check(path)
        except TailraceError as error:
            told.append(str(error))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, FrameChecker(concurrency=1, limits=AT_ONCE) as checker:
            tasks.start_soon(ask, checker, endless_picture)
            await until(lambda: bool(checker._pool._busy))
            # It waits for the same process.
            tasks.start_soon(ask, checker, picture)
            await anyio.sleep(0.3)
    expected = (f"{path} was not looked at: nobody waits for it any more" for path in (endless_picture, picture))
    assert sorted(told) == sorted(expected)
    assert children() == []


@on_one_loop
async def test_processes_that_do_not_end_are_waited_for_together(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [cut(tmp_path / f"{number}.png", data_of(picture)) for number in range(4)]
    async with FrameChecker(concurrency=4, limits=AT_ONCE) as checker:
        async with anyio.create_task_group() as tasks:
            for path in paths:
                tasks.start_soon(checker.check, path)
        count = len(children())
        # As with a disk that does not answer: the kernel keeps them.
        monkeypatch.setattr("tailrace._frames.decoder.Decoder.is_gone", lambda decoder: False)
        monkeypatch.setattr("tailrace._frames.decoder._PATIENCE", 0.5)
        began = time.monotonic()
    assert count > 1
    assert time.monotonic() - began < 0.5 * count


HOST = """
import sys, anyio
from tailrace._frames.checker import FrameChecker
from tailrace._frames.decoder import FrameLimits
async def main():
    async with FrameChecker(limits=FrameLimits(yields=False)) as checker:
        await checker.check(sys.argv[1])
anyio.run(main)
"""


@pytest.mark.parametrize("kind", ["picture", "video"])
@on_one_loop
async def test_the_processes_die_with_their_parent_whatever_killed_it(
    kind: str, endless_picture: Path, slow_video: Path
) -> None:
    path = endless_picture if kind == "picture" else slow_video
    host = start_host(path)
    await until(lambda: len(children(host.pid)) == (1 if kind == "picture" else 2))
    # It is at work by then.
    await until(lambda: processor_time(children(host.pid)[-1]) > 0.7)
    started = children(host.pid)
    host.kill()
    host.wait()
    killed = time.monotonic()
    await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in started))
    assert time.monotonic() - killed < 10


@on_one_loop
async def test_the_processes_take_only_what_others_leave(picture: Path) -> None:
    async with FrameChecker(concurrency=1) as checker:
        await checker.check(picture)
        (process,) = children()
        check_that_it_yields(process)


def check_that_it_yields(process: int) -> None:
    """Fail unless a process is behind all others, by itself and by the group of its session."""
    assert os.sched_getscheduler(process) == os.SCHED_IDLE
    # Without sessions of their own (a kernel without them, or a start by the system), the text is
    # missing or empty, and the scheduler's class alone decides.
    group = autogroup(process)
    assert not group or group[-1] == "19"
    own = autogroup(os.getpid())
    assert not own or own[-1] != "19"
    # Where the memory is full, it goes before a render.
    assert Path(f"/proc/{process}/oom_score_adj").read_text() == "1000\n"


def autogroup(process: int) -> list[str]:
    """The words that the kernel says of the group a process is scheduled in, none without one."""
    try:
        return Path(f"/proc/{process}/autogroup").read_text().split()
    except FileNotFoundError:
        return []


@on_one_loop
async def test_a_file_that_is_written_to_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    path = slow_picture(tmp_path / "slow.tif", images=12)
    async with FrameChecker(concurrency=1, limits=AT_ONCE) as checker:
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                await until(lambda: bool(checker._pool._busy))
                await anyio.sleep(0.3)
                cut(path, data_of(path)[:-100])

            tasks.start_soon(write)
            found = await checker.check(path)
        assert (found.ok, found.level) == (False, "whole")
        assert "cut short" in str(found.reason)


@on_one_loop
async def test_without_openimageio_the_error_names_the_command_that_installs_it(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As without the extra: nothing of it is found.
    monkeypatch.setattr("tailrace._frames.decoder._NEEDED", ("tailrace",))
    monkeypatch.setattr("tailrace._frames.decoder._folders", lambda: only_tailrace())
    with pytest.raises(ImportError, match=r"a look at a picture needs .*: pip install 'tailrace\[frames\]'"):
        await check(picture)
    with pytest.raises(ImportError, match=r"pip install 'tailrace\[frames\]'"):
        check_frame(picture)


def only_tailrace() -> list[str]:
    """Return the folder of tailrace alone."""
    return [str(Path(checker_module.__file__).parents[2])]


def test_what_is_missing_is_told_before_anything_is_rendered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert missing_tools(["a.png", "b.mp4"], "whole") == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools(["a.png"], "whole") == []
    assert missing_tools(["b.mp4"], "exist") == []
    (line,) = missing_tools(["a.png", "b.mp4"], "looks")
    assert "ffmpeg" in line


def test_nothing_of_openimageio_is_loaded_in_the_process_of_who_asks(picture: Path) -> None:
    program = "import sys, tailrace as t; t.check_frame(sys.argv[1]); print({'numpy', 'OpenImageIO'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", program, picture], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def data_of(path: Path) -> bytes:
    """Return what is in a file."""
    return path.read_bytes()


def start_host(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that has a file looked at."""
    return subprocess.Popen([sys.executable, "-c", HOST, path])


def children(parent: int | None = None) -> list[int]:
    """Return the processes that decode for this process or another one, with those that they have started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if fields[0] not in "ZX" and int(fields[1]) == (parent or os.getpid()) and b"_frames.child" in command:
                found += [int(folder.name), *descendants(int(folder.name))]
    return found


def descendants(parent: int) -> list[int]:
    """Return the children of a process."""
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def processor_time(process: int) -> float:
    """Return how many seconds a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(is_so: Callable[[], bool]) -> None:
    """Return when something is so."""
    with anyio.fail_after(60):
        while not is_so():  # noqa: ASYNC110
            await anyio.sleep(0.01)
