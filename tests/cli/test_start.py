"""The command line starts in a blink, and Ctrl-C ends it without a traceback from the first moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import pytest

from support.jobs import job

CONSOLE_SCRIPT = "import sys\nfrom tailrace._cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())"
LAUNCHERS = {"module": (sys.executable, "-m", "tailrace"), "script": (sys.executable, "-c", CONSOLE_SCRIPT)}
HEAVY = {"anyio", "asyncio", "boto3", "httpx", "pydantic", "rich", "trio", "uvicorn"}
_CAUGHT = 1 << (signal.SIGINT - 1)


def modules_of(program: str, *args: str) -> set[str]:
    """Return what is loaded when `program` ends."""
    told = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {program}"
    finished = subprocess.run([sys.executable, "-c", told, *args], capture_output=True, text=True, check=True)
    return set(finished.stderr.split())


@pytest.mark.parametrize(
    "line",
    [
        "--version",
        "--help",
        "job --help",
        "job plan --help",
        "job run --help",
        "job submit --help",
        "job list --help",
        "serve --help",
        "node list --help",
        "progress replay --help",
        "completion zsh",
    ],
)
def test_what_needs_no_job_loads_nothing_of_what_runs_one(line: str) -> None:
    loaded = modules_of("from tailrace._cli.main import main; main()", *line.split())
    assert "tailrace._cli.main" in loaded
    assert loaded & HEAVY == set()


def test_completion_loads_nothing_of_what_runs_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TAILRACE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "tailrace job run --ret")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert modules_of("from tailrace._cli.main import main; main()") & HEAVY == set()


def test_importing_tailrace_loads_nothing_but_itself() -> None:
    assert modules_of("import tailrace") - modules_of("pass") == {"tailrace"}


def test_nothing_is_loaded_before_ctrl_c_ends_the_process_in_silence() -> None:
    own = {"tailrace", "tailrace._cli", "tailrace._cli.main"}
    assert modules_of("import tailrace._cli.main") - modules_of("pass") == own


def test_the_version_is_the_one_that_is_installed() -> None:
    for args in (["--version"], ["--version", "job"]):
        finished = subprocess.run([*LAUNCHERS["module"], *args], capture_output=True, text=True, check=True)
        assert finished.stdout == f"tailrace {version('tailrace')}\n"


def test_a_version_that_cannot_be_written_is_told_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run([*LAUNCHERS["module"], "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (finished.returncode, finished.stderr) == (1, "tailrace: cannot go on: No space left on device\n")


def test_the_version_and_an_import_take_little_longer_than_python_itself() -> None:
    programs = {"nothing": "pass", "import": "import tailrace", "version": CONSOLE_SCRIPT}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(20):
        for name, program in programs.items():
            seconds[name].append(_processor_time([sys.executable, "-c", program, "--version"]))
    python = median(seconds["nothing"])
    assert median(seconds["import"]) < 3 * python
    assert median(seconds["version"]) < 3 * python


def _processor_time(command: list[str]) -> float:
    # Not by the clock: others use the machine too.
    with Path(os.devnull).open("wb") as nothing:
        process = subprocess.Popen(command, stdout=nothing)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_ctrl_c_at_any_moment_of_telling_the_version_leaves_no_traceback(launcher: str) -> None:
    command = [*LAUNCHERS[launcher], "--version"]
    statuses = {_interrupted_after(delay / 1000, command) for delay in range(25)}
    # The last ones were done before.
    assert statuses <= {-signal.SIGINT, 0}


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_ctrl_c_at_any_moment_of_the_start_of_a_job_leaves_no_traceback(
    launcher: str, tmp_path: Path, mark: str
) -> None:
    started = tmp_path / "started"
    spec = tmp_path / "job.json"
    spec.write_text(job(f": {mark}; touch started; sleep 60; :").model_dump_json(by_alias=True))
    command = [*LAUNCHERS[launcher], "job", "run", str(spec)]
    statuses = set()
    delay = 0.0
    while delay == 0 or not started.exists():
        started.unlink(missing_ok=True)
        statuses.add(_interrupted_after(delay, command, started))
        delay = delay * 1.1 + 0.005
    assert statuses <= {-signal.SIGINT, 130}


def _interrupted_after(delay: float, command: list[str], started: Path | None = None) -> int:
    """Return how a process ended that was sent SIGINT `delay` seconds after Python itself had started.

    Where it writes the file `started`, that is not waited for any longer.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        # Python catches the signal before it loads anything, and what it leaves then is not ours.
        for caught in (True, False):
            while process.poll() is None and _catches_ctrl_c(process) is not caught:
                if started is not None and started.exists():
                    break
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=200)
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode


def _catches_ctrl_c(process: subprocess.Popen[bytes]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    # A process that has ended has none.
    return bool(int(fields.get("SigCgt", "0"), 16) & _CAUGHT)


def test_ctrl_c_that_was_ignored_when_it_started_stays_ignored(tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(job("sleep 0.5").model_dump_json(by_alias=True))
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *LAUNCHERS["module"], "job", "run", str(spec)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        # Until the shell has become the program.
        time.sleep(0.05)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
    assert process.returncode == 0


def test_what_has_to_be_cleaned_up_is_when_ctrl_c_comes() -> None:
    program = """
import os, signal
from tailrace._cli.cleanup import raising_keyboard_interrupt
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    with raising_keyboard_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("never")
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (-signal.SIGINT, "cleaned up\n")
