"""Jobs that write pictures, for tests of how frames are shown."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from support.farm_servers import JSON, FarmServer, ended
from support.jobs import shell
from tailrace import Chunk, JobMetadata, JobSpec

METADATA = JobMetadata(total_frames=10, fps=25, width=160, height=96, duration=1)


def frames_job(*scripts: str, output_file: str = "shot.####.png", frames: int = 1) -> JobSpec:
    """Return a job whose chunk N runs the Nth script, and has so many frames; they count from 1."""
    chunks = tuple(
        Chunk(
            id=number,
            start_frame=number * frames + 1,
            frame_count=frames,
            output_file=output_file.replace("CHUNK", str(number)),
            command=shell(script),
        )
        for number, script in enumerate(scripts)
    )
    return JobSpec(id="shot", metadata=METADATA, chunks=chunks)


def copying(source: Path, *frames: int, name: str = "shot.%04d.png") -> str:
    """Return a script that writes frames by copying a picture."""
    return "; ".join(f"cp {shlex.quote(str(source))} {name % frame}" for frame in frames)


def add(server: FarmServer, spec: JobSpec, folder: Path, **settings: Any) -> str:
    """Add a job that runs in that folder, and return its id."""
    folder.mkdir(exist_ok=True)
    fields = {"spec": json.loads(spec.model_dump_json(by_alias=True)), "folder": str(folder), "settings": settings}
    answer = server.send("POST", "/api/v1/jobs", json.dumps(fields), JSON)
    assert answer.status == 200, answer.body
    job_id: str = answer.json()["id"]
    return job_id


def rendered(server: FarmServer, spec: JobSpec, folder: Path, **settings: Any) -> str:
    """Add a job, and return its id when it has ended, in whatever way."""
    job_id = add(server, spec, folder, **settings)
    ended(server, job_id)
    return job_id
