"""The command line: `tailrace`."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from tailrace import SpecError, TailraceError

from ._job_run import run
from ._job_validate import validate
from ._tell import tell

BAD_INPUT = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(None, "--version", package_name="tailrace", message="%(prog)s %(version)s")
def cli() -> None:
    """Run render jobs in chunks and watch every chunk while it runs."""


@cli.group()
def job() -> None:
    """Run and check jobs."""


job.add_command(run)
job.add_command(validate)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        status = cli.main(prog_name="tailrace", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = 130
    except SpecError as error:
        tell(str(error))
        status = BAD_INPUT
    except TailraceError as error:
        tell(str(error))
        status = 1
    except BrokenPipeError:
        status = 141
    sys.exit(status or 0)
