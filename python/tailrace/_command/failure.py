"""Why a command did not do what it was started for, in one line."""

from __future__ import annotations

import signal


def describe_exit(command: str, exit_code: int) -> str:
    """Return the reason for an exit code other than 0."""
    if exit_code >= 0:
        return f"{command} exited with status {exit_code}"
    try:
        name = f" ({signal.Signals(-exit_code).name})"
    except ValueError:
        name = ""
    return f"{command} was ended by signal {-exit_code}{name}"


def describe_error(error: BaseException) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
