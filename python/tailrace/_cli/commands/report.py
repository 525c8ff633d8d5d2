"""`tailrace job report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from ..completion import complete_folder
from ..farm_access import NotDoneError, ask_farm, complete_job_id, server_option, whole_id

if TYPE_CHECKING:
    from tailrace import RemoteFarm


def _complete_source(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    ids = [] if os.sep in incomplete else complete_job_id(context, parameter, incomplete)
    return [*ids, *complete_folder(context, parameter, incomplete)]


@click.command()
@click.argument("source", metavar="LOG_DIR_OR_ID", shell_complete=_complete_source)
@click.option(
    "--to", metavar="REPORT.html", type=click.Path(dir_okay=False), help="Write a page that needs nothing else."
)
@click.option("--no-sheet", is_flag=True, help="Leave out the pictures of the frames.")
@click.option("--json", "as_json", is_flag=True, help="Write an object of JSON to standard output.")
@click.option("--csv", "as_csv", is_flag=True, help="Write a line for each chunk to standard output.")
@server_option
def report(source: str, to: str | None, server: str | None, *, no_sheet: bool, as_json: bool, as_csv: bool) -> None:
    """Tell what became of a job, of all its runs: of the folder with its logs (--log-dir), or of a farm's by its id.

    An id may be cut to any unique beginning; a folder of that name comes first. The job may run still. The page has the
    time line of the slots, memory, processor and time by chunk and frame, why chunks failed, with the lines that
    explain it, pictures of the frames and a table of all chunks.

    Exit status: 0; 1 if the page cannot be written; 2 bad usage, a folder without such logs, an unknown id, or no
    server; 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP.
    """
    if to is None and not (as_json or as_csv):
        raise click.UsageError("say what to make: --to report.html, --json or --csv")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv both write to standard output: use one of them")
    # Help and completion are asked for often, and need none of it.
    import anyio

    from ..interruption import Interruptible
    from ..report_file import check_report_path
    from ..writing import print_message

    if to is not None:
        check_report_path(to, "--to")
    if not os.path.isdir(source):  # noqa: PTH112
        _ask_for_it(server, source, to, sheet=not no_sheet, as_json=as_json, as_csv=as_csv)
        return
    interruptible = Interruptible(print_message)

    async def make() -> None:
        await _make(source, to, sheet=not no_sheet, as_json=as_json, as_csv=as_csv)

    anyio.run(interruptible.run, make)
    sys.exit(0 if interruptible.signal is None else 128 + interruptible.signal)


def _ask_for_it(server: str | None, source: str, to: str | None, *, sheet: bool, as_json: bool, as_csv: bool) -> None:
    """Have the farm's server make what is asked for."""
    from tailrace import FarmServerError, TailraceError

    async def ask(farm: RemoteFarm) -> tuple[bytes | None, bytes | None]:
        try:
            job_id = await whole_id(farm, source)
        except (click.ClickException, FarmServerError) as error:
            raise NotDoneError(f"there is no folder {source}, and {error}") from error
        told = await farm.report(job_id, "json" if as_json else "csv") if as_json or as_csv else None
        return told, None if to is None else await farm.report(job_id, sheet=sheet)

    told, page = ask_farm(server, ask)
    if told is not None:
        click.echo(told, nl=as_json)
    if to is not None and page is not None:
        try:
            Path(to).write_bytes(page)
        except OSError as error:
            raise TailraceError(f"the report {to} cannot be written: {error.strerror}") from error
        click.echo(f"{to}: {len(page) / 1000:,.0f} kB", err=as_json or as_csv)


async def _make(source: str, to: str | None, *, sheet: bool, as_json: bool, as_csv: bool) -> None:
    import anyio.to_thread

    from tailrace import TailraceError
    from tailrace.report import read_log_folder, report_to_csv, report_to_json, write_report

    from ..writing import print_message

    try:
        data = await anyio.to_thread.run_sync(read_log_folder, source, abandon_on_cancel=True)
    except TailraceError as error:
        raise click.UsageError(str(error)) from error
    if as_json or as_csv:
        click.echo(report_to_json(data) if as_json else report_to_csv(data), nl=as_json)
    if to is not None:
        note = await write_report(data, to, sheet=sheet)
        if note is not None:
            print_message(f"note: {note}")
        click.echo(f"{to}: {len(data.chunks):,} chunks, {os.path.getsize(to) / 1000:,.0f} kB", err=as_json or as_csv)  # noqa: PTH202, ASYNC240
