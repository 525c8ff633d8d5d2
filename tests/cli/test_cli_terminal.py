"""`tailrace job run` on a terminal, as a person sees it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.jobs import job
from support.processes import descendants_marked, wait_until_marked
from support.terminal import InTerminal

SLOWLY = "for i in 1 2 3; do echo line $i; sleep 0.4; done"


def run_in_terminal(
    folder: Path,
    *scripts: str,
    options: tuple[str, ...] = (),
    merge: str | None = None,
    columns: int = 100,
    lines: int = 30,
    environment: dict[str, str] | None = None,
    stdout: int | None = None,
) -> InTerminal:
    spec = folder / "job.json"
    spec.write_text(job(*scripts, merge=merge).model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "job", "run", str(spec), *options]
    return InTerminal(command, columns=columns, lines=lines, environment=environment, stdout=stdout)


def rows_of(screen: list[str]) -> list[str]:
    """Return the rows that are drawn: the one of the job, and those below it."""
    first = max((place for place, line in enumerate(screen) if line.startswith("job-1 ")), default=len(screen))
    return screen[first:]


@pytest.fixture
def mark() -> Iterator[str]:
    word = f"mark-{uuid.uuid4()}"
    yield word
    assert descendants_marked(word) == []


def test_rows_are_shown_while_chunks_run_and_a_table_when_they_are_done(tmp_path: Path) -> None:
    with run_in_terminal(tmp_path, *[SLOWLY] * 3, options=("--concurrency", "2")) as terminal:
        screen = terminal.wait_until(
            lambda screen: len(rows_of(screen)) == 3 and all("line 2" in row for row in rows_of(screen)[1:])
        )
        assert re.fullmatch(r"job-1    ─+    0%  0 of 3 chunks, 0 of 30 frames  0:0\d", rows_of(screen)[0])
        assert re.fullmatch(r"chunk 0  ─+         0:0\d +(\d\.\d MiB  )?line 2", rows_of(screen)[1])
        assert re.fullmatch(r"chunk 1  ─+         0:0\d +(\d\.\d MiB  )?line 2", rows_of(screen)[2])
        assert terminal.cursor == (len(screen), 0, True)
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 2 and "2 of 3" in rows_of(screen)[0])
        assert terminal.wait() == 0
        text = terminal.text
    table = text.index("chunk  attempts  duration  peak memory  exit")
    assert [re.split("  +", line.strip())[:2] for line in text[table + 1 : table + 4]] == [
        ["0", "1"],
        ["1", "1"],
        ["2", "1"],
    ]
    assert all(line.endswith("  0") for line in text[table + 1 : table + 4])
    assert re.fullmatch(r"tailrace: job job-1: 3 chunks done, 30 of 30 frames, \d+\.\d s", text[-1])
    assert sorted(line for line in text[: table - 1] if line.startswith("[")) == sorted(
        f"[chunk {chunk}] line {number}" for chunk in range(3) for number in (1, 2, 3)
    )
    assert not any(line.startswith("job-1 ") for line in text)
    assert terminal.cursor == (len(terminal.screen), 0, True)
    assert terminal.wraps


def test_bursts_of_output_are_complete_and_in_order_above_the_rows(tmp_path: Path) -> None:
    script = "for i in 1 2 3; do seq 3000; sleep 0.3; done"
    with run_in_terminal(tmp_path, script, "seq 3000") as terminal:
        assert terminal.wait() == 0
        text = terminal.text
    numbers = [line for line in text[: text.index("chunk  attempts  duration  peak memory  exit")] if line.isdigit()]
    assert numbers == [str(number) for number in range(1, 3001)] * 4


def test_several_chunks_that_burst_lose_and_mix_nothing(tmp_path: Path) -> None:
    scripts = [f"for i in $(seq 2000); do echo {letter}$i; done" for letter in "abc"]
    with run_in_terminal(tmp_path, *scripts, options=("--concurrency", "3")) as terminal:
        assert terminal.wait() == 0
        text = terminal.text
    for chunk, letter in enumerate("abc"):
        prefix = f"[chunk {chunk}] "
        lines = [line.removeprefix(prefix) for line in text if line.startswith(prefix)]
        assert lines == [f"{letter}{number}" for number in range(1, 2001)]


def test_a_progress_bar_of_a_renderer_is_only_in_its_row(tmp_path: Path) -> None:
    script = r"echo begun; for i in 1 2 3 4; do printf '%d0%%\r' $i >&2; sleep 0.3; done; printf '50%%\n' >&2"
    with run_in_terminal(tmp_path, script) as terminal:
        terminal.wait_until(lambda screen: rows_of(screen)[-1:] != [] and rows_of(screen)[-1].endswith("30%"))
        assert terminal.wait() == 0
        text = terminal.text
    assert text[:2] == ["begun", "50%"]
    assert not any(line.endswith(("10%", "20%", "30%", "40%")) for line in text)


def test_sequences_in_the_output_do_not_get_at_the_rows(tmp_path: Path) -> None:
    clear_screen, up, title, charset = r"\033[2J\033[H", r"\033[5A", r"\033]0;title\007", r"\033(0"
    script = rf"printf '{clear_screen}a\nb{up}b\n\033[31mred{title}\n\016c\tc{charset}\n'; sleep 1"
    with run_in_terminal(tmp_path, "echo before", script) as terminal:
        screen = terminal.wait_until(lambda screen: len(rows_of(screen)) == 2 and "c       c" in screen)
        assert screen[:1] == ["before"]
        assert screen[2:6] == ["a", "bb", "red", "c       c"]
        assert "red" in terminal.colours()
        assert terminal.wait() == 0
        assert terminal.text[2:6] == ["a", "bb", "red", "c       c"]


def test_wide_characters_do_not_get_the_rows_out_of_step(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5; do echo レンダリング中のフレーム🎬$i e\u0301; sleep 0.2; done"
    with run_in_terminal(tmp_path, script, columns=40) as terminal:
        terminal.wait_until(lambda screen: any("…" in row for row in rows_of(screen)[1:]) and len(rows_of(screen)) == 2)
        assert terminal.wait() == 0
        text = terminal.text
    assert text[:5] == [f"レンダリング中のフレーム🎬{number} é" for number in range(1, 6)]


@pytest.mark.parametrize(("columns", "lines"), [(20, 30), (100, 5), (20, 5), (9, 3), (1, 1)])
def test_a_small_terminal_shows_what_it_can(tmp_path: Path, columns: int, lines: int) -> None:
    with run_in_terminal(
        tmp_path, *[SLOWLY] * 4, options=("--concurrency", "4", "--no-merge"), columns=columns, lines=lines
    ) as terminal:
        assert terminal.wait() == 0
        everything = "".join(terminal.text).replace(" ", "")
    for chunk in range(4):
        assert everything.count(f"[chunk{chunk}]line3") == 1
    assert "4chunksdone" in everything


def test_more_chunks_than_the_screen_has_lines_are_counted(tmp_path: Path) -> None:
    with run_in_terminal(
        tmp_path, *["echo up; sleep 3"] * 64, options=("--concurrency", "64"), columns=80, lines=24
    ) as terminal:
        screen = terminal.wait_until(lambda screen: len(rows_of(screen)) == 19 and "running" in screen[-1])
        assert [row.split("  ")[0] for row in rows_of(screen)[1:18]] == [
            f"chunk {number:<2}".strip() for number in range(17)
        ]
        assert screen[-1] == "… and 47 more running"
        assert terminal.wait() == 0
        text = terminal.text
    table = text.index("chunk  attempts  duration  peak memory  exit")
    assert text[table + 21] == "… and 44 more"


def test_ctrl_c_leaves_a_clean_screen(tmp_path: Path, mark: str) -> None:
    script = f": {mark}; trap 'sleep 1; exit' TERM; echo ready; while :; do sleep 0.05; done"
    with run_in_terminal(tmp_path, script, script, columns=300) as terminal:
        terminal.wait_for("ready")
        terminal.type(b"\x03")
        # While the commands end, the rows are there still.
        ending = "tailrace: SIGINT: ending the commands that run; once more kills them"
        terminal.wait_until(lambda screen: ending in screen and len(rows_of(screen)) == 2)
        assert terminal.wait() == 130
        screen = terminal.screen
        assert rows_of(screen) == []
        assert "^C" not in "".join(screen)
        assert "0 chunks done, interrupted" in screen[-2]
        assert screen[-1].startswith("tailrace: to run what is missing: tailrace job run --resume ")
        assert terminal.cursor == (len(screen), 0, True)
        assert terminal.wraps


def test_a_second_ctrl_c_kills_at_once_and_leaves_the_terminal_in_order(tmp_path: Path, mark: str) -> None:
    script = f": {mark}; trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with run_in_terminal(tmp_path, script) as terminal:
        terminal.wait_for("ready")
        terminal.type(b"\x03")
        terminal.wait_for("once more kills them")
        started = time.monotonic()
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert time.monotonic() - started < 3.5
        assert terminal.cursor[1:] in {(0, True), (2, True)}  # Behind the terminal's own ^C.
        assert terminal.wraps


@pytest.mark.parametrize("held_up_by", ["a stopped terminal", "nobody who reads"])
def test_a_terminal_that_shows_nothing_more_does_not_keep_signals_out(
    tmp_path: Path, mark: str, held_up_by: str
) -> None:
    with run_in_terminal(tmp_path, f": {mark}; yes hello; :") as terminal:
        terminal.wait_for("hello")
        if held_up_by == "a stopped terminal":
            terminal.type(b"\x13")
        else:
            terminal.pause()
        time.sleep(1)
        started = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(60) == 130
        assert time.monotonic() - started < 25


def test_a_terminal_that_is_closed_ends_the_job(tmp_path: Path, mark: str) -> None:
    with run_in_terminal(tmp_path, f": {mark}; echo ready; sleep 60; :") as terminal:
        terminal.wait_for("ready")
        terminal.hang_up()
        os.kill(terminal.process.pid, signal.SIGHUP)
        assert terminal.process.wait(30) == 129


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        ((), {}, True),
        (("--no-color",), {}, False),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
    ],
    ids=["usual", "option", "variable", "empty variable"],
)
def test_there_are_no_colours_where_they_are_not_wanted(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], coloured: bool
) -> None:
    scripts = [r"printf '\033[31mred\033[0m\n'; sleep 0.5", "sleep 0.6; exit 3"]
    options = ("--concurrency", "2", *options)
    with run_in_terminal(tmp_path, *scripts, options=options, environment=environment) as terminal:
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 3 and "[chunk 0] red" in screen)
        assert (terminal.colours() != set()) == coloured
        assert terminal.wait() == 1
    assert bool(re.search(rb"\x1b\[[0-9;]*m", terminal.written)) == coloured


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": ""}], ids=["dumb", "unset"])
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    with run_in_terminal(tmp_path, SLOWLY, SLOWLY, options=("--concurrency", "2"), environment=environment) as terminal:
        assert terminal.wait() == 0
    assert b"\x1b" not in terminal.written
    assert terminal.written.count(b"[chunk 1] line 3\r\n") == 1


def test_a_locale_without_unicode_gets_plain_characters(tmp_path: Path) -> None:
    script = "echo '100 µm'; sleep 0.8"
    with run_in_terminal(tmp_path, script, script, environment={"LC_ALL": "C"}) as terminal:
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 2 and "100 ?m" in rows_of(screen)[1])
        assert re.match(r"job-1    -+ ", rows_of(terminal.screen)[0])
        assert terminal.wait() == 0


def test_standard_output_that_goes_elsewhere_gets_what_it_always_gets(tmp_path: Path) -> None:
    script = r"printf 'out\r\033[1mbold\n'; echo err >&2; sleep 0.5; printf end"
    reader, writer = os.pipe()
    with run_in_terminal(tmp_path, script, script, options=("--concurrency", "2"), stdout=writer) as terminal:
        os.close(writer)
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 3 and "[chunk 1] err" in screen)
        assert terminal.wait() == 0
        text = terminal.text
    with os.fdopen(reader, "rb") as output:
        lines = output.read().splitlines()
    expected = [b"[chunk %d] %s" % (chunk, line) for chunk in (0, 1) for line in (b"out", b"\x1b[1mbold", b"end")]
    assert sorted(lines) == sorted(expected)
    assert not any("out" in line or "bold" in line for line in text)


def test_a_closed_standard_output_ends_the_job_with_141(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with run_in_terminal(tmp_path, "while :; do echo line; done", stdout=writer) as terminal:
        os.close(writer)
        os.read(reader, 10)
        os.close(reader)
        assert terminal.wait() == 141
        assert terminal.cursor[1:] == (0, True)
        assert "Traceback" not in "".join(terminal.text)


def test_a_watched_chunk_is_shown_alone_with_the_rows_of_all(tmp_path: Path) -> None:
    with run_in_terminal(tmp_path, *[SLOWLY] * 3, options=("--concurrency", "3", "--watch", "1")) as terminal:
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 4)
        assert terminal.wait() == 0
        text = terminal.text
    assert [line for line in text if line.startswith("line")] == ["line 1", "line 2", "line 3"]
    assert not any(line.startswith("[") for line in text)


def test_a_quiet_run_shows_the_rows_and_what_goes_wrong(tmp_path: Path) -> None:
    options = ("--quiet", "--concurrency", "2", "--keep-going")
    with run_in_terminal(tmp_path, SLOWLY, "sleep 0.3; exit 3", options=options) as terminal:
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 3 and "line 1" in screen[-2])
        assert terminal.wait() == 1
        text = terminal.text
    assert text[0] == "tailrace: chunk 1 failed: sh exited with status 3"
    assert not any("line" in line or "done in" in line for line in text)
    assert any(
        re.fullmatch(r"tailrace: job job-1: 1 chunk done, 1 failed \(1\), 10 of 20 frames, \d+\.\d s", line)
        for line in text
    )


def test_events_that_go_elsewhere_leave_the_terminal_to_the_rows(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    options = ("--events", "ndjson", "--concurrency", "2")
    with run_in_terminal(tmp_path, SLOWLY, SLOWLY, options=options, stdout=writer) as terminal:
        os.close(writer)
        screen = terminal.wait_until(lambda screen: len(rows_of(screen)) == 3 and "line 2" in screen[-1])
        assert len(screen) == 3
        assert terminal.wait() == 0
        assert re.fullmatch(r"tailrace: job job-1: 2 chunks done, 20 of 20 frames, \d+\.\d s", terminal.text[0])
    with os.fdopen(reader, "rb") as output:
        events = [json.loads(line)["event"] for line in output.read().splitlines()]
    assert (events[0], events[-1]) == ("job_started", "job_finished")


def test_events_on_the_terminal_itself_are_not_drawn_over(tmp_path: Path) -> None:
    with run_in_terminal(tmp_path, SLOWLY, options=("--events", "ndjson"), columns=2000) as terminal:
        assert terminal.wait() == 0
        *events, summary = terminal.text
    assert json.loads(events[-1])["event"] == "job_finished"
    assert "1 chunk done" in summary


def test_the_merge_has_a_row_of_its_own(tmp_path: Path) -> None:
    with run_in_terminal(tmp_path, "true", "true", merge="echo joining; sleep 1") as terminal:
        screen = terminal.wait_until(lambda screen: any(row.startswith("merge ") for row in rows_of(screen)))
        assert "100%  2 of 2 chunks" in rows_of(screen)[0]
        assert terminal.wait() == 0
        assert "joining" in terminal.text


def test_a_failure_ends_with_what_the_chunk_wrote_and_the_command_that_runs_it_alone(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    failing = r"seq 30; printf '10%%\r20%%\r' >&2; echo 'Error: no camera' >&2; exit 3"
    options = ("--concurrency", "2", "--keep-going", "--retries", "1", "--retry-delay=0.1", "--resume")
    with run_in_terminal(folder, "true", failing, "kill -9 $$", options=options, columns=400, lines=50) as terminal:
        assert terminal.wait() == 1
        text = terminal.text
    table = text.index("chunk  attempts  duration  peak memory  exit")
    rows = [re.split("  +", line.strip()) for line in text[table + 1 : table + 4]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [("0", "1", "0"), ("1", "2", "3"), ("2", "2", "SIGKILL")]
    report = text[table + 5 :]
    spec = f"'{folder}/job.json'"
    assert report[:8] == [
        "the last lines of chunk 1 on stdout:",
        *[f"  {number}" for number in range(26, 31)],
        "the last lines of chunk 1 on stderr:",
        "  Error: no camera",
    ]
    alone = "tailrace job run --chunk {} " + spec + " --keep-going --retries 1 --retry-delay=0.1"
    assert report[8:11] == ["", *(f"to run chunk {chunk} alone: {alone.format(chunk)}" for chunk in (1, 2))]
    assert report[-1].startswith(f"tailrace: to run what is missing: tailrace job run {spec}")


def test_the_command_for_a_chunk_alone_runs_it(tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(job("echo zero", "test -e fixed && echo one").model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "job", "run", str(spec), "--concurrency=2", "--keep-going"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    found = re.search(r"^tailrace: to run chunk 1 alone: tailrace (.*)$", failed.stderr, flags=re.MULTILINE)
    assert found is not None
    assert found[1] == f"job run --chunk 1 {spec} --keep-going"
    (tmp_path / "fixed").touch()
    again = subprocess.run([*command[:3], *found[1].split()], capture_output=True, text=True, timeout=200)
    assert (again.returncode, again.stdout) == (0, "one\n")


def test_all_that_is_said_on_a_pipe_says_who_says_it(tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(job("true", "true", "true").model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tailrace", "job", "run", str(spec)]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=200).stderr.splitlines()
    assert all(line.startswith("tailrace: ") for line in lines)
    assert "tailrace: chunk  attempts  duration  peak memory  exit" in lines


def test_rows_do_not_come_back_once_the_job_is_killed(tmp_path: Path, mark: str) -> None:
    with run_in_terminal(tmp_path, f": {mark}; echo ready; sleep 60; :") as terminal:
        wait_until_marked(mark)
        terminal.wait_until(lambda screen: len(rows_of(screen)) == 2)
        terminal.process.send_signal(signal.SIGKILL)
        assert terminal.wait() == -signal.SIGKILL
        assert terminal.cursor == (len(terminal.screen), 0, True)
        assert terminal.wraps
        deadline = time.monotonic() + 20
        while descendants_marked(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
