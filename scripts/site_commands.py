"""The page of the command line, from what `--help` says of every command."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator

import click

from tailrace._cli.root import cli

PLACE = "<!-- The site has every command here. -->"


def with_commands(markdown: str) -> str:
    """Return the page with the commands in their place, if it has one."""
    context = click.Context(cli, info_name="tailrace", **cli.context_settings)
    return markdown.replace(PLACE, "\n".join(_of_command(cli, context)))


def _of_command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from [f"## {context.command_path}", "", *_of_help(command.help or "")]
    yield from ["```text", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```", ""]
    yield from ["| Option | Meaning |", "| --- | --- |"]
    for names, meaning in _options(command, context):
        yield f"| `{names}` | {_of_text(meaning)} |"
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from _of_command(member, click.Context(member, info_name=name, parent=context))


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            yield record


def _of_help(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n{2,}", inspect.cleandoc(text)):
        # click's mark of what it is not to break anew: lines of commands here.
        if paragraph.startswith("\b\n"):
            yield from ["```text", inspect.cleandoc(paragraph.removeprefix("\b\n")), "```", ""]
        else:
            yield from [_of_text(paragraph), ""]


def _of_text(text: str) -> str:
    return re.sub(r"([\\`*_#|\[\]])", r"\\\1", html.escape(text, quote=False))
