"""The commands of `tailrace`, and what their errors are to whoever called it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

import tailrace
from tailrace import SpecError, TailraceError

from .writing import print_message


class LazyGroup(click.Group):
    """Knows which module each command is in, where it has the same name unless another one follows the colon."""

    def __init__(self, *args: Any, modules: dict[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted([*super().list_commands(ctx), *self._modules])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; None if there is none."""
        if cmd_name not in self._modules:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._modules[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module, __package__), name or cmd_name)
        return command


BAD_INPUT = 2


def _show_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        click.echo(f"tailrace {tailrace.__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    modules={
        "adapters": ".commands.adapters",
        "completion": ".completion",
        "frames": ".commands.frames",
        "serve": ".commands.serve_farm:serve_farm",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Run render jobs in chunks and watch every chunk while it runs."""


@cli.group(
    cls=LazyGroup,
    modules={
        "cancel": ".commands.job_changes",
        "delete": ".commands.job_changes",
        "edit": ".commands.job_submit",
        "join": ".commands.join",
        "list": ".commands.job_list:list_jobs",
        "logs": ".commands.job_logs",
        "mark-done": ".commands.job_changes:mark_done",
        "pause": ".commands.job_changes",
        "plan": ".commands.plan",
        "priority": ".commands.job_changes",
        "report": ".commands.report",
        "resume": ".commands.job_changes",
        "retry": ".commands.job_changes",
        "run": ".commands.run",
        "schema": ".commands.schema",
        "show": ".commands.job_list",
        "submit": ".commands.job_submit",
        "validate": ".commands.validate",
        "watch": ".commands.job_watch",
    },
)
def job() -> None:
    """Plan, run, check and report jobs, join what they render, and ask the farm for what it does."""


@cli.group(
    cls=LazyGroup,
    modules={
        "drain": ".commands.farm_nodes",
        "list": ".commands.farm_nodes:list_nodes",
        "resume": ".commands.farm_nodes",
    },
)
def node() -> None:
    """Look at the nodes of the farm, and leave them out."""


@cli.group(cls=LazyGroup, modules={"check": ".commands.farm_check"})
def farm() -> None:
    """Look after what a farm keeps of its jobs."""


@cli.group(cls=LazyGroup, modules={"serve": ".commands.serve"})
def worker() -> None:
    """Run chunks for other machines."""


@cli.group(cls=LazyGroup, modules={"replay": ".commands.replay"})
def progress() -> None:
    """Understand what renderers print."""


def run() -> int:
    """Run the command that the process was started with; return the status to exit with. Raises nothing but bugs."""
    _open_standard_streams()
    try:
        status: int | None = cli.main(prog_name="tailrace", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context is not None else ""
        print_message(error.format_message().rstrip(".") + hint)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except SpecError as error:
        print_message(str(error))
        status = BAD_INPUT
    except TailraceError as error:
        print_message(str(error))
        status = 1
    except BrokenPipeError:
        status = 141
    except OSError as error:
        print_message(f"cannot go on: {error.strerror or error}")
        status = 1
        _forget_unwritten_output()
    return status or 0


def _forget_unwritten_output() -> None:
    # The interpreter would try again at its end, and complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_standard_streams() -> None:
    # Started with one of them closed, the next file to be opened would get its number, and the output.
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
