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
        "do",
        "docker",
        "else",
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
        "then",
        "time",
        "timeout",
        "unshare",
        "vglrun",
        "xvfb-run",
        "zsh",
    ]
)
_VERSION = re.compile(r"[-_]?v?\d[\w.]*$")
_ASSIGNMENT = re.compile(r"\w+=")
_OPERATOR = re.compile(r"[;&|()<>]+")
_SCRIPT = re.compile(r"\.(?:py|sh|bash)$")


def renderer_of_command(command: str | Sequence[str]) -> Renderer | None:
    """Return the renderer whose program `command` runs, itself or through a shell, `env`, `nice` and the like."""
    by_program = {program: renderer for renderer in reversed(renderers()) for program in renderer.programs}
    return _find(_words(command), by_program) if command else None


def all_signatures() -> list[tuple[bytes, Renderer]]:
    """Return what a line may hold, and the renderer that it tells then."""
    return [(text.encode(), renderer) for renderer in renderers() for text in renderer.signatures]


def _find(words: list[str], by_program: dict[str, Renderer]) -> Renderer | None:
    """Return what the first of the commands in `words` runs that runs a renderer."""
    start = 0
    for at, word in enumerate([*words, ";"]):
        if _OPERATOR.fullmatch(word):
            found = _find_in_one(words[start:at], by_program)
            if found is not None:
                return found
            start = at + 1
    return None


def _find_in_one(words: list[str], by_program: dict[str, Renderer]) -> Renderer | None:
    """Look at the first word, and behind a wrapper, whose own options are not known here, at those that follow."""
    wrapped = False
    for word in words:
        name = PurePath(word).name.removesuffix(".exe").removesuffix(".bin")
        plain = _VERSION.sub("", name)
        known = by_program.get(name) or by_program.get(plain)
        if known is not None:
            return known
        if wrapped:
            if _SCRIPT.search(name):
                return next((by_program[part] for part in re.split(r"[-_.]", name) if part in by_program), None)
            if any(character.isspace() for character in word):
                known = _find(_words(word), by_program)
                if known is not None:
                    return known
        elif name in _WRAPPERS or plain in _WRAPPERS:
            wrapped = True
        elif not _ASSIGNMENT.match(word):
            return None
    return None


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    # A shell's operators need no spaces around them.
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return re.findall(r"[;&|]+|[^\s;&|]+", command)
