"""A time on the command line."""

from __future__ import annotations

import re

import click

_FORM = re.compile(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d*)?|\.\d+)s?)?", re.ASCII | re.IGNORECASE)


def parse_limit(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return an option's value in seconds, more than 0: 300, 2.5, 5m or 1h30m."""
    if text is None:
        return None
    seconds = parse_delay(context, parameter, text)
    if not seconds:
        raise click.BadParameter(f"{text!r} should be more than 0")
    return seconds


def parse_delay(_: click.Context, __: click.Parameter, text: str) -> float:
    """The same, where 0 will do."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a time: give seconds, such as 300, or 5m or 1h30m")
    hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return hours * 3600 + minutes * 60 + seconds
