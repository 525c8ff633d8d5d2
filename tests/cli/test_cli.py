"""The command line, as its users run it: real processes, signals and pipes."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import pytest

from support.jobs import count_lines, job, names_in
from support.processes import descendants_marked, fork_beside_threads, wait_until_marked
from support.tunnel import search_path
from tailrace import JobSpec
from tailrace._cli.arguments import parse_limit

TAILRACE = (sys.executable, "-m", "tailrace")


def write_job(folder: Path, *scripts: str, merge: str | None = None) -> str:
    path = folder / "job.json"
    path.write_text(job(*scripts, merge=merge).model_dump_json(by_alias=True))
    return str(path)


def tailrace(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*TAILRACE, *args], capture_output=True, timeout=200, cwd=cwd)


def test_one_chunk_at_a_time_goes_through_byte_for_byte(tmp_path: Path) -> None:
    odd = r"printf 'a\rb\377\n\303\251 no end'"
    result = tailrace("job", "run", write_job(tmp_path, odd, "printf second; printf err >&2"))
    assert result.returncode == 0
    assert result.stdout == b"a\rb\xff\n\xc3\xa9 no endsecond"
    assert b"err" in result.stderr


def test_several_chunks_at_a_time_get_whole_lines_with_a_prefix(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5; do printf x; sleep 0.02; echo y; done; printf 'last\\377'"
    result = tailrace("job", "run", write_job(tmp_path, *[script] * 3), "--concurrency", "3")
    assert result.returncode == 0
    expected = [b"[chunk %d] xy" % chunk for chunk in range(3)] * 5 + [b"[chunk %d] last\xff" % n for n in range(3)]
    assert sorted(result.stdout.splitlines()) == sorted(expected)


def test_a_progress_bar_is_neither_one_endless_line_nor_a_pyramid(tmp_path: Path) -> None:
    script = r"for i in 1 2 3; do printf '%d0%%\r' $i >&2; done"
    result = tailrace("job", "run", write_job(tmp_path, script, script), "--concurrency", "2")
    assert result.stderr.count(b"[chunk 0] 10%\n[chunk 0] 20%\n[chunk 0] 30%\n") == 1


def test_output_arrives_while_the_chunk_runs(tmp_path: Path) -> None:
    command = [*TAILRACE, "job", "run", write_job(tmp_path, "echo first; sleep 5; echo last")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        assert process.poll() is None
        process.terminate()


def test_the_merge_runs_and_its_output_is_shown(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo 0 > chunk_0", "echo 1 > chunk_1", merge="cat chunk_0 chunk_1 | tee merged")
    result = tailrace("job", "run", spec, "--verify-output")
    assert (result.returncode, (tmp_path / "merged").read_text(), result.stdout) == (0, "0\n1\n", b"0\n1\n")
    assert b"job job-1: 2 chunks done, merged" in result.stderr


def test_no_merge_and_a_single_chunk_leave_the_merge_out(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo zero", "echo one", merge="touch merged")
    assert tailrace("job", "run", spec, "--no-merge").stdout == b"zero\none\n"
    assert tailrace("job", "run", spec, "--chunk", "1").stdout == b"one\n"
    result = tailrace("job", "run", spec, "--chunk", "1", "--chunk", "0")
    assert result.stdout == b"zero\none\n"
    assert b"2 chunks done" in result.stderr
    assert not (tmp_path / "merged").exists()


def test_what_a_command_left_running_is_not_ended_without_a_word(tmp_path: Path) -> None:
    run = tailrace("job", "run", write_job(tmp_path, "rm -f g; (sleep 60; echo real > g) & echo submitted"))
    assert (run.returncode, run.stdout) == (0, b"submitted\n")
    assert (
        run.stderr.count(b"tailrace: chunk 0: what it left running kept its output open, and was ended after 2 s") == 1
    )


def test_a_failed_chunk_is_status_1_and_the_command_for_what_is_missing_is_printed(tmp_path: Path) -> None:
    script = "echo run >> runs; echo 0 > chunk_0"
    written = Path(
        write_job(tmp_path, script, "test -e 'it is there' && echo 1 > chunk_1", merge="cat chunk_? > merged")
    )
    spec = str(written.rename(tmp_path / "a job.json"))
    result = tailrace("job", "run", spec, "--retry-delay", "0.1", "--verify-output")
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert result.stderr.count(b"chunk 1 failed: sh exited with status 1") == 1
    found = re.search(r"to run what is missing: tailrace (.*)", result.stderr.decode())
    assert found is not None
    (tmp_path / "it is there").touch()
    again = tailrace(*shlex.split(found[1]))
    assert again.returncode == 0
    assert count_lines(tmp_path / "runs") == 1


def test_one_bad_chunk_does_not_cost_the_others(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "touch chunk_0", "exit 3", "touch chunk_2", "exit 4", merge="touch merged")
    result = tailrace("job", "run", spec, "--keep-going")
    assert result.returncode == 1
    assert (tmp_path / "chunk_2").exists()
    assert not (tmp_path / "merged").exists()
    assert b"2 chunks done, 2 failed (1, 3)" in result.stderr
    assert b"sh exited with status 3" in result.stderr
    assert b"sh exited with status 4" in result.stderr


@pytest.mark.parametrize("options", [["--fail-after=2"], ["--keep-going", "--fail-after=2"]])
def test_a_run_ends_after_so_many_bad_chunks(tmp_path: Path, options: list[str]) -> None:
    spec = write_job(tmp_path, "exit 3", "touch chunk_1", "exit 4", "touch chunk_3")
    result = tailrace("job", "run", spec, *options)
    assert result.returncode == 1
    assert (tmp_path / "chunk_1").exists()
    assert not (tmp_path / "chunk_3").exists()
    assert b"2 failed (0, 2)" in result.stderr


def test_resume_runs_only_what_is_missing_or_changed(tmp_path: Path) -> None:
    scripts = [f"echo run >> runs_{number}; echo {number} > chunk_{number}" for number in range(3)]
    spec = write_job(tmp_path, *scripts, merge="cat chunk_* > merged")
    assert tailrace("job", "run", spec, "--resume").returncode == 0
    (tmp_path / "chunk_1").write_text("changed")
    result = tailrace("job", "run", spec, "--resume")
    assert result.returncode == 0
    assert [count_lines(tmp_path / f"runs_{number}") for number in range(3)] == [1, 2, 1]
    assert b"1 chunk done, 2 done before, merged" in result.stderr


def test_retries_are_made_and_counted(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo run >> runs; test $(wc -l < runs) = 3")
    result = tailrace("job", "run", spec, "--retries", "2", "--retry-delay", "0.05")
    assert result.returncode == 0
    assert b"1 chunk done, 2 retries" in result.stderr
    assert count_lines(tmp_path / "runs") == 3


def test_a_chunk_whose_retry_never_came_has_failed_and_was_not_retried(tmp_path: Path) -> None:
    spec = Path(write_job(tmp_path, "exit 3", "true"))
    spec.write_text(spec.read_text().replace("sh -c true", "./missing"))
    result = tailrace("job", "run", str(spec), "--retries", "1", "--retry-delay", "60")
    assert re.search(rb"0 chunks done, 2 failed \(0, 1\), 0 of 20 frames, \d+\.\d s", result.stderr)
    assert re.search(rb"^tailrace: +0 +1 .*  not retried$", result.stderr, flags=re.MULTILINE)


def test_what_a_log_lacks_is_told_in_a_line_of_its_own_and_at_the_end(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "printf begun; sleep 0.5; head -c 100000 /dev/zero | tr '\\0' x; printf end")
    # The limit of the size of files, in blocks of 1024 bytes.
    command = shlex.join([*TAILRACE, "job", "run", spec, "--log-dir", str(tmp_path / "logs")])
    script = f"trap '' XFSZ; ulimit -f 50; {command} 2>&1 | cat"
    shown = subprocess.run(["bash", "-c", script], capture_output=True, timeout=200).stdout
    assert re.search(rb"(x|end)\ntailrace: the log .*-stdout.log cannot be written: File too large", shown)
    assert re.search(rb"1 chunk done, 1 log incomplete, ", shown)


def test_limits_end_an_attempt(tmp_path: Path, mark: str) -> None:
    spec = write_job(tmp_path, f": {mark}; sleep 60; :")
    result = tailrace("job", "run", spec, "--timeout", "0.3")
    assert result.returncode == 1
    assert b"ran longer than 0.3 s" in result.stderr
    assert b"wrote nothing for 0.3 s" in tailrace("job", "run", spec, "--idle-timeout", "0.3").stderr
    shown = tailrace("job", "run", spec, "--cpu-idle-timeout", "1s").stderr
    assert b"used less than 1 % of a processor for 1 s" in shown


def test_each_slot_has_its_own_value_of_a_variable(tmp_path: Path) -> None:
    spec = write_job(tmp_path, *["echo $GPU-$TAILRACE_SLOT; sleep 0.3"] * 2)
    result = tailrace("job", "run", spec, "--concurrency", "2", "--slot-env", "GPU=a,b")
    assert sorted(result.stdout.split()) == [b"0]", b"1]", b"[chunk", b"[chunk", b"a-0", b"b-1"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--concurrency", "0"], b"--concurrency"),
        (["--timeout", "0"], b"--timeout"),
        (["--chunk", "7"], b"has no chunk 7: its ids are 0 to 1"),
        (["--chunk", "1", "--chunk", "7"], b"has no chunk 7: its ids are 0 to 1"),
        (["--watch", "0", "--watch", "1"], b"'--watch': can be given once"),
        (["--progress", "blendr"], b"'blendr' is not one of 'auto', 'aftereffects', 'arnold', 'blender'"),
        (["--slot-env", "GPU"], b"'GPU' is not of the form NAME=A,B"),
        (["--error-pattern", "no seats"], b"'no seats' is not of the form CATEGORY=REGEX"),
        (["--error-pattern", "network=x"], b"error pattern 'x': no such category: 'network'; use one of licence, "),
        (["--error-pattern", "licence=(x"], b"error pattern '(x' is not a regular expression: "),
        (["--slot-env", "GPU=a", "--concurrency", "2"], b"--slot-env GPU has 1 value for 2 slots"),
        (["--log-dir", "logs", "--log-limit", "10"], b"--log-limit must be at least"),
        (["--log-limit", "64M"], b"--log-limit and --log-compress are for the logs in --log-dir"),
        (["--log-compress"], b"--log-limit and --log-compress are for the logs in --log-dir"),
        (["-q", "--watch", "1"], b"use one of them"),
        (["--timeout", "5x"], b"'5x' is not a time: give seconds, such as 300, or 5m, 1h30m or 30d"),
        (["--timeout", ""], b"'' is not a time"),
        (["--timeout", "0m"], b"'0m' should be more than 0"),
        (["--retry-delay", "-1"], b"'-1' is not a time"),
        (["--adapter", "moon"], b"'moon' is not"),
        (["--no-such-option"], b"No such option"),
    ],
)
def test_bad_usage_is_status_2_and_one_clear_line(tmp_path: Path, args: list[str], message: bytes) -> None:
    result = tailrace("job", "run", write_job(tmp_path, "echo ran", "echo ran"), *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert result.stdout == b""


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_a_closed_output_is_141_however_much_was_to_come(tmp_path: Path, concurrency: str) -> None:
    spec = write_job(tmp_path, *["yes hello | head -n 200000"] * 2)
    command = shlex.join([*TAILRACE, "job", "run", spec, "--concurrency", concurrency])
    for _ in range(5):
        script = f'{command} 2>/dev/null | head -n 3 >/dev/null; echo "${{PIPESTATUS[0]}}"'
        assert subprocess.run(["bash", "-c", script], capture_output=True, timeout=200).stdout == b"141\n"


def test_an_output_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo hello; sleep 60; :")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([*TAILRACE, "job", "run", spec], stdout=full, stderr=subprocess.PIPE, timeout=200)
    assert result.returncode == 1
    assert b"tailrace: the output cannot be written: No space left on device\n" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_job_may_be_started_with_its_standard_streams_closed(tmp_path: Path, closed: str) -> None:
    spec = write_job(tmp_path, "echo out; echo err >&2; echo 0 > chunk_0")
    script = f"{shlex.join([*TAILRACE, 'job', 'run', spec])} {closed}"
    result = subprocess.run(["sh", "-c", script], capture_output=True, timeout=200)
    assert result.returncode == 0
    assert (tmp_path / "chunk_0").read_text() == "0\n"
    assert b"Traceback" not in result.stderr


def test_validate_reads_a_specification_from_standard_input(tmp_path: Path) -> None:
    text = Path(write_job(tmp_path, "true")).read_bytes()
    for given, status, told in ((text, 0, b"-: job job-1: 1 chunk, "), (b"{", 2, b"not JSON")):
        result = subprocess.run([*TAILRACE, "job", "validate", "-"], input=given, capture_output=True, check=False)
        assert result.returncode == status
        assert told in result.stdout + result.stderr


def test_validate_notes_what_is_seldom_meant(tmp_path: Path) -> None:
    fields = job("true", "true", "true").model_dump(by_alias=True)
    fields["mergecommand"] = "cat"
    fields["chunks"][1]["startFrame"] = 5
    fields["chunks"][2].update(startFrame=25, command="render a | tee b")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(fields))
    result = tailrace("job", "validate", str(path))
    assert result.returncode == 0
    assert result.stdout.decode().splitlines()[2:] == [
        "note: not a key that tailrace knows: mergecommand",
        "note: chunk 0 and chunk 1 have frames in common",
        "note: no chunk has the frames between chunk 1 and chunk 2",
        "note: chunk 2 is not run by a shell: pipes and redirections take sh -c '...'",
    ]


def test_what_is_seldom_meant_is_noted_by_validate_and_at_the_start_of_a_run(tmp_path: Path) -> None:
    fields = job("true", "true", "true", merge="cat").model_dump(by_alias=True)
    fields["metadata"]["totalFrames"] = 50
    fields["chunks"][2].update(outputFile="./chunk_0")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(fields))
    notes = [
        b"note: no chunk has 20 of the 50 frames in metadata.totalFrames",
        b"note: chunks 0, 2 have the same outputFile as another: one overwrites the other",
    ]
    assert tailrace("job", "validate", str(path)).stdout.splitlines()[2:] == notes
    told = tailrace("job", "run", str(path), "--chunk", "0").stderr.splitlines()
    assert told[:2] == [b"tailrace: " + note for note in notes]
    for option in (["--quiet"], ["--events", "ndjson"]):
        assert b"note" not in tailrace("job", "run", str(path), "--chunk", "0", *option).stderr


def test_validate_tells_all_errors_at_once(tmp_path: Path) -> None:
    fields = job("true", "true").model_dump(by_alias=True)
    fields["metadata"]["fps"] = 0
    del fields["chunks"][0]["command"]
    fields["chunks"][1]["startFrame"] = "7"
    path = tmp_path / "job.json"
    path.write_text(json.dumps(fields))
    result = tailrace("job", "validate", str(path))
    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == [
        f"tailrace: {path}: metadata.fps: 0 should be greater than 0",
        f"tailrace: {path}: chunks[0].command: is missing",
        f'tailrace: {path}: chunks[1].startFrame: "7" should be a whole number',
    ]


def test_validate_takes_no_frame_between_those_of_a_step_for_missing(tmp_path: Path) -> None:
    fields = job("true", "true", "true").model_dump(by_alias=True)
    for chunk, start, step in zip(fields["chunks"], (1, 2, 21), (2, 2, 1), strict=True):
        chunk.update(startFrame=start, frameStep=step)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(fields))
    assert b"note" not in tailrace("job", "validate", str(path)).stdout
    fields["chunks"][1]["frameStep"] = 3
    fields["chunks"][2]["startFrame"] = 33
    path.write_text(json.dumps(fields))
    assert tailrace("job", "validate", str(path)).stdout.decode().splitlines()[2:] == [
        "note: chunk 0 and chunk 1 have frames in common",
        "note: no chunk has the frames between chunk 1 and chunk 2",
    ]


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_bad_specification_is_status_2_and_one_line_that_names_the_file(tmp_path: Path, command: str) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"metadata": 3, "chunks": [{}]}' if command == "run" else '{"metadata": 3')
    for path in (bad, tmp_path / "missing.json"):
        result = tailrace("job", command, str(path))
        assert result.returncode == 2
        assert str(path).encode() in result.stderr
        assert result.stderr.count(b"\n") == 1


def test_validate_says_what_a_job_holds(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo 1", "echo 2", merge="cat")
    result = tailrace("job", "validate", spec)
    assert result.returncode == 0
    assert b"job job-1: 2 chunks, 20 of 20 frames, 640x360 at 30 frames a second" in result.stdout


def test_a_specification_may_come_from_a_url(tmp_path: Path) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    served.mkdir()
    here.mkdir()
    write_job(served, "echo run >> runs; pwd; touch chunk_0")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=served)) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/job.json"
            assert tailrace("job", "validate", url).returncode == 0
            result = tailrace("job", "run", url, cwd=here)
            assert (result.returncode, result.stdout) == (0, f"{here}\n".encode())
            assert tailrace("job", "run", url, "--resume", cwd=here).returncode == 0
            assert count_lines(here / "runs") == 1
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda n: str(int(n))
)
def test_a_signal_ends_the_renders_first(tmp_path: Path, mark: str, number: signal.Signals, status: int) -> None:
    script = f": {mark}; trap 'sleep 0.5; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [*TAILRACE, "job", "run", write_job(tmp_path, script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) == status
        errors = process.stderr.read()
        assert b"Traceback" not in errors
        assert b"0 chunks done, interrupted" in errors
        assert b"to run what is missing: tailrace job run --resume" in errors
    assert descendants_marked(mark) == []


def test_a_second_signal_kills_at_once(tmp_path: Path, mark: str) -> None:
    script = f": {mark}; trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [*TAILRACE, "job", "run", write_job(tmp_path, script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - started < 3.5
        *_, summary, missing = process.stderr.read().splitlines()
    assert b": 0 chunks done, interrupted, " in summary
    assert b"to run what is missing: tailrace job run --resume " in missing
    assert descendants_marked(mark) == []


@fork_beside_threads
def test_ctrl_c_in_a_terminal_ends_the_renders_first(tmp_path: Path, mark: str) -> None:
    spec = write_job(tmp_path, f": {mark}; echo ready; sleep 60; :")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*TAILRACE, "job", "run", spec])
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    deadline = time.monotonic() + 30
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended[1]) == 130


def test_a_hangup_that_nohup_had_ignored_stays_ignored(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo ready; sleep 1; echo done")
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *TAILRACE, "job", "run", spec]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.read() == b"done\n"
        assert process.wait(30) == 0


def test_a_closed_output_ends_the_job_quietly_with_141(tmp_path: Path, mark: str) -> None:
    spec = write_job(tmp_path, f": {mark}; while :; do echo line; sleep 0.01; done")
    script = f'{shlex.join([*TAILRACE, "job", "run", spec])} | head -n 2; echo "${{PIPESTATUS[0]}}"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, timeout=200)
    assert result.stdout == b"line\nline\n141\n"
    assert b"Traceback" not in result.stderr
    assert b"BrokenPipe" not in result.stderr


def test_a_reader_that_stopped_reading_does_not_keep_signals_out(tmp_path: Path, mark: str) -> None:
    spec = write_job(tmp_path, f": {mark}; head -c 100000000 /dev/zero; :")
    with subprocess.Popen(
        [*TAILRACE, "job", "run", spec], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        wait_until_marked(mark)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_a_job_that_is_run_already_is_refused_with_the_pid(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "echo ready; sleep 60")
    with subprocess.Popen(
        [*TAILRACE, "job", "run", spec], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        second = tailrace("job", "run", spec)
        assert second.returncode == 1
        assert f"is being run by process {process.pid} already".encode() in second.stderr
        process.terminate()


def test_a_program_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    fields = job("true").model_dump(by_alias=True)
    fields["chunks"][0]["command"] = "no-such-renderer --frame 1"
    path = tmp_path / "job.json"
    path.write_text(JobSpec.model_validate(fields).model_dump_json(by_alias=True))
    result = tailrace("job", "run", str(path), "--retries", "5", "--no-machine-check")
    assert result.returncode == 1
    assert b"chunk 0 failed: cannot start no-such-renderer: no such program" in result.stderr
    assert b"Traceback" not in result.stderr


def test_help_names_every_option_and_the_version_is_that_of_the_package() -> None:
    shown = tailrace("job", "run", "--help").stdout
    for option in [
        "concurrency",
        "chunk",
        "no-merge",
        "retries",
        "retry-delay",
        "timeout",
        "idle-timeout",
        "cpu-idle-timeout",
        "keep-going",
        "resume",
        "verify-output",
        "slot-env",
    ]:
        assert f"--{option}".encode() in shown
    assert re.fullmatch(rb"tailrace \d+\.\d+\.\d+\n", tailrace("--version").stdout)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300", 300),
        ("2.5", 2.5),
        (".5", 0.5),
        ("0.3s", 0.3),
        ("5m", 300),
        ("1h30m", 5400),
        ("1H1m1.5", 3661.5),
        ("1d12h", 129600),
    ],
)
def test_times_are_seconds_or_have_units(text: str, seconds: float) -> None:
    parameter = click.Option(["--timeout"])
    assert parse_limit(click.Context(click.Command("run")), parameter, text) == seconds


@pytest.mark.parametrize("args", [["--version"], ["job", "run", "--help"], ["job", "validate", "job.json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_it_says_itself_onto_a_full_disk_is_one_clear_line(
    tmp_path: Path, args: list[str], unbuffered: str
) -> None:
    write_job(tmp_path, "true")
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*TAILRACE, *args], stdout=full, stderr=subprocess.PIPE, timeout=200, cwd=tmp_path, env=environment
        )
    assert (result.returncode, result.stderr) == (1, b"tailrace: cannot go on: No space left on device\n")


@pytest.mark.parametrize("args", [[], ["job"]])
def test_a_command_that_is_not_complete_gets_the_help(args: list[str]) -> None:
    result = tailrace(*args)
    assert result.returncode == 2
    assert result.stderr.startswith(b"Usage: tailrace")
    assert b"(see" not in result.stderr


def test_a_single_chunk_is_counted_alone(tmp_path: Path) -> None:
    result = tailrace("job", "run", write_job(tmp_path, "true", "true", "true"), "--chunk", "1")
    assert re.sub(rb"\d+\.\d s", b"N s", result.stderr).splitlines() == [
        b"tailrace: chunk 1 done in N s, 1 of 1, 10 of 10 frames",
        b"tailrace: job job-1: 1 chunk done, 10 of 10 frames, N s",
    ]


def test_events_are_written_as_json_whose_output_joins_to_what_was_written(tmp_path: Path) -> None:
    path = write_job(tmp_path, "printf 'a\\303\\251\\n'; sleep 0.1; printf b >&2", "exit 4", merge="true")
    result = tailrace("job", "run", path, "--events", "ndjson", "--keep-going")
    assert result.returncode == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["sequence"] for record in records] == list(range(len(records)))
    assert records[0]["event"] == "job_started"
    assert records[-1]["event"] == "job_finished"
    for stream, expected in ("stdout", "aé\n"), ("stderr", "b"):
        pieces = [r["data"] for r in records if r["event"] == "chunk_output" and r["stream"] == stream]
        assert "".join(pieces) == expected
    assert b"chunk 1 failed: sh exited with status 4" in result.stderr
    assert b"1 chunk done, 1 failed (1)" in result.stderr


def test_events_that_nobody_reads_any_more_end_the_job_quietly(tmp_path: Path) -> None:
    path = write_job(tmp_path, "while :; do echo x; done")
    command = f"{shlex.join([*TAILRACE, 'job', 'run', path, '--events', 'ndjson'])} | head -3; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, timeout=200)
    lines = result.stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines[:2]] == ["job_started", "chunk_started"]
    assert lines[3] == b"141"
    assert b"Traceback" not in result.stderr


def test_a_quiet_run_shows_only_what_goes_wrong(tmp_path: Path) -> None:
    good = tailrace("job", "run", write_job(tmp_path, "echo out; echo err >&2", merge="echo merged"), "--quiet")
    assert good.returncode == 0
    assert good.stdout == b""
    assert re.fullmatch(rb"tailrace: job job-1: 1 chunk done, merged, 10 of 10 frames, \d+\.\d s\n", good.stderr)
    bad = tailrace("job", "run", write_job(tmp_path, "echo out; exit 3"), "-q", "--retries", "1", "--retry-delay", "0")
    assert bad.returncode == 1
    assert bad.stdout == b""
    assert bad.stderr.count(b"sh exited with status 3") == 2


def test_a_watched_chunk_is_shown_alone_and_as_it_is(tmp_path: Path) -> None:
    path = write_job(tmp_path, "echo zero", r"printf 'one\r\377'; echo err >&2", "echo two", merge="echo merged")
    result = tailrace("job", "run", path, "--concurrency", "3", "--watch", "1")
    assert result.returncode == 0
    assert result.stdout == b"one\r\xff"
    assert b"err\n" in result.stderr
    assert b"chunk 2 done" in result.stderr


def test_a_chunk_to_watch_that_does_not_exist_is_bad_usage(tmp_path: Path) -> None:
    result = tailrace("job", "run", write_job(tmp_path, "touch started", "true"), "--watch", "7")
    assert result.returncode == 2
    assert b"has no chunk 7: its ids are 0 to 1" in result.stderr
    assert not (tmp_path / "started").exists()


def test_events_cannot_be_quiet(tmp_path: Path) -> None:
    result = tailrace("job", "run", write_job(tmp_path, "touch started"), "--events", "ndjson", "--quiet")
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert b"--events" in result.stderr
    assert not (tmp_path / "started").exists()


def test_a_failure_names_its_class_its_last_lines_its_logs_and_the_command_to_run_it_alone(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "true", "echo one; echo 'PROGRESS: 10%'; echo 'License error' >&2; exit 3")
    options = ["--progress", "redshift", "--log-dir", str(tmp_path / "logs")]
    result = tailrace("job", "run", spec, *options)
    told = result.stderr.decode().replace("tailrace: ", "").splitlines()
    assert result.returncode == 1
    for line in (
        "chunk 1 failed: sh exited with status 3: License error [licence]",
        "the last lines of chunk 1 on stderr:",
        "  License error",
        f"stdout log of chunk 1: {tmp_path}/logs/chunk-1-attempt-1-stdout.log",
        f"stderr log of chunk 1: {tmp_path}/logs/chunk-1-attempt-1-stderr.log",
        f"to run chunk 1 alone: tailrace job run --chunk 1 {spec} {' '.join(options)}",
    ):
        assert line in told
    # Written by the chunk, in the reason, and among the last lines.
    assert sum("License error" in line for line in told) == 3


@pytest.mark.parametrize(
    ("output_file", "target", "message"),
    [
        ("c.mp4", "out.film", "its ending stands for no format"),
        ("c.mp4", "out", "its ending stands for no format"),
        ("c.mp4", "out.png", "its ending stands for no format"),
        ("c.mp4", "x/../c.mp4", "is what chunk 0 writes: choose another name"),
        ("c.mp4", "here", "is there and not a file"),
        ("c.mp4", "job.json/out.mp4", "job.json is not a folder"),
        ("c_####.png", "out.mp4", "chunk 0 renders pictures (c_####.png)"),
        ("c.exr", "out.mp4", "chunk 0 renders pictures (c.exr)"),
    ],
)
def test_what_cannot_be_stitched_is_told_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_file: str, target: str, message: str
) -> None:
    monkeypatch.setenv("PATH", search_path())
    spec = Path(write_job(tmp_path, "touch rendered"))
    spec.write_text(spec.read_text().replace("chunk_0", output_file))
    (tmp_path / "here").mkdir()
    result = tailrace("job", "run", "job.json", "--stitch", target, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1
    assert names_in(tmp_path) == {"job.json", "here"}


def test_log_sizes_have_units(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "seq 100000")
    assert tailrace("job", "run", spec, "--log-dir", "logs", "--log-limit", "64K", cwd=tmp_path).returncode == 0
    assert 48 << 10 < (tmp_path / "logs" / "chunk-0-attempt-1-stdout.log").stat().st_size < (64 << 10) + 100
    bad = tailrace("job", "run", spec, "--log-dir", "logs", "--log-limit", "8X", cwd=tmp_path)
    assert bad.returncode == 2
    assert b"'8X' is not a size: give a number of bytes, or one such as 64M" in bad.stderr


def test_a_secret_of_slot_env_is_not_in_the_commands_that_are_printed(tmp_path: Path) -> None:
    spec = write_job(tmp_path, "true", "echo $TOK >&2; exit 1")
    result = tailrace("job", "run", spec, "--slot-env", "TOK=tr0ub4dor,hunter22", "--mask-env", "TOK")
    told = result.stderr.decode().splitlines()
    assert not re.search("tr0ub4dor|hunter22", result.stderr.decode())
    for what in ("to run chunk 1 alone", "to run what is missing"):
        command = next(line.partition(f"{what}: ")[2] for line in told if what in line)
        assert shlex.split(command)[-4:] == ["--slot-env", "TOK=…", "--mask-env", "TOK"]
    assert told[-1] == "tailrace: fill in the secrets there, which are shown as …"
    plain = tailrace("job", "run", spec, "--slot-env", "TOK=tr0ub4dor,hunter22")
    assert b"--slot-env TOK=tr0ub4dor,hunter22" in plain.stderr
    assert b"fill in" not in plain.stderr


def test_a_secret_is_masked_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDER_TOKEN", "tr0ub4dor")
    spec = write_job(tmp_path, "echo $RENDER_TOKEN", "echo $RENDER_TOKEN >&2; exit 1")
    result = tailrace("job", "run", spec, "--mask-env", "RENDER_TOKEN")
    assert b"tr0ub4dor" not in result.stdout + result.stderr
    assert (result.stdout, result.stderr.count(b"***")) == (b"***\n", 2)
