"""A size on the command line."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_file_size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return an option's value in bytes: 4096, 64M, 2G."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([KMGT]?)(i?B)?", text, flags=re.IGNORECASE | re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size: give a number of bytes, or one such as 64M")
    return int(match[1]) * _UNITS[match[2].upper()]
