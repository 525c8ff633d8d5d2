"""`tailrace node list`, `drain` and `resume`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from ..farm_access import NotDoneError, ask_farm, complete_node, json_option, server_option, to_json
from ..text_table import table

if TYPE_CHECKING:
    from tailrace import RemoteFarm

_name_argument = click.argument("name", default="", shell_complete=complete_node)


@click.command("list")
@server_option
@json_option
def list_nodes(*, server: str | None, as_json: bool) -> None:
    """Show the nodes of the farm: their slots, how many of them are used, and what they have."""
    nodes = ask_farm(server, lambda farm: farm.list_nodes())
    if as_json:
        click.echo(to_json(nodes))
        return
    rows = [
        (
            node.name or "(the only one)",
            f"{node.running} of {node.slots}",
            "left out" if node.is_left_out else "open" if node.is_open else "drained",
            ", ".join([*(f"{name}={amount:g}" for name, amount in node.capacity.items()), *node.tags]),
        )
        for node in nodes
    ]
    click.echo("\n".join(table(("node", "slots used", "state", "has"), rows)))


@click.command()
@_name_argument
@server_option
@json_option
def drain(name: str, *, server: str | None, as_json: bool) -> None:
    """Start nothing more on the node NAME, or on the only one, and let what runs there end."""
    _change(server, name, lambda farm: farm.drain_node(name), as_json=as_json)


@click.command()
@_name_argument
@server_option
@json_option
def resume(name: str, *, server: str | None, as_json: bool) -> None:
    """Have the node NAME, or the only one, take part again."""
    _change(server, name, lambda farm: farm.resume_node(name), as_json=as_json)


def _change(server: str | None, name: str, change: Callable[[RemoteFarm], Awaitable[None]], *, as_json: bool) -> None:
    async def change_and_look(farm: RemoteFarm) -> None:
        try:
            await change(farm)
        except KeyError as error:
            raise NotDoneError(str(error.args[0])) from error
        if as_json:
            click.echo(to_json([node for node in await farm.list_nodes() if node.name == name]))

    ask_farm(server, change_and_look)
