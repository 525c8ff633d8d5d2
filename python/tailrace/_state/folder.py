"""Where a job runs, and where what tailrace knows about it is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from .._spec.model import JobSpec

FILE_NAME = "completed.jsonl"
"""The record, in the folder of a job."""
VERSION = 1
"""The version of the format of its lines."""
_LONGEST_NAME = 200
"""Most file systems take 255 bytes."""


def resolve_job_dir(spec: JobSpec, job_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder that the job's commands run in, as an absolute path."""
    if job_dir is not None:
        return Path(job_dir).absolute()
    return Path.cwd() if spec.path is None else spec.path.parent


def job_folder(job_dir: Path, job_id: str, state_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for the files of tailrace's own about a job.

    Whatever the id is, it lies in `job_dir/.tailrace`, or in a folder for `job_dir` in `state_dir`.
    """
    if state_dir is None:
        return job_dir / ".tailrace" / _to_name(job_id)
    return Path(state_dir).absolute() / _to_name(os.path.realpath(job_dir)) / _to_name(job_id)


def _to_name(text: str) -> str:
    """Return a name for a file, another one for every text."""
    # A path may hold bytes that are not text.
    text_bytes = text.encode(errors="surrogateescape")
    name = quote(text_bytes, safe=" ")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(text_bytes).hexdigest()[:32]
        # Cutting may split an escape, which is harmless: the name is decoded only to be shown.
        name = f"{name[:_LONGEST_NAME]}~{digest}"
    return name
