"""What `SlurmAdapter` is made of, where no Slurm is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.processes import PYTHON, wait_until_marked, wait_until_none_is_marked
from tailrace import SlurmAdapter, WorkerJob, WorkerSpawnError
from tailrace._engines.slurm.arguments import new_name, srun_arguments, time_option
from tailrace._engines.slurm.marked_stream import MarkedStream
from tailrace._engines.slurm.on_node import REQUEST, SCRIPT, duration, exit_code

MARK = "c0ffee"
BEGAN = f"\x1e{MARK} began 7 0 alpha 10.50\x1e\n".encode()
ENDED = f"\x1e{MARK} ended 12.75|0|\x1e\n".encode()
CANCELLED = b"slurmstepd-alpha: error: *** STEP 7.0 ON alpha CANCELLED AT 2030-01-01T00:00:00 ***\n"

SHELLS = {
    "sh": ["sh"],
    **({"bash": ["bash", "--posix"]} if shutil.which("bash") else {}),
    **({"busybox": ["busybox", "sh"]} if shutil.which("busybox") else {}),
}
shells = pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
"""Those of this machine: /bin/sh is another one elsewhere."""


def start(shell: list[str], folder: Path | str, *command: str) -> subprocess.Popen[bytes]:
    """Run a command as the node does."""
    args = [*shell, "-c", SCRIPT, "sh", MARK, str(folder), *command]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)


def outcome_of(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Return the exit code that is told, and what the command wrote to its standard output and error."""
    terminal, pipe = process.communicate(timeout=20)
    assert process.returncode == 0
    stdout = MarkedStream(MARK, is_shared=True)
    stderr = MarkedStream(MARK, is_shared=False)
    written = stdout.feed(pipe) + stdout.finish(), stderr.feed(terminal) + stderr.finish()
    assert stdout.ended is not None and stderr.ended is not None
    return exit_code(stdout.ended), *written


@shells
@pytest.mark.parametrize("number", [0, 1, 3, 127, 128, 129, 130, 137, 143, 145, 255])
def test_an_exit_code_is_told(shell: list[str], number: int) -> None:
    process = start(shell, "/", "sh", "-c", f"echo out; echo err >&2; sleep 0.3; exit {number}")
    assert outcome_of(process) == (number, b"out\n", b"err\n")


@shells
@pytest.mark.parametrize("number", [1, 9, 10, 13, 15, 34, 64])
def test_a_signal_is_told_apart_from_an_exit_code(shell: list[str], number: int) -> None:
    process = start(shell, "/", "sh", "-c", f"echo out; echo err >&2; kill -{number} $$; sleep 10")
    assert outcome_of(process) == (-number, b"out\n", b"err\n")


@shells
def test_the_command_is_asked_to_terminate_and_has_its_last_words(shell: list[str], mark: str) -> None:
    script = f"trap 'echo last words; exit 7' TERM; sh -c 'sleep 60; : {mark}' & echo begun; wait; : {mark}"
    process = start(shell, "/", "sh", "-c", script)
    wait_until_marked(mark, 2)
    time.sleep(0.1)
    for pid in _group_of(process.pid):
        _signal(pid, REQUEST)
    assert outcome_of(process) == (7, b"begun\nlast words\n", b"")
    wait_until_none_is_marked(mark)


@shells
def test_a_command_whose_daemon_is_gone_is_ended(shell: list[str], mark: str) -> None:
    # What starts the script, as slurmstepd does, ends after a second.
    source = (
        "import os, sys, time\nif os.fork() == 0:\n    os.setpgid(0, 0)\n    os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    script = f"while :; do sleep 1; done; : {mark}"
    command = [*PYTHON, "-c", source + "time.sleep(1)", *shell, "-c", SCRIPT, "sh", MARK, "/", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        wait_until_marked(mark)
        daemon.wait(20)
    wait_until_none_is_marked(mark)


@shells
@pytest.mark.parametrize(
    ("reason", "folder", "program"),
    [("no-folder", "/no/such", "true"), ("no-program", "/", "no-such-program"), ("no-permission", "/", "/dev")],
)
def test_what_cannot_be_started_is_told(shell: list[str], reason: str, folder: str, program: str) -> None:
    _, pipe = start(shell, folder, program).communicate(timeout=20)
    stream = MarkedStream(MARK, is_shared=True)
    assert stream.feed(pipe) == b""
    assert (stream.refused, stream.began, stream.ended) == (reason, None, None)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the data in pieces, of these sizes and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


OUTPUT = st.lists(
    st.sampled_from([b"slurmstepd", b"s", b"\x1e", b"\x1e" + MARK.encode(), b"\n", b"frame 1\n", b"\0\xff"])
)
SIZES = st.lists(st.integers(0, 30), max_size=40)


@given(OUTPUT, OUTPUT, SIZES)
def test_however_a_stream_is_cut_the_output_comes_out_and_nothing_else(
    first: list[bytes], second: list[bytes], sizes: list[int]
) -> None:
    # What stands in the same line before or behind it is not to be taken for a part of a message.
    before, behind = b"".join(first) + b"\n", b"".join(second)
    stream = MarkedStream(MARK, is_shared=True)
    data = b"slurmstepd: error: no TMPDIR\n" + BEGAN + before + CANCELLED + behind + b"\n" + ENDED
    output = b"".join(stream.feed(memoryview(piece)) for piece in cut(data, sizes)) + stream.finish()
    assert output == before + behind + b"\n"
    assert (stream.began, stream.ended) == ("7 0 alpha 10.50", "12.75|0|")
    assert stream.messages[-1] == CANCELLED.decode().rstrip()


@given(OUTPUT, SIZES)
def test_the_command_s_own_stream_loses_nothing_that_looks_like_slurm_s(words: list[bytes], sizes: list[int]) -> None:
    output = b"".join(words) + CANCELLED
    stream = MarkedStream(MARK, is_shared=False)
    pieces = cut(output + ENDED, sizes)
    assert b"".join(stream.feed(piece) for piece in pieces) + stream.finish() == output
    assert stream.ended == "12.75|0|"


@pytest.mark.parametrize(
    "line",
    [
        b"slurmstepd: error: Unable to do anything\n",
        CANCELLED.replace(b"7.0", b"7.1"),
        CANCELLED.replace(b"7.0", b"17.0"),
        CANCELLED.replace(b"STEP 7.0", b"JOB 6"),
        b"slurmstepd-alpha: error: no end of line ",
    ],
)
def test_what_looks_like_a_message_of_slurm_s_but_is_of_no_step_of_ours_is_the_command_s(line: bytes) -> None:
    stream = MarkedStream(MARK, is_shared=True)
    assert stream.feed(BEGAN + line + ENDED) + stream.finish() == line
    assert (stream.messages, stream.ended) == ([], "12.75|0|")


@pytest.mark.parametrize("named", [b"STEP 7.0", b"JOB 7", b"StepId=7.0", b"JobId=7"])
def test_what_slurm_says_of_the_step_is_no_output(named: bytes) -> None:
    stream = MarkedStream(MARK, is_shared=True)
    message = CANCELLED.replace(b"STEP 7.0", named)
    assert stream.feed(BEGAN + b"frame 1" + message + b" done\n" + ENDED) + stream.finish() == b"frame 1 done\n"
    assert stream.messages == [message.decode().rstrip()]


def test_what_comes_before_the_command_begins_is_none_of_its_output() -> None:
    stream = MarkedStream(MARK, is_shared=True)
    assert stream.feed(b"of a prolog\n" + BEGAN + b"frame 1\n") == b"frame 1\n"
    assert stream.messages == ["of a prolog"]


def test_only_what_may_be_the_beginning_of_a_message_is_kept_back() -> None:
    stream = MarkedStream(MARK, is_shared=True)
    assert stream.feed(BEGAN + b"frame 1 slurmst") == b"frame 1 "
    assert stream.feed(b"yle\rframe 2") == b"slurmstyle\rframe 2"


def test_what_was_cut_off_within_its_own_words_is_no_output() -> None:
    stream = MarkedStream(MARK, is_shared=True)
    assert stream.feed(BEGAN + b"frame 1" + ENDED[:-2]) + stream.finish() == b"frame 1"
    assert stream.ended is None


def test_the_time_is_the_node_s() -> None:
    assert duration("7 0 alpha 10.50", "12.75|0|") == 2.25


def arguments(job: WorkerJob, **options: object) -> list[str]:
    """Return the options that srun is called with for a job, without those that are always there."""
    both = [srun_arguments(each, "name", MARK, **{"in_allocation": False, **options}) for each in (WorkerJob("x"), job)]  # type: ignore[arg-type]
    ours = [args[: args.index("--")] for args in both]
    return [option for option in ours[1] if option not in ours[0] or options]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({}, []),
        ({"cpus": 1.5}, ["--cpus-per-task=2"]),
        ({"memory": 2**30 + 1}, ["--mem=1025M"]),
        ({"gpus": 2}, ["--gres=gpu:2"]),
        ({"nuke_i": 1, "arnold": 2}, ["--licenses=nuke_i:1,arnold:2"]),
        ({"cpus": 0, "memory": 0, "gpus": 0}, []),
    ],
)
def test_needs_become_what_slurm_is_asked_for(needs: dict[str, float], expected: list[str]) -> None:
    assert arguments(WorkerJob("x", meta={"needs": needs})) == expected


def test_a_step_takes_no_more_of_its_allocation_than_it_needs() -> None:
    options = arguments(WorkerJob("x"), in_allocation=True)
    assert options[-4:-1] == ["--exact", "--mem=0", "--gres=none"]


def test_the_options_of_the_user_come_last_and_nothing_of_the_job_is_taken_for_one() -> None:
    job = WorkerJob("render", ["--time=1", "a b"], env={"SECRET": "hidden"})
    args = srun_arguments(job, "name", MARK, in_allocation=False, exclude=["beta", "alpha"], place=["--qos=night"])
    end = args.index("--")
    # All but the name, by which the job is ended.
    assert args[end - 3 : end] == ["--exclude=alpha,beta", "--qos=night", "--job-name=name"]
    assert args[-3:] == ["render", "--time=1", "a b"]
    assert not any("hidden" in arg for arg in args)


def test_a_job_s_name_has_its_chunk_and_is_nobody_else_s() -> None:
    job = WorkerJob("x", meta={"chunk_id": 12})
    assert new_name(job).startswith("tailrace-12-")
    assert new_name(job) != new_name(job)


def test_time_limits_are_seconds() -> None:
    assert time_option(90.2) == "--time=0:91"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: SlurmAdapter(options="--qos=night"), TypeError),
        (lambda: SlurmAdapter(time_limit=0), ValueError),
        (lambda: SlurmAdapter(partition=1), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_used_is_refused(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.anyio
async def test_without_srun_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with anyio.fail_after(20), pytest.raises(WorkerSpawnError, match=r"cannot start srun: .* not in the PATH"):
        await SlurmAdapter().execute(WorkerJob("true"))


def _group_of(number: int) -> list[int]:
    listed = subprocess.run(["ps", "-e", "-o", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, group in pairs if int(group) == number]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
