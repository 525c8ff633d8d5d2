"""`tailrace completion`, and what the shell is told while the user types."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

import tailrace

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print what makes SHELL complete the words of tailrace's commands; default: the shell of the user.

    \b
    bash: eval "$(tailrace completion bash)" in ~/.bashrc
    zsh:  eval "$(tailrace completion zsh)" in ~/.zshrc, after compinit
    fish: tailrace completion fish > ~/.config/fish/completions/tailrace.fish
    """  # noqa: D301 - click wants the character itself.
    if shell is None:
        shell = Path(os.environ.get("SHELL", "")).name
        if shell not in _SHELLS:
            raise click.UsageError("name the shell, which is not to be seen from SHELL: bash, zsh or fish")
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click brings these three.
    root = context.find_root()
    click.echo(kind(root.command, {}, "tailrace", "_TAILRACE_COMPLETE").source())


def complete_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete the name of a file."""
    del context, parameter
    return [CompletionItem(incomplete, type="file")]


def complete_folder(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete the name of a folder."""
    del context, parameter
    return [CompletionItem(incomplete, type="dir")]


def complete_template(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a renderer."""
    del context, parameter
    return [CompletionItem(name) for name in tailrace.template_names() if name.startswith(incomplete)]


def complete_variable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of an environment variable."""
    del context, parameter
    return [CompletionItem(name) for name in sorted(os.environ) if name.startswith(incomplete)]


def complete_chunk_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the id of a chunk of the job file, where that has been typed already."""
    del parameter
    # An option that has no value yet keeps click from sorting the words before it.
    source = context.params.get("spec") or next(iter(context.args), None)
    # A URL would be fetched at each key.
    if source is None or "://" in source:
        return []
    try:
        chunks = tailrace.JobSpec.load(source).chunks
    except tailrace.TailraceError:
        return []
    return [
        CompletionItem(str(chunk.id), help=chunk.output_file)
        for chunk in chunks
        if str(chunk.id).startswith(incomplete)
    ]
