"""A job, from its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ._data import MOST_FAILURES, AttemptReport, ChunkReport, ChunkStatus, FailureReport, FrameReport, JobReportData
from ._history import FrameKey, RunHistory
from ._log_lines import excerpts_of_attempt


def combine_runs(runs: Sequence[RunHistory]) -> JobReportData:
    """Return what became of the job that the last of `runs` (at least one) is of; those of others are left out.

    More events may come afterwards. Where there are logs, they are read for the lines that tell why chunks failed.
    """
    job_id = runs[-1].job_id
    histories = [run for run in runs if run.job_id == job_id]
    reports = tuple(history.report() for history in histories)
    frames: dict[FrameKey, FrameReport] = {}
    for history in histories:
        frames |= history.frames
    chunks = tuple(_chunks(histories, Counter(key.chunk_id for key, frame in frames.items() if frame.damage is None)))
    return JobReportData(
        job_id=job_id,
        runs=reports,
        chunks=chunks,
        frames=tuple(frame for _, frame in sorted(frames.items(), key=lambda one: (one[0].frame, one[0].chunk_id))),
        failures=tuple(islice(_failures(histories, chunks), MOST_FAILURES)),
    )


def _chunks(histories: Sequence[RunHistory], frames: Mapping[int, int]) -> Iterator[ChunkReport]:
    attempts: dict[int, list[AttemptReport]] = {}
    states: dict[int, ChunkStatus] = {}
    commands: dict[int, str] = {}
    reasons: dict[int, str | None] = {}
    for index, history in enumerate(histories):
        commands |= history.commands
        unfinished = history.unfinished()
        for chunk_id in states.keys() - history.state.chunks.keys():
            states[chunk_id] = "pending"
        for chunk_id, chunk in history.state.chunks.items():
            of_run = [*history.attempts.get(chunk_id, ()), *([cut] if (cut := unfinished.get(chunk_id)) else [])]
            if of_run:
                attempts.setdefault(chunk_id, []).extend(replace(attempt, run=index) for attempt in of_run)
                states[chunk_id] = _state_after(of_run[-1], history)
            elif chunk.status == "skipped":
                states[chunk_id] = "skipped"
            else:
                # What counts as done may only not have been asked for, as with --chunk: what is known of it holds.
                known: ChunkStatus = "completed" if chunk_id in history.done_before else "pending"
                states.setdefault(chunk_id, known)
                continue
            reasons[chunk_id] = chunk.reason
    for chunk_id, state in sorted(states.items()):
        yield ChunkReport(
            chunk_id=chunk_id,
            state=state,
            attempts=tuple(attempts.get(chunk_id, ())),
            frames=frames.get(chunk_id, 0),
            command=commands.get(chunk_id),
            reason=reasons.get(chunk_id) if state in ("failed", "skipped") else None,
        )


def _state_after(attempt: AttemptReport, history: RunHistory) -> ChunkStatus:
    if attempt.state != "retried":
        return attempt.state
    if history.goes_on:
        return "pending"
    # The next one never came.
    return "failed" if history.has_ended else "unfinished"


def _failures(runs: Sequence[RunHistory], chunks: Iterable[ChunkReport]) -> Iterator[FailureReport]:
    failed = [(chunk, attempt) for chunk in chunks if chunk.state == "failed" and (attempt := chunk.last) is not None]
    # The others may have failed because the first did.
    for chunk, attempt in sorted(failed, key=lambda one: (one[1].run, one[1].began + one[1].duration)):
        history = runs[attempt.run]
        excerpts = history.excerpts.get(chunk.chunk_id, [])
        if history.log_dir is not None and not excerpts:
            excerpts = excerpts_of_attempt(history.log_dir, chunk.chunk_id, attempt)
        yield FailureReport(chunk_id=chunk.chunk_id, attempt=attempt, excerpts=tuple(excerpts))
