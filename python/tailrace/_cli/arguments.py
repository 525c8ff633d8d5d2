"""Values of options: times, sizes and patterns of errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import cast

import click

import tailrace

_FORM = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d*)?|\.\d+)s?)?", re.ASCII | re.IGNORECASE)

_TIME_OF_DAY = re.compile(r"\d\d:\d\d(:\d\d)?", re.ASCII)


def parse_limit(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return an option's value in seconds, more than 0: 300, 2.5, 5m, 1h30m or 30d."""
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
        raise click.BadParameter(f"{text!r} is not a time: give seconds, such as 300, or 5m, 1h30m or 30d")
    return _seconds(match)


def _seconds(match: re.Match[str]) -> float:
    days, hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def parse_moment(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Return the time that an option's value means, in seconds since the epoch: 22:00, 2027-01-31T06:30, or 2h.

    A time of day is the next one, a time alone is counted from now; without a time zone it is this machine's.
    """
    if text is None:
        return None
    now = datetime.now().astimezone()
    if (match := _FORM.fullmatch(text)) is not None and not text.isdecimal():
        return now.timestamp() + _seconds(match)
    try:
        if _TIME_OF_DAY.fullmatch(text):
            today = datetime.combine(now.date(), time.fromisoformat(text))
            # Where clocks are put back, an hour comes twice.
            times = (today, today.replace(fold=1), today + timedelta(days=1))
            moment = next(one for one in times if one.astimezone() > now)
        else:
            moment = datetime.fromisoformat(text)
        return moment.timestamp()
    except (ValueError, OverflowError):
        # The latter for a year that this machine's zone does not have.
        raise click.BadParameter(
            f"{text!r} is not a moment: give one such as 22:00, 2027-01-31T06:30, or 2h for in two hours"
        ) from None


def parse_frames(_: click.Context, __: click.Parameter, text: str | None) -> tailrace.FrameRange | None:
    """Return the frames that an option's value names: 7, 1-100 or 1-249x2,300."""
    try:
        return None if text is None else tailrace.FrameRange.parse(text)
    except tailrace.SpecError as error:
        raise click.BadParameter(str(error).removeprefix("frames: ")) from error


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_file_size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return an option's value in bytes: 4096, 64M, 2G."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)([KMGT]?)(i?B)?", text, flags=re.IGNORECASE | re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size: give a number of bytes, or one such as 64M")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_amounts(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> Mapping[str, float] | None:
    """Return what an option names, each time that it is given: memory=64G,gpus=2."""
    if not texts:
        return None
    amounts: dict[str, str | float] = {}
    for part in ",".join(texts).split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name:
            raise click.BadParameter(f"{part!r} is not of the form NAME=N, such as memory=64G or gpus=2")
        if name in amounts:
            raise click.BadParameter(f"{name} is given twice")
        # What a size is, and which amounts can be used, is said by whoever takes them.
        amounts[name] = value
        if name != "memory":
            try:
                amounts[name] = float(value)
            except ValueError:
                raise click.BadParameter(f"{name}: {value!r} is not a number") from None
    return cast("Mapping[str, float]", amounts)


def parse_error_patterns(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the category and the expression of each: licence=no seats."""
    patterns = []
    for value in values:
        category, equals, expression = value.partition("=")
        if not category or not equals or not expression:
            raise click.BadParameter(f"{value!r} is not of the form CATEGORY=REGEX, such as 'licence=no free seat'")
        patterns.append((category, expression))
    from tailrace.progress import ProgressParser

    try:
        ProgressParser(error_patterns=patterns)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return tuple(patterns)


error_pattern_option = click.option(
    "--error-pattern",
    metavar="CATEGORY=REGEX",
    multiple=True,
    callback=parse_error_patterns,
    help="Lines of the output that tell of an error: licence, memory, disk, missing_asset, scene or error, and a"
    " regular expression; may be repeated. It is fatal if of missing_asset or scene.",
)
"""For lines that the renderer is not known for."""
