"""The demo's promises: the chunks make exactly the uninterrupted video, and a killed job goes on where it was."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import tunnel

TOTAL_FRAMES = 240


@pytest.fixture
def path() -> str:
    return tunnel.search_path()


def test_the_merged_chunks_are_frame_for_frame_the_single_pass(tmp_path: Path, path: str) -> None:
    folder = tunnel.small_tunnel(tmp_path / "job")
    run = tunnel.run_job(folder, "--concurrency", "2", "--verify-output", path=path)
    assert run.returncode == 0, run.stderr

    comparison = tunnel.compare(folder, path=path)
    assert comparison.returncode == 0, comparison.stdout + comparison.stderr
    assert "Equal, frame for frame" in comparison.stdout

    merged = tunnel.frame_hashes(folder / "out/tunnel.mp4", path=path)
    assert merged == tunnel.frame_hashes(folder / "out/single_pass.mp4", path=path)
    # Every frame is a picture of its own, so that no chunk can stand in for another.
    assert len(set(merged)) == len(merged) == TOTAL_FRAMES


def swap_two_chunks(list_file: str) -> str:
    return list_file.replace("chunk_1", "chunk_x").replace("chunk_2", "chunk_1").replace("chunk_x", "chunk_2")


def leave_out_the_last_chunk(list_file: str) -> str:
    return list_file.replace("file out/chunk_5.mp4\n", "")


@pytest.mark.parametrize(
    ("spoil", "first_wrong_frame"),
    [(swap_two_chunks, 40), (leave_out_the_last_chunk, 200)],
    ids=["swapped", "missing"],
)
def test_the_comparison_fails_when_the_videos_differ(
    spoil: Callable[[str], str], first_wrong_frame: int, tmp_path: Path, path: str
) -> None:
    folder = tunnel.small_tunnel(tmp_path / "job")
    list_file = folder / "chunks.ffconcat"
    original = list_file.read_text()
    list_file.write_text(spoil(original))
    assert list_file.read_text() != original
    run = tunnel.run_job(folder, "--concurrency", "2", path=path)
    assert run.returncode == 0, run.stderr

    comparison = tunnel.compare(folder, path=path)
    assert comparison.returncode == 1
    assert f"differ, first at frame {first_wrong_frame}." in comparison.stdout


def test_a_job_killed_in_the_middle_of_a_chunk_resumes_to_the_undisturbed_video(tmp_path: Path, path: str) -> None:
    undisturbed = tunnel.small_tunnel(tmp_path / "undisturbed")
    assert tunnel.run_job(undisturbed, "--concurrency", "2", path=path).returncode == 0

    folder = tunnel.small_tunnel(tmp_path / "job")
    read_in_real_time(folder / "job.json")
    starts = StartLog(tmp_path / "bin", path)
    kill_while_rendering(folder, starts, chunks=(2, 3))
    finished = [folder / "out/chunk_0.mp4", folder / "out/chunk_1.mp4"]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in finished]
    starts.clear()

    resumed = tunnel.run_job(folder, "--concurrency", "2", "--resume", path=starts.path)
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(starts.outputs()) == [
        "out/chunk_2.mp4",
        "out/chunk_3.mp4",
        "out/chunk_4.mp4",
        "out/chunk_5.mp4",
        "out/tunnel.mp4",
    ]
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in finished] == before
    merged = tunnel.frame_hashes(folder / "out/tunnel.mp4", path=path)
    assert merged == tunnel.frame_hashes(undisturbed / "out/tunnel.mp4", path=path)
    assert len(merged) == TOTAL_FRAMES


def read_in_real_time(job: Path) -> None:
    """Let every chunk take the 1.3 s that its frames last, so that there is a middle to be killed in."""
    text = job.read_text()
    slower = text.replace("-f lavfi", "-re -f lavfi")
    assert slower != text
    job.write_text(slower)


def kill_while_rendering(folder: Path, starts: StartLog, chunks: tuple[int, ...]) -> None:
    """Kill the host when all of `chunks` have written something, and return when their renders have ended too."""
    with subprocess.Popen(
        tunnel.job_command(folder, "--concurrency", "2"),
        env=os.environ | {"PATH": starts.path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as host:
        outputs = [folder / f"out/chunk_{chunk}.mp4" for chunk in chunks]
        wait_until(lambda: all(output.exists() and output.stat().st_size > 0 for output in outputs))
        assert host.poll() is None
        host.send_signal(signal.SIGKILL)
        assert host.wait() == -signal.SIGKILL
    assert sorted(starts.outputs()) == [f"out/chunk_{chunk}.mp4" for chunk in range(max(chunks) + 1)]
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in starts.pids()))


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "this did not happen within a minute"
        time.sleep(0.01)


class StartLog:
    """An `ffmpeg` that notes its process id and its output file, and then becomes the real one."""

    def __init__(self, folder: Path, path: str) -> None:
        self.path = os.pathsep.join([str(folder), path])
        self._log = folder / "starts"
        real = shutil.which("ffmpeg", path=path)
        assert real is not None
        folder.mkdir()
        program = folder / "ffmpeg"
        program.write_text(
            "#!/bin/sh\n"
            'for output in "$@"; do :; done\n'
            f'echo "$$ $output" >> {shlex.quote(str(self._log))}\n'
            f'exec {shlex.quote(real)} "$@"\n'
        )
        program.chmod(0o755)
        self.clear()

    def clear(self) -> None:
        """Forget the starts so far."""
        self._log.write_text("")

    def outputs(self) -> list[str]:
        """Return the output file of every start, in order."""
        return [line.split()[1] for line in self._log.read_text().splitlines()]

    def pids(self) -> list[int]:
        """Return the process id of every start, in order."""
        return [int(line.split()[0]) for line in self._log.read_text().splitlines()]
