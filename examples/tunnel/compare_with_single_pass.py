"""Render the job once more without chunks and compare the merged video with it, frame by frame.

Exits with 0 only if both videos hold the same number of frames and every pair of decoded frames has the same hash.
"""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MERGED = Path("out/tunnel.mp4")
SINGLE_PASS = Path("out/single_pass.mp4")


def main() -> int:
    """Print the comparison and return the exit status: 0 if the videos are equal, 1 if not."""
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not in PATH: `make .venv/bin/ffmpeg` installs it, `make demo` finds it there")
    print("rendering the same frames in a single pass ...", flush=True)
    run(single_pass_command(json.loads((HERE / "job.json").read_text())))
    merged, single_pass = frame_hashes(MERGED), frame_hashes(SINGLE_PASS)

    print(f"\n{'':16}  frames  hash of all frames")
    print(f"{'chunks, merged':16}  {len(merged):6}  {digest(merged)}")
    print(f"{'single pass':16}  {len(single_pass):6}  {digest(single_pass)}\n")
    if not merged or merged != single_pass:
        print(f"The videos differ, first at frame {first_difference(merged, single_pass)}.")
        return 1
    print(f"Equal, frame for frame. Play it: {display_path(HERE / MERGED)}")
    return 0


def single_pass_command(job: dict[str, object]) -> list[str]:
    """Return the first chunk's command, stretched over all frames of the job."""
    match job:
        case {
            "metadata": {"totalFrames": int(total)},
            "chunks": [{"command": str(command), "outputFile": str(output)}, *_],
        }:
            pass
        case _:
            sys.exit("job.json: expected metadata.totalFrames and chunks with a command and an outputFile")
    stretched, replaced = re.subn(r"start_frame=\d+:end_frame=\d+", f"start_frame=0:end_frame={total}", command)
    if replaced != 1:
        sys.exit("job.json: expected exactly one start_frame=A:end_frame=B in the first chunk's command")
    return [str(SINGLE_PASS) if word == output else word for word in shlex.split(stretched)]


def frame_hashes(video: Path) -> list[str]:
    """Return the MD5 of every decoded frame, in order; time stamps are left out."""
    table = run(["ffmpeg", "-v", "error", "-i", str(video), "-f", "framemd5", "-"])
    return [line.rsplit(",", 1)[1].strip() for line in table.splitlines() if not line.startswith("#")]


def run(command: list[str]) -> str:
    """Run a command beside the job file and return its stdout; its stderr stays visible."""
    finished = subprocess.run(
        command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
    )
    if finished.returncode != 0:
        sys.exit(f"this command failed with exit status {finished.returncode}: {shlex.join(command)}")
    return finished.stdout


def digest(hashes: list[str]) -> str:
    """Return one short hash that stands for a whole list of them."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:32]


def first_difference(left: list[str], right: list[str]) -> int:
    """Return the index of the first frame that is not in both lists alike."""
    shorter = min(len(left), len(right))
    return next((frame for frame in range(shorter) if left[frame] != right[frame]), shorter)


def display_path(path: Path) -> Path:
    """Return the path as seen from the current folder, if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
