"""What a command line asks for."""

from __future__ import annotations

from typing import NamedTuple

from ._adapter_options import AdapterRequest


class JobRequest(NamedTuple):
    """The argument and the options of `tailrace job run`."""

    spec: str
    concurrency: int
    chunk: tuple[int, ...]
    no_merge: bool
    stitch: str | None
    merge_timeout: float | None
    retries: int
    retry_delay: float
    timeout: float | None
    idle_timeout: float | None
    no_progress_timeout: float | None
    progress: str
    fail_on_error: bool
    resource_delay: float
    keep_going: bool
    resume: bool
    dry_run: bool
    state_dir: str | None
    no_record: bool
    verify_output: bool
    slot_env: dict[str, list[str]]
    log_dir: str | None
    log_limit: int | None
    log_compress: bool
    mask_env: tuple[str, ...]
    quiet: bool
    watch: int | None
    events: str | None
    no_color: bool
    adapter: AdapterRequest
