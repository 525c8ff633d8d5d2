"""Which renderer it is, by its command and by what it prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from ._registry import renderers
from ._renderer import Renderer

_WRAPPERS = frozenset(
    [
        "apptainer",
        "bash",
        "dash",
        "dbus-run-session",
        "docker",
        "env",
        "exec",
        "ionice",
        "ksh",
        "nice",
        "nohup",
        "podman",
        "python",
        "python3",
        "rez-env",
        "setarch",
        "setpriv",
        "setsid",
        "sh",
        "singularity",
        "srun",
        "stdbuf",
        "sudo",
        "systemd-run",
        "taskset",
        "time",
        "timeout",
        "unshare",
        "vglrun",
        "xvfb-run",
        "zsh",
    ]
)
_VERSION = re.compile(r"[-_]?v?\d[\w.]*$")
_SCRIPT = re.compile(r"\.(?:py|sh|bash)$")


def renderer_of_command(command: str | Sequence[str]) -> Renderer | None:
    """Return the renderer whose program `command` runs, itself or through a shell, `env`, `nice` and the like."""
    by_program = {program: renderer for renderer in reversed(renderers()) for program in renderer.programs}
    return _find(_words(command), by_program) if command else None


def renderer_of_line(line: str) -> Renderer | None:
    """Return the renderer that prints lines like `line` and no other does."""
    for renderer in renderers():
        if renderer.signature is not None and re.search(renderer.signature, line):
            return renderer
    return None


def _find(words: list[str], by_program: dict[str, Renderer]) -> Renderer | None:
    """Look for a program: the first word, or any after the name of a wrapper, whose own options are not known here."""
    wrapped = False
    for word in words:
        name = PurePath(word).name.removesuffix(".exe").removesuffix(".bin")
        plain = _VERSION.sub("", name)
        for candidate in (name, plain):
            if candidate in by_program:
                return by_program[candidate]
        if wrapped and _SCRIPT.search(name):
            for part in re.split(r"[-_.]", name):
                if part in by_program:
                    return by_program[part]
        if wrapped and any(character.isspace() for character in word):
            found = _find(["sh", *_words(word)], by_program)
            if found is not None:
                return found
        if not wrapped:
            if name not in _WRAPPERS and plain not in _WRAPPERS:
                return None
            wrapped = True
    return None


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    # A shell's operators need no spaces around them.
    try:
        return list(shlex.shlex(command, posix=True, punctuation_chars=True))
    except ValueError:
        return command.split()
