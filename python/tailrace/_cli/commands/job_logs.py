"""`tailrace job logs`."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from ..farm_access import NotDoneError, ask_farm, complete_job_id, server_option, whole_id

if TYPE_CHECKING:
    from tailrace import ChunkStatus, RemoteFarm

    from ..display.lines import StreamOutput

_Stream = Literal["stdout", "stderr"]
_Read: TypeAlias = Callable[[], AsyncIterator[bytes]]


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.argument("chunk", metavar="[CHUNK]", type=int, required=False)
@click.option("--follow", "-f", is_flag=True, help="Also what is written from now on, until the chunk has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="What it wrote to standard output alone.")
@click.option("--stderr", "only", flag_value="stderr", help="What it wrote to standard error alone.")
@click.option("--attempt", metavar="N", type=click.IntRange(min=1), help="That of this attempt; default the last one.")
@server_option
@click.option(
    "--json", "as_json", is_flag=True, help="Write a JSON object for each piece of it, a line each, to standard output."
)
def logs(
    job_id: str,
    chunk: int | None,
    *,
    follow: bool,
    only: _Stream | None,
    attempt: int | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Write what a chunk of a job wrote, or all chunks, each line with its chunk in front.

    It goes to the stream that it was written to; that of one stream alone goes to standard output.
    """
    streams: tuple[_Stream, ...] = ("stdout", "stderr") if only is None else (only,)

    async def write(farm: RemoteFarm) -> None:
        import anyio

        from ..display.lines import StreamOutput

        found = await whole_id(farm, job_id)
        known: Sequence[ChunkStatus] = ()
        if chunk is None or attempt is not None:
            known = await farm.chunks(found, chunk_ids=None if chunk is None else [chunk])
        chunks = [chunk] if chunk is not None else [one.id for one in known]
        most = max((one.attempts for one in known), default=0)
        # One that is unknown is refused by who reads it.
        if known and attempt is not None and attempt > most and not follow:
            of = "any chunk" if chunk is None else f"chunk {chunk}"
            raise NotDoneError(f"there was no attempt {attempt} at {of} of job {found}, but {most}")
        if follow and len(chunks) > 1:
            raise NotDoneError(f"--follow is for one chunk: name one of {len(chunks)}, or use tailrace job watch")
        output = StreamOutput(prefixed=len(chunks) > 1)
        try:
            for each in chunks:
                async with anyio.create_task_group() as tasks:
                    for stream in streams:
                        read = partial(farm.output, found, each, stream, attempt, follow=follow)
                        if as_json:
                            tasks.start_soon(_describe, read, each, stream)
                        else:
                            tasks.start_soon(_copy, read, each, "stdout" if only else stream, output)
                await output.finish(each)
        except BaseExceptionGroup as errors:
            # Of two streams of one chunk both say the same.
            raise errors.exceptions[0] from None

    ask_farm(server, write)


async def _copy(read: _Read, chunk: int, to: _Stream, output: StreamOutput) -> None:
    async for data in read():
        await output.write(chunk, to, memoryview(data))


async def _describe(read: _Read, chunk: int, stream: _Stream) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def tell(text: str) -> None:
        if text:
            click.echo(json.dumps({"chunkId": chunk, "stream": stream, "data": text}))

    async for data in read():
        tell(decoder.decode(data))
    tell(decoder.decode(b"", final=True))
