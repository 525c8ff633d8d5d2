"""What an attempt at a chunk is to the adapter."""

from __future__ import annotations

import os
from collections.abc import Callable

from .._command.job import SLOT_VARIABLE, STREAMS, WorkerJob, like
from .._command.result import UsageSample
from .._output.command_events import CommandEvents
from .._output.pipeline import CommandOutput
from .capacity import GPU_VARIABLE
from .context import JobContext
from .early_end import EarlyEnd
from .memory_watch import MemoryWatch
from .queue import QueuedChunk

_MERGE_WINDOW = 0.02
"""How long a chunk's output may be gathered into one event, in seconds: a farm writes thousands of lines a second."""


class WorkerJobs:
    """Makes a `WorkerJob` for each attempt; what is the same for all is checked once."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._options = context.options
        self._is_observed = bool(context.options.listeners)
        # Once and for all: it is looked up in as many steps as the path has parts.
        self._folder = {} if context.capabilities.remote else {"PWD": os.path.realpath(context.job_dir)}
        self._common: WorkerJob | None = None

    def make(
        self,
        queued: QueuedChunk,
        command: str,
        words: list[str],
        output: CommandOutput,
        events: CommandEvents,
        *,
        on_started: Callable[[], object] | None,
        early: EarlyEnd | None,
        memory: MemoryWatch | None,
    ) -> WorkerJob:
        """Return that of a command, whose words these are."""
        chunk, slot, options = queued.chunk, queued.slot.number, self._options
        env = {
            **self._folder,
            **self._context.env,
            SLOT_VARIABLE: str(slot),
            **{name: values[slot] for name, values in options.slot_env.items()},
        }
        if queued.slot.gpus is not None:
            env[GPU_VARIABLE] = ",".join(queued.slot.gpus)
        if self._common is None:
            self._common = self._make_common(words, env, output)
        on_usage: Callable[[UsageSample], object] | None = events.on_usage if self._is_observed else None
        if memory is not None:
            on_usage = memory.then(on_usage)
        return like(
            self._common,
            command=words[0],
            args=words[1:],
            env=env,
            callbacks={stream: output.callback(stream) for stream in STREAMS},
            on_started=on_started,
            on_warning=events.on_warning,
            ending=None if early is None else early.ending,
            on_usage=on_usage,
            meta={
                **options.meta,
                "chunk_id": chunk.id,
                "start_frame": chunk.start_frame,
                "frame_count": chunk.frame_count,
                "frame_step": chunk.frame_step,
                "output_file": chunk.output_file,
                "command": command,
                "slot": slot,
                "needs": dict(chunk.needs),
                "place": queued.slot.place.name,
                "avoid_nodes": self._context.nodes.to_avoid(chunk.id),
            },
        )

    def _make_common(self, words: list[str], env: dict[str, str], output: CommandOutput) -> WorkerJob:
        options = self._options
        return WorkerJob(
            words[0],
            words[1:],
            env=env,
            cwd=self._context.job_dir,
            timeout=options.timeout,
            idle_timeout=options.idle_timeout,
            cpu_idle_timeout=options.cpu_idle_timeout,
            stream=output.mode,
            merge_window=_MERGE_WINDOW if self._context.is_told else 0,
            capture=options.capture,
        )
