"""`tailrace job logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ..farm_access import NotDoneError, ask_farm, complete_job_id, server_option, whole_id

if TYPE_CHECKING:
    from tailrace import RemoteFarm

    from ..display.lines import StreamOutput

_Stream = Literal["stdout", "stderr"]


@click.command()
@click.argument("job_id", metavar="ID", shell_complete=complete_job_id)
@click.argument("chunk", metavar="[CHUNK]", type=int, required=False)
@click.option("--follow", "-f", is_flag=True, help="Also what is written from now on, until the chunk has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="What it wrote to standard output alone.")
@click.option("--stderr", "only", flag_value="stderr", help="What it wrote to standard error alone.")
@click.option("--attempt", metavar="N", type=click.IntRange(min=1), help="That of this attempt; default the last one.")
@server_option
def logs(
    job_id: str, chunk: int | None, *, follow: bool, only: _Stream | None, attempt: int | None, server: str | None
) -> None:
    """Write what a chunk of a job wrote, or all chunks, each line with its chunk in front.

    It goes to the stream that it was written to; that of one stream alone goes to standard output.
    """
    streams: tuple[_Stream, ...] = ("stdout", "stderr") if only is None else (only,)

    async def write(farm: RemoteFarm) -> None:
        import anyio

        from ..display.lines import StreamOutput

        found = await whole_id(farm, job_id)
        chunks = [chunk] if chunk is not None else [one.id for one in await farm.chunks(found)]
        if follow and len(chunks) > 1:
            raise NotDoneError(f"--follow is for one chunk: name one of {len(chunks)}, or use tailrace job watch")
        output = StreamOutput(prefixed=len(chunks) > 1)
        try:
            for each in chunks:
                async with anyio.create_task_group() as tasks:
                    for stream in streams:
                        to: _Stream = "stdout" if only else stream
                        tasks.start_soon(_copy, farm, found, each, stream, to, attempt, follow, output)
                await output.finish(each)
        except BaseExceptionGroup as errors:
            # Of two streams of one chunk both say the same.
            raise errors.exceptions[0] from None

    ask_farm(server, write)


async def _copy(
    farm: RemoteFarm,
    job_id: str,
    chunk: int,
    stream: _Stream,
    to: _Stream,
    attempt: int | None,
    follow: bool,
    output: StreamOutput,
) -> None:
    async for data in farm.output(job_id, chunk, stream, attempt, follow=follow):
        await output.write(chunk, to, memoryview(data))
