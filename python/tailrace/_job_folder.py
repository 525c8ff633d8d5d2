"""Where a job runs, and where what tailrace knows about it is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from ._spec import JobSpec

_LONGEST_NAME = 200
"""Most file systems take 255 bytes."""


def resolve_job_dir(spec: JobSpec, job_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder that the job's commands run in, as an absolute path."""
    if job_dir is not None:
        return Path(job_dir).absolute()
    return Path.cwd() if spec.path is None else spec.path.parent


def job_folder(job_dir: Path, job_id: str) -> Path:
    """Return the folder for the files of tailrace's own; whatever the id is, it lies in `job_dir/.tailrace`."""
    name = quote(job_id, safe=" ")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(job_id.encode()).hexdigest()[:32]
        # Cutting may split an escape, which is harmless: nothing ever decodes the name.
        name = f"{name[:_LONGEST_NAME]}~{digest}"
    return job_dir / ".tailrace" / name
