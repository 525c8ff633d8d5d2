"""What all parts of one run of a job share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .._command.adapter import Capabilities, WorkerAdapter
from .._errors import SpecError
from .._output.job_logs import JobLogs
from .._output.secret_mask import SecretMask
from .._spec.model import JobSpec
from .._spec.outputs import chunks_sharing_outputs, chunks_whose_leftovers_are_outputs
from .._state.folder import resolve_job_dir
from .._state.inspection import OutputInspector, inspector_of, require_tools
from .._state.journal import CompletionRecord
from .._state.record import JobRecord
from .capacity import check_needs
from .nodes import Nodes
from .options import JobExecutionOptions


@dataclass(frozen=True, slots=True)
class JobContext:
    """What is run, how, by what and where, and who is told and what must not be."""

    spec: JobSpec
    options: JobExecutionOptions
    adapter: WorkerAdapter
    capabilities: Capabilities
    job_dir: Path
    run_id: str
    record: JobRecord | None
    outputs: OutputInspector | None
    """None: nobody asks for what the chunks have written, or it is not seen here."""
    owns_outputs: bool
    """Whether what lies where a chunk is going to write is set aside, and what it has written is judged."""
    logs: JobLogs | None
    is_told: bool
    """Whether anybody is told of the events, if it is the log alone."""
    mask: SecretMask
    sharing: frozenset[int]
    """The chunks whose leftovers are not theirs alone, and stay where they are."""
    nodes: Nodes
    env: Mapping[str, str]
    """Variables for all of its commands, the merge too."""

    @classmethod
    def of(
        cls,
        spec: JobSpec,
        options: JobExecutionOptions,
        adapter: WorkerAdapter,
        *,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> JobContext:
        """Return that of a new run.

        Raises what `check_job` does.
        """
        check_job(spec, options)
        job_dir = resolve_job_dir(spec, options.job_dir)
        run_id = os.urandom(8).hex()
        record = _make_record(spec, options, job_dir, run_id)
        sharing: frozenset[int] = frozenset()
        level = options.frame_level
        if record is not None or level is not None or options.stitcher is not None:
            sharing = chunks_sharing_outputs(spec.chunks).union(chunks_whose_leftovers_are_outputs(spec.chunks))
        mask = SecretMask(options.mask_env, options.slot_env)
        capabilities = Capabilities.of(adapter)
        logs = _make_logs(spec, options)
        owns_outputs = capabilities.shares_files and (record is not None or level is not None)
        is_told = logs is not None or bool(options.listeners)
        is_seen = owns_outputs or (capabilities.shares_files and (is_told or options.finish_timeout is not None))
        outputs = inspector_of(job_dir, level) if is_seen else None
        return cls(
            spec=spec,
            options=options,
            adapter=adapter,
            capabilities=capabilities,
            job_dir=job_dir,
            run_id=run_id,
            record=record,
            outputs=outputs,
            owns_outputs=owns_outputs,
            logs=logs,
            is_told=is_told,
            mask=mask,
            sharing=sharing,
            nodes=Nodes(),
            env=env,
        )


def check_job(spec: JobSpec, options: JobExecutionOptions) -> None:
    """Raise `SpecError` or `TailraceError` if the job cannot be run with these options.

    That is where a chunk can never start, where chunks would overwrite each other's output that is to be verified or
    stitched, and where frames are to be looked at and what reads them is not installed.
    """
    check_needs(spec, options.capacity, options.done_chunk_ids)
    if options.frame_level is not None or options.stitcher is not None:
        sharing = chunks_sharing_outputs(spec.chunks)
        if sharing:
            chunks = ", ".join(map(str, sorted(sharing)))
            raise SpecError(
                f"job {spec.id}: chunks {chunks} share output files, which cannot be verified or stitched:"
                " give each chunk an outputFile of its own"
            )
    if options.frame_level is not None:
        require_tools(spec, options.frame_level)


def _make_record(spec: JobSpec, options: JobExecutionOptions, job_dir: Path, run_id: str) -> JobRecord | None:
    has_folder = options.job_dir is not None or options.state_dir is not None or spec.path is not None
    if not options.record or not has_folder:
        return None
    return CompletionRecord(spec, job_dir, options.state_dir, run_id=run_id, stitched=options.output_file)


def _make_logs(spec: JobSpec, options: JobExecutionOptions) -> JobLogs | None:
    if options.log_dir is None:
        return None
    highest = max(chunk.id for chunk in spec.chunks)
    return JobLogs(
        Path(options.log_dir).absolute(), highest_id=highest, limit=options.log_limit, compress=options.log_compress
    )
