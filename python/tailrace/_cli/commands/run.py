"""`tailrace job run`."""

from __future__ import annotations

import sys
from functools import partial

import click

from tailrace.progress import renderer_names

from ..adapter_options import AdapterCommand
from ..arguments import error_pattern_option, parse_amounts, parse_delay, parse_file_size, parse_frames, parse_limit
from ..completion import complete_chunk_id, complete_file, complete_folder, complete_variable

_limit_option = partial(click.option, metavar="S", callback=parse_limit)
_frames_option = partial(click.option, metavar="RANGE", callback=parse_frames)
_chunk_option = partial(click.option, metavar="ID", type=int, multiple=True, shell_complete=complete_chunk_id)


def _only_one(_: click.Context, __: click.Parameter, values: tuple[int, ...]) -> int | None:
    if len(values) > 1:
        raise click.BadParameter("can be given once: the output of one chunk is shown alone, or that of all")
    return values[0] if values else None


def _parse_slot_env(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    slot_env = {}
    for value in values:
        name, equals, list_ = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not of the form NAME=A,B")
        slot_env[name] = list_.split(",")
    return slot_env


@click.command(cls=AdapterCommand)
@click.argument("spec", shell_complete=complete_file)
@click.option("--concurrency", metavar="N", type=click.IntRange(min=1), default=1, help="Chunks at a time; default 1.")
@click.option(
    "--capacity",
    metavar="NAME=N,...",
    multiple=True,
    callback=parse_amounts,
    help="What the running chunks have together, for what they need: memory=64G,gpus=2,nuke_i=3.",
)
@click.option("--enforce-memory", is_flag=True, help="End a command that takes more memory than its chunk needs.")
@_chunk_option("--chunk", help="Run this chunk alone; may be repeated. Nothing is merged.")
@click.option("--no-merge", is_flag=True, help="Do not put the chunks together at the end.")
@click.option(
    "--stitch",
    metavar="OUT.mp4",
    type=click.Path(),
    help="Join the chunks' videos into this file with ffmpeg, in place of the merge command; nothing is encoded anew.",
)
@click.option(
    "--audio",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Lay the sound of this file under the joined video, cut to its length; goes with --stitch.",
)
@_limit_option("--merge-timeout", help="The longest the merge command, or joining with --stitch, may take.")
@click.option("--retries", metavar="N", type=click.IntRange(min=0), default=0, help="Further attempts for each chunk.")
@click.option(
    "--retry-delay",
    metavar="S",
    callback=parse_delay,
    default="1",
    help="Seconds before the first of them; at least doubled each time. Default 1.",
)
@_limit_option("--timeout", help="The longest an attempt may take, in seconds, or 1h30m.")
@_limit_option("--idle-timeout", help="The longest it may go without writing a byte.")
@_limit_option(
    "--cpu-idle-timeout", help="The longest it may use less than 1 % of a processor, or of a GPU that can be asked."
)
@_limit_option("--finish-timeout", help="The longest it may go on when all of its output is there.")
@_limit_option("--no-progress-timeout", help="The longest it may go without any progress.")
@click.option(
    "--progress",
    metavar="NAME",
    type=click.Choice(["auto", *renderer_names()]),
    default="auto",
    help="The renderer whose output it is; default: found out.",
)
@click.option("--stop-on-error", is_flag=True, help="End a command at the first fatal error in its output.")
@click.option(
    "--fail-on-error", is_flag=True, help="A fatal error in the output is a failure though the exit status is 0."
)
@error_pattern_option
@click.option(
    "--resource-delay",
    metavar="S",
    callback=parse_delay,
    default="30",
    help="The least wait before a further attempt when licence, memory or space were short. Default 30.",
)
@click.option("--keep-going", is_flag=True, help="Run the other chunks when one has failed.")
@click.option(
    "--fail-after",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run the other chunks until so many have failed, then end the job.",
)
@_frames_option("--frames", help="Render these frames alone, such as 10-20; nothing is merged.")
@_frames_option("--again", help="Render these frames again, such as 7,12, then merge anew.")
@click.option("--missing", is_flag=True, help="Render the frames whose files are not there, whatever the record says.")
@click.option("--resume", is_flag=True, help="Skip the chunks that are recorded as done and whose output is unchanged.")
@click.option("--dry-run", is_flag=True, help="Run nothing: list the chunks, and why --resume does not skip them.")
@click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Keep what --resume needs, and the locks, in this folder, not in .tailrace beside the job.",
)
@click.option("--no-record", is_flag=True, help="Keep neither: nothing is locked, and nothing can be resumed.")
@click.option(
    "--no-machine-check", is_flag=True, help="Do not look for programs, inputs and folders before the first chunk."
)
@click.option("--verify-output", is_flag=True, help="A missing or empty output file is a failure.")
@click.option(
    "--check-frames",
    type=click.Choice(["exist", "whole", "looks"]),
    help="How closely each frame is looked at: whether it is there, can be read to its end, looks like the others.",
)
@click.option(
    "--slot-env",
    metavar="NAME=A,B",
    multiple=True,
    callback=_parse_slot_env,
    help="A variable with one value for each chunk that may run at a time: CUDA_VISIBLE_DEVICES=0,1; may be repeated.",
)
@click.option("--log-dir", metavar="DIR", shell_complete=complete_folder, help="Write log files to this folder.")
@click.option(
    "--log-limit",
    metavar="SIZE",
    callback=parse_file_size,
    help="Keep the beginning and the end of larger logs: 64M, at least 64K.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(dir_okay=False),
    help="Write what became of the job to this page, which needs nothing else, at the end.",
)
@click.option("--log-compress", is_flag=True, help="Compress the logs (gzip) when their command has ended.")
@click.option(
    "--mask-env",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_variable,
    help="A variable whose value is shown nowhere, such as TOKEN; may be repeated.",
)
@click.option(
    "--quiet",
    "-q",
    is_flag=True,
    help="Show no output of the chunks, and say only what goes wrong and how the job ended; on a terminal the progress"
    " stays.",
)
@_chunk_option("--watch", callback=_only_one, help="Show the output of this chunk alone, as it is.")
@click.option(
    "--events",
    type=click.Choice(["ndjson"]),
    help="Write all that happens, output too, to standard output, one JSON object a line.",
)
@click.option("--no-color", is_flag=True, help="Use no colours; so does the variable NO_COLOR.")
def run(**options: object) -> None:
    """Run the job that SPEC describes, a file or an http(s) URL.

    The chunks' output goes to standard output and standard error while they run, prefixed by chunk when several run
    at a time; what tailrace has to say goes to standard error. With --events, standard output has the events instead.
    On a terminal the progress is drawn below the output: a row for each chunk that runs, in the order of their slots.

    Exit status: 0 done; 1 a chunk or the merge failed; 2 bad usage or a bad specification; 130, 143 or 129 after
    Ctrl-C, SIGTERM or SIGHUP; 141 when nobody reads the output any more.
    """
    # Before that nothing of it is needed: help and completion are asked for often.
    from ..session import JobRequest, execute

    sys.exit(execute(JobRequest(**options)))  # type: ignore[arg-type]
