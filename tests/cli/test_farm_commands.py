"""The commands that ask a farm, as its users type them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Self

import click
import pytest

from support.farm_servers import served_farm
from support.farms import begun, held, open_gate, shown, until_states
from support.jobs import job
from support.report_pages import parse
from support.serve_command import Serving, serve_command
from support.workers import running_worker, wait_until
from tailrace import ChunkStatus, JobSettings, JobSpec
from tailrace._cli import arguments, watching

TAILRACE = (sys.executable, "-m", "tailrace")


class Commands:
    """Runs commands that find a farm."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.serving = serving
        self.folder = folder

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command, and return what it wrote: to standard output where it succeeded, else to standard error."""
        finished = subprocess.run(
            [*TAILRACE, *words],
            capture_output=True,
            text=True,
            timeout=100,
            env=self.serving.environment,
            cwd=self.folder,
        )
        assert finished.returncode == status, finished.stderr
        return finished.stdout if status == 0 else finished.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*TAILRACE, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.serving.environment,
            cwd=self.folder,
        )

    def submit(self, spec: JobSpec, *options: str, name: str = "job.json") -> str:
        """Add a job, and return its id."""
        (self.folder / name).write_text(spec.model_dump_json(by_alias=True))
        job_id = self.run("job", "submit", name, *options)
        assert re.fullmatch(r"[0-9a-f]{12}\n", job_id)
        return job_id.strip()

    def state(self, job_id: str) -> str:
        """Return the state of a job."""
        state: str = json.loads(self.run("job", "show", job_id, "--json"))["job"]["state"]
        return state


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Commands]:
    """A farm with two slots."""
    (tmp_path / "state").mkdir()
    with serve_command(tmp_path, "--slots", "2") as serving:
        yield Commands(serving, tmp_path)


def test_a_job_is_submitted_with_its_options_shown_and_listed(farm: Commands, tmp_path: Path) -> None:
    first = farm.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")))
    options = (
        "--priority",
        "7",
        "--after",
        first[:9],
        "--name",
        "night",
        "--tag",
        "x",
        "--tag",
        "y",
        "--comment",
        "why",
    )
    stored = ("--retries", "2", "--timeout", "1h", "--keep-going", "--max-running", "1", "--no-merge")
    job_id = farm.submit(job("true", job_id="other"), *options, *stored, name="other.json")
    found = json.loads(farm.run("job", "show", job_id[:9], "--json"))["job"]
    assert (found["name"], found["priority"], found["after"], found["tags"], found["comment"]) == (
        "night",
        7,
        [first],
        ["x", "y"],
        "why",
    )
    assert found["folder"] == str(tmp_path)
    assert found["error"] == f"it comes after job {first}, which is not completed yet"
    assert found["settings"] == {"retries": 2, "timeout": 3600, "failFast": False, "maxRunning": 1, "merge": False}
    assert [one["id"] for one in json.loads(farm.run("job", "list", "--json"))] == [job_id, first]
    table = farm.run("job", "list").splitlines()
    assert len(table) == 3 and table[1].startswith(f"{job_id}  night  pending")
    assert farm.run("job", "list", "--state", "failed").split() == table[0].split()
    told = farm.run("job", "show", first)
    assert re.search(r"^chunk +state +done", told, flags=re.MULTILINE) and str(tmp_path) in told
    open_gate(tmp_path, "go")


def test_submit_waits_for_the_end_and_says_how_it_was(farm: Commands, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(job("true").model_dump_json(by_alias=True))
    (tmp_path / "bad.json").write_text(job("exit 3").model_dump_json(by_alias=True))
    assert re.fullmatch(r"[0-9a-f]{12}\n", farm.run("job", "submit", "good.json", "--wait"))
    told = farm.run("job", "submit", "bad.json", "--wait", status=1)
    assert re.fullmatch(r"tailrace: job \w+ is failed: chunk 0 failed: sh exited with status 3\n", told)
    assert json.loads(farm.run("job", "submit", "good.json", "--json")).keys() == {"id"}


def test_the_report_of_a_job_is_made_where_its_logs_are(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job("true", "exit 3"), "--keep-going")
    farm.run("job", "watch", job_id, status=1)
    assert re.fullmatch(r"report\.html: \d+ kB\n", farm.run("job", "report", job_id[:9], "--to", "report.html"))
    assert parse((tmp_path / "report.html").read_text()).section("failures") is not None
    assert json.loads(farm.run("job", "report", job_id, "--json"))["counts"]["failed"] == 1
    rows = farm.run("job", "report", job_id, "--csv", "--to", "again.html").splitlines()
    assert [row.split(",")[1] for row in rows] == ["state", "completed", "failed"]
    # It is the same as of the folder with its logs, but that the farm knows what the job is called there.
    ours = json.loads(farm.run("job", "report", str(tmp_path / "logs" / job_id), "--json"))
    theirs = json.loads(farm.run("job", "report", job_id, "--json"))
    assert theirs == {**ours, "jobId": job_id, "name": "job-1"}


def test_what_cannot_be_done_is_told_in_one_line_with_status_2(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job("true"))
    farm.run("job", "watch", job_id)
    for words, reason in (
        (("job", "show", "nix"), "there is no job nix: tailrace job list shows them"),
        (("job", "show", "job-1"), f"there is no job job-1, but {job_id} of that name"),
        (("job", "edit", job_id), "nothing to change: give --name, --tag, --comment or an option of"),
        (("job", "logs", job_id, "0", "--attempt", "2"), f"no attempt 2 at chunk 0 of job {job_id}, but 1"),
        (("job", "logs", job_id, "--attempt", "2"), f"no attempt 2 at any chunk of job {job_id}, but 1"),
        (("job", "retry", job_id, "--done"), "--done is for the chunks that --chunk names"),
        (("job", "cancel", job_id), f"job {job_id} is completed and cannot be cancelled"),
        (("job", "logs", job_id, "7"), f"job {job_id}, which is completed, has no chunk 7"),
        (("job", "submit", "missing.json"), "missing.json: cannot be read"),
        (("job", "submit", "job.json", "--audio", "a.wav"), "audio: is laid under what is joined"),
        (("node", "drain", "x"), "there is no node 'x', the only one has no name"),
        (("job", "list", "--server", "http://127.0.0.1:1"), "`tailrace serve` starts one"),
        (("job", "report", "nix", "--csv"), "there is no folder nix, and there is no job nix: tailrace job list shows"),
        (("job", "report", job_id, "--to", "job.json"), "its name should end with .html"),
        (("job", "list", "--server", "nonsense"), "expected the http(s) URL of a farm's server"),
        (("job", "list", "--server", "http://127.0.0.1:99999"), "expected the http(s) URL of a farm's server"),
        (("job", "list", "--server", "http://[::1"), "expected the http(s) URL of a farm's server"),
        (("job", "list", "--server", "http://127.0.0.1:8089/#a-token"), "the token goes into TAILRACE_SERVER_TOKEN"),
        (("job", "list", "--server", "http://nowhere.invalid"), "no farm's server answers at http://nowhere.invalid: "),
    ):
        told = farm.run(*words, status=2)
        assert reason in told and len(told.splitlines()) == 1
        # As some numbers are told that are the name service's.
        assert "Unknown error" not in told
    farm.serving.environment = {**farm.serving.environment, "TAILRACE_SERVER_TOKEN": "wrong"}
    assert "does not take the token" in farm.run("job", "list", status=2)


def test_an_id_that_could_be_several_is_refused_with_them(farm: Commands, tmp_path: Path) -> None:
    ids = [farm.submit(job("true"), "--folder", str(tmp_path / str(n))) for n in range(17)]
    # Of seventeen, two begin with the same digit.
    first = next(one for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    assert f"{first[0]} is the beginning of several jobs: " in farm.run("job", "show", first[0], status=2)


def test_jobs_are_paused_resumed_cancelled_retried_and_deleted(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(shown(tmp_path, "a", "b", "c", tail=held(tmp_path, "go")))
    wait_until(lambda: len(begun(tmp_path)) == 2)
    short = job_id[:8]
    (told,) = json.loads(farm.run("job", "pause", short, "--now", "--json"))
    assert (told["id"], told["state"]) == (job_id, "paused")
    farm.run("job", "edit", short, "--name", "new", "--retries", "4")
    farm.run("job", "priority", short, "9")
    found = json.loads(farm.run("job", "show", short, "--json"))["job"]
    assert (found["name"], found["priority"], found["settings"]) == ("new", 9, {"retries": 4})
    farm.run("job", "resume", short)
    # One that there is not keeps no other from being changed.
    assert "there is no job nix" in farm.run("job", "cancel", "nix", short, status=2)
    assert farm.state(short) == "cancelled"
    open_gate(tmp_path, "go")
    farm.run("job", "retry", short)
    wait_until(lambda: farm.state(short) == "completed")
    farm.run("job", "retry", short, "--chunk", "1", "--done")
    wait_until(lambda: farm.state(short) == "completed")
    assert begun(tmp_path).count("b") >= begun(tmp_path).count("c") + 1
    assert json.loads(farm.run("job", "delete", short, "--json")) == [{"id": job_id, "state": "deleted"}]
    assert json.loads(farm.run("job", "list", "--json")) == []


def test_a_job_begins_at_the_time_that_was_given_and_not_before(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job("true"), "--not-before", "2h")
    waits = json.loads(farm.run("job", "show", job_id, "--json"))["job"]["notBefore"] - time.time()
    assert 7000 < waits < 7201
    assert re.search(r"pending .* not before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", farm.run("job", "list"), re.MULTILINE)
    farm.run("job", "resume", job_id)
    farm.run("job", "watch", job_id)
    for wrong in ("1800000000", "25:00", "tomorrow", "0001-01-01"):
        assert f"'{wrong}' is not a moment" in farm.run("job", "submit", "job.json", "--not-before", wrong, status=2)
    told = farm.run("job", "submit", "job.json", "--not-before", "99999999999d", status=2)
    assert "is no time of the years until 9999" in told


@pytest.mark.parametrize(("text", "hours"), [("22:00", 1.5), ("06:30:00", 10), ("2027-05-31T20:30", 0), ("1h30m", 1.5)])
def test_a_time_of_day_is_the_next_one(text: str, hours: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class HalfPastEight(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2027, 5, 31, 20, 30, tzinfo=tz)

    monkeypatch.setattr(arguments, "datetime", HalfPastEight)
    now = datetime(2027, 5, 31, 20, 30).timestamp()
    moment = arguments.parse_moment(click.Context(click.Command("x")), click.Option(["--x"]), text)
    assert moment is not None and moment - now == hours * 3600


def test_a_time_of_day_that_comes_twice_is_the_next_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class ClocksWerePutBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2026, 10, 25, 2, 10, tzinfo=tz, fold=1)

    monkeypatch.setattr(arguments, "datetime", ClocksWerePutBack)
    try:
        with monkeypatch.context() as changed:
            changed.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
            time.tzset()
            moment = arguments.parse_moment(click.Context(click.Command("x")), click.Option(["--x"]), "02:30")
    finally:
        time.tzset()
    assert moment == datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()


def test_chunks_that_were_made_some_other_way_are_done(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job("true", "exit 3"), "--keep-going")
    farm.run("job", "watch", job_id, status=1)
    (told,) = json.loads(farm.run("job", "mark-done", job_id[:9], "1", "--json"))
    assert (told["id"], told["completedChunks"]) == (job_id, 2)
    farm.run("job", "retry", job_id)
    farm.run("job", "watch", job_id)
    assert "cannot be marked" in farm.run("job", "mark-done", job_id, "0", status=2)


def test_a_priority_may_be_below_zero(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")), "--priority", "-1")
    assert json.loads(farm.run("job", "priority", job_id, "-5", "--json"))[0]["priority"] == -5
    assert "is not a valid integer" in farm.run("job", "priority", job_id, "--no-such-option", status=2)


def test_what_cannot_be_done_with_one_job_is_done_with_the_others(farm: Commands, tmp_path: Path) -> None:
    failed = [farm.submit(job(script), "--name", script, "--folder", script) for script in ("exit 3", "exit 4; exit 5")]
    for job_id in failed:
        farm.run("job", "watch", job_id, status=1)
    # Typed as a byte that is no character; and one of the others has no such chunk.
    assert "there is no job" in farm.run("job", "retry", "\udcff", *failed, status=2)
    for job_id in failed:
        farm.run("job", "watch", job_id, status=1)
        assert json.loads(farm.run("job", "show", job_id, "--json"))["chunks"][0]["attempts"] == 2


def test_a_job_is_watched_to_its_end(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job(f"echo begun; {held(tmp_path, 'go')}; echo late >&2", "true", "exit 3"), "--keep-going")
    wait_until(lambda: json.loads(farm.run("job", "list", "--json"))[0]["completedChunks"] == 1)
    watched = farm.start("job", "watch", job_id)
    assert watched.stderr is not None
    assert watched.stderr.readline() == f"tailrace: job {job_id} (job-1) is running, 1 of 3 chunks done\n"
    open_gate(tmp_path, "go")
    _, err = watched.communicate(timeout=60)
    assert watched.returncode == 1
    assert "[chunk 0] late\n" in err
    assert re.search(r"tailrace: chunk 0 done in \d+\.\d s, 2 of 3", err), err
    assert re.search(rf"tailrace: job {job_id}: .*1 failed \(2\)", err)
    assert f"job {job_id} is failed: chunk 2 failed" in err
    # What has ended is told too.
    assert "is failed" in farm.run("job", "watch", job_id, status=1)


@pytest.mark.anyio
async def test_chunks_that_end_while_they_are_asked_for_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served_farm(tmp_path) as farm:
        scripts = ("true", "exit 3", "true")
        spec = job(*(f"{held(tmp_path, 'go')}; {script}" for script in scripts))
        job_id = await farm.submit(spec, JobSettings(fail_fast=False), folder=tmp_path)
        await until_states(farm, job_id, ["running", "running", "pending"])
        chunks = farm.chunks

        async def later(job_id: str) -> Sequence[ChunkStatus]:
            open_gate(tmp_path, "go")
            await farm.wait(job_id)
            return await chunks(job_id)

        monkeypatch.setattr(farm, "chunks", later)
        watch = watching.Watch(farm, await farm.get(job_id), quiet=False, no_color=True, as_json=False)
        await watch.run()
        assert watch.tell_end() == 1
    told = capfd.readouterr().err
    assert f"job {job_id}: 0 chunks done, 2 done before, 1 failed (1), 20 of 30 frames" in told
    assert "3 of 3" not in told


def test_ctrl_c_leaves_a_watched_job_running(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(shown(tmp_path, "a", tail=held(tmp_path, "go")))
    watched = farm.start("job", "watch", job_id)
    assert watched.stderr is not None
    assert watched.stderr.readline().startswith(f"tailrace: job {job_id} (shot) is ")
    watched.send_signal(signal.SIGINT)
    _, err = watched.communicate(timeout=30)
    assert watched.returncode == 130
    assert f"job {job_id} goes on: tailrace job watch {job_id} shows it again" in err and "Traceback" not in err
    assert farm.state(job_id) == "running"
    open_gate(tmp_path, "go")
    events = [json.loads(line) for line in farm.run("job", "watch", job_id, "--json").splitlines()]
    assert all("event" in one for one in events)
    assert farm.state(job_id) == "completed"


def test_logs_are_written_and_followed(farm: Commands, tmp_path: Path) -> None:
    job_id = farm.submit(job(f"echo out; echo err >&2; {held(tmp_path, 'go')}; echo late", "echo second"))
    following = farm.start("job", "logs", job_id, "0", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == "out\n"
    assert "--follow is for one chunk" in farm.run("job", "logs", job_id, "--follow", status=2)
    open_gate(tmp_path, "go")
    assert following.communicate(timeout=30) == ("late\n", "err\n")
    assert following.returncode == 0
    farm.run("job", "watch", job_id)
    assert farm.run("job", "logs", job_id) == "[chunk 0] out\n[chunk 0] late\n[chunk 1] second\n"
    assert farm.run("job", "logs", job_id, "0", "--stderr") == "err\n"
    assert farm.run("job", "logs", job_id, "0", "--stdout", "--attempt", "1") == "out\nlate\n"
    pieces = [json.loads(line) for line in farm.run("job", "logs", job_id, "--json").splitlines()]
    assert {(piece["chunkId"], piece["stream"]) for piece in pieces} == {(0, "stdout"), (0, "stderr"), (1, "stdout")}
    assert "".join(piece["data"] for piece in pieces if piece["stream"] == "stdout") == "out\nlate\nsecond\n"


def test_a_node_is_left_out_and_takes_part_again(farm: Commands, tmp_path: Path) -> None:
    (told,) = json.loads(farm.run("node", "drain", "--json"))
    assert (told["name"], told["slots"], told["isOpen"]) == ("", 2, False)
    job_id = farm.submit(shown(tmp_path, "a"))
    time.sleep(0.5)
    assert (begun(tmp_path), farm.state(job_id)) == ([], "pending")
    assert "(the only one)  0 of 2      drained" in farm.run("node", "list")
    assert "no more is started on any node: `tailrace node list` says why" in farm.run("job", "list")
    farm.run("node", "resume")
    wait_until(lambda: farm.state(job_id) == "completed")


def test_the_shell_completes_ids(farm: Commands) -> None:
    job_id = farm.submit(job("true"))

    def completed(environment: dict[str, str]) -> list[str]:
        words = {
            "_TAILRACE_COMPLETE": "bash_complete",
            "COMP_WORDS": f"tailrace job show {job_id[:3]}",
            "COMP_CWORD": "3",
        }
        program = "from tailrace._cli.main import main; main()"
        finished = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment | words
        )
        assert finished.stderr == ""
        return finished.stdout.split()

    assert completed(dict(farm.serving.environment)) == [f"plain,{job_id}"]
    assert completed({**os.environ, "TAILRACE_SERVER": "http://127.0.0.1:1"}) == []


def test_a_folder_that_the_server_does_not_see_is_refused(farm: Commands, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job("true").model_dump_json(by_alias=True))
    # Only this process sees it.
    hidden = 'mount -t tmpfs none /mnt && mkdir /mnt/hidden-shot && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", hidden, "sh", *TAILRACE, "job", "submit", "job.json"]
    finished = subprocess.run(
        [*command, "--folder", "/mnt/hidden-shot"],
        capture_output=True,
        text=True,
        timeout=60,
        env=farm.serving.environment,
        cwd=tmp_path,
    )
    assert finished.returncode == 2, finished.stderr
    assert "does not see /mnt/hidden-shot: a job's folder has to be on a disk that both share" in finished.stderr


def test_a_server_has_chunks_run_by_workers_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with (
        running_worker(tmp_path) as worker,
        serve_command(tmp_path, "--adapter", "http", "--url", f"http://127.0.0.1:{worker.port}/") as serving,
    ):
        farm = Commands(serving, tmp_path)
        for name in ("a.json", "b.json"):
            there = worker.write_job(f"echo {name} of the worker", name=f"there-{name}")
            job_id = farm.submit(job("echo here"), "--job-def-url", there, name=name)
            farm.run("job", "watch", job_id)
            assert farm.run("job", "logs", job_id) == f"{name} of the worker\n"
