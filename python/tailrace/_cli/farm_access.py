"""What the commands that ask a farm have in common: its server, ids cut short, JSON, and what errors are to them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from tailrace import RemoteFarm

_T = TypeVar("_T")

_UNDERSCORE = re.compile("_([a-z])")
_PATIENCE = 1.0
"""How long the shell waits for ids while the user types, in seconds."""

server_option = click.option(
    "--server",
    metavar="URL",
    envvar="TAILRACE_SERVER",
    help="The farm's server; default http://127.0.0.1:8089. TAILRACE_SERVER_TOKEN has the token of one elsewhere.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


class NotDoneError(click.ClickException):
    """What a farm refuses, or nobody answers: one line, and the exit status of a wrong command line."""

    exit_code = 2


def ask_farm(server: str | None, ask: Callable[[RemoteFarm], Awaitable[_T]]) -> _T:
    """Return what `ask` does, given the farm. Raises `NotDoneError`."""
    import anyio

    from tailrace import FarmServerError, JobNotFoundError, JobStateError, RepositoryError, connect

    async def run() -> _T:
        async with connect(server) as farm:
            return await ask(farm)

    try:
        return anyio.run(run)
    except (FarmServerError, JobNotFoundError, JobStateError, RepositoryError, ValueError, ImportError) as error:
        raise NotDoneError(str(error)) from error


async def whole_id(farm: RemoteFarm, beginning: str) -> str:
    """Return the id of the one job whose id begins so. Raises `NotDoneError` if there is none, or several."""
    # No id has other characters, and not all can be asked for.
    found = await farm.find(beginning, 4) if beginning.isascii() else ()
    if beginning in found:
        return beginning
    if not beginning or not found:
        named = [job.id for job in await farm.list() if job.name == beginning][:3]
        remedy = f", but {', '.join(named)} of that name" if named else ": tailrace job list shows them"
        raise NotDoneError(f"there is no job {beginning or 'without an id'}{remedy}")
    if len(found) > 1:
        several = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise NotDoneError(f"{beginning} is the beginning of several jobs: {several}")
    return found[0]


def to_json(value: object) -> str:
    """Return statuses as JSON with camelCase keys, in lines."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return {key: _plain(part) for key, part in value.items()}
        case str() | int() | float() | None:
            return value
        case Sequence():
            return [_plain(part) for part in value]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {_UNDERSCORE.sub(lambda found: found[1].upper(), name): _plain(getattr(value, name)) for name in names}
    # The settings of a job.
    return json.loads(getattr(value, "to_json", lambda: "null")())


def complete_job_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the id of a job of the farm, with its name beside it; nothing if the server does not answer at once."""
    del parameter
    return _ask_soon(context, lambda farm: _ids(farm, incomplete))


def complete_node(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a node of the farm."""
    del parameter
    return _ask_soon(context, lambda farm: _nodes(farm, incomplete))


async def _ids(farm: RemoteFarm, incomplete: str) -> list[CompletionItem]:
    names = {job.id: job.name for job in await farm.list()}
    return [CompletionItem(found, help=names.get(found)) for found in await farm.find(incomplete, 100)]


async def _nodes(farm: RemoteFarm, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(node.name) for node in await farm.list_nodes() if node.name.startswith(incomplete)]


def _ask_soon(
    context: click.Context, ask: Callable[[RemoteFarm], Awaitable[list[CompletionItem]]]
) -> list[CompletionItem]:
    import anyio

    async def within(farm: Any) -> list[CompletionItem]:
        with anyio.move_on_after(_PATIENCE):
            return await ask(farm)
        return []

    try:
        return ask_farm(context.params.get("server"), within)
    except click.ClickException:
        return []
