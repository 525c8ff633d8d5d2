"""Jobs for tests, made of small shell scripts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tailrace import Chunk, JobMetadata, JobSpec

FRAMES = 10
"""How many frames each chunk has."""


def shell(script: str) -> str:
    """Return the command text that has a shell run `script`."""
    return shlex.join(["sh", "-c", script])


def job(*scripts: str, merge: str | None = None, job_id: str = "job-1") -> JobSpec:
    """Return a job whose chunk N runs the Nth script and has the output file `chunk_N`."""
    return JobSpec(
        id=job_id,
        metadata=JobMetadata(total_frames=FRAMES * len(scripts), fps=30, width=640, height=360, duration=1),
        chunks=tuple(
            Chunk(
                id=number,
                start_frame=number * FRAMES,
                frame_count=FRAMES,
                output_file=f"chunk_{number}",
                command=shell(script),
            )
            for number, script in enumerate(scripts)
        ),
        merge_command=None if merge is None else shell(merge),
    )


def spec_fields() -> dict[str, Any]:
    """Return the fields of a valid specification of two chunks, as they are in JSON."""
    return {
        "id": "job-1",
        "metadata": {"totalFrames": 60, "fps": 30, "width": 640, "height": 360, "duration": 2.0},
        "chunks": [
            {"id": 0, "startFrame": 0, "frameCount": 30, "outputFile": "chunk_0.mp4", "command": "render --to 30"},
            {"id": 1, "startFrame": 30, "frameCount": 30, "outputFile": "chunk_1.mp4", "command": "render --to 60"},
        ],
        "mergeCommand": "join 'a b'",
    }


def names_in(folder: Path) -> set[str]:
    """Return the names of what is in `folder`, but for the files of tailrace's own."""
    return {path.name for path in folder.iterdir()} - {".tailrace"}


def count_lines(path: Path) -> int:
    """Return how many lines `path` has; scripts that append one to it are counted so."""
    return len(path.read_text().splitlines()) if path.exists() else 0
