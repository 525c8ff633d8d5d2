"""Which renderer it is, by its command and by what it prints."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import NamedTuple

from ._plan import rarest_of
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
_KEYWORDS = frozenset(["!", "do", "elif", "else", "if", "then", "until", "while"])
# Programs that other renderers run in, whose output holds theirs.
_HOSTS = frozenset(["blender", "cinema4d", "karma", "maya"])
_GUESTS = frozenset(["arnold", "redshift", "renderman", "vray"])
_VERSION = re.compile(r"[-_]?v?\d[\w.]*$")
_ASSIGNMENT = re.compile(r"\w+=")
_OPERATOR = re.compile(r"[;&|()<>\n]+|[{}]")
_SCRIPT = re.compile(r"\.(?:py|sh|bash)$")
_TAKES_SCRIPT = re.compile(r"-\w*c$")
_LONGEST_NAME = 255
_LONGEST_SCRIPT = 16 * 1024
"""In characters: `shlex` copies a word for each of its characters."""


def renderer_of_command(command: str | Sequence[str]) -> tuple[Renderer, bool] | None:
    """Return the renderer whose program `command` runs, itself or through a shell, `env`, `nice` and the like.

    With it comes whether that is certain: what a program in between runs is a guess.
    """
    words = _words(command)
    found = _find(words)
    if found is None:
        return None
    return found, _known(words[0]) is found and not any(map(_OPERATOR.fullmatch, words))


class Signature(NamedTuple):
    """What a line may hold, and the renderer that it tells then."""

    text: bytes
    rarest: bytes
    """The character of the text that is the least likely."""
    renderer: Renderer


def signatures_beside(renderer: Renderer) -> tuple[Signature, ...]:
    """Return those that count where the output was taken for that of `renderer` so far."""
    return _signatures_beside(renderer, renderers())


@functools.lru_cache(maxsize=64)
def _signatures_beside(renderer: Renderer, known: tuple[Renderer, ...]) -> tuple[Signature, ...]:
    return tuple(
        Signature(text.encode(), rarest_of(text.encode()), other)
        for other in known
        if other.name != renderer.name and not (renderer.name in _HOSTS and other.name in _GUESTS)
        for text in other.signatures
    )


def _find(words: list[str]) -> Renderer | None:
    """Return what the first of the commands in `words` runs that runs a renderer."""
    start = 0
    for at, word in enumerate([*words, ";"]):
        if _OPERATOR.fullmatch(word):
            found = _find_in_one(words[start:at])
            if found is not None:
                return found
            start = at + 1
    return None


def _find_in_one(words: list[str]) -> Renderer | None:
    """Look at the first word that is no assignment, and behind a wrapper at those that follow."""
    for at, word in enumerate(words):
        if word not in _KEYWORDS and not _ASSIGNMENT.match(word):
            known = _known(word)
            if known is None and _names(word) & _WRAPPERS:
                return _find_behind(words[at + 1 :])
            return known
    return None


def _find_behind(words: list[str]) -> Renderer | None:
    """Look for the command behind a wrapper, whose own options are not known here."""
    if "--" in words:
        found = _find_in_one(words[words.index("--") + 1 :])
        if found is not None:
            return found
    # What follows an option may be its value.
    perhaps = None
    for before, word in pairwise(["", *words]):
        if any(map(str.isspace, word)) and (_TAKES_SCRIPT.match(before) or not _ASSIGNMENT.match(word)):
            found = _find(_words(word))
            if found is not None:
                return found
        # A variable, or two folders of a container.
        if "=" in word or ":" in word:
            continue
        name = PurePath(word).name
        if _SCRIPT.search(name):
            return perhaps or next(filter(None, map(_known, re.split(r"[-_.]", name))), None)
        known = _known(word)
        if known is not None and not before.startswith("-"):
            return known
        perhaps = perhaps or known
    return perhaps


def _known(word: str) -> Renderer | None:
    places = _places_of_programs(renderers())
    place = min((places[name] for name in _names(word) if name in places), default=None)
    return None if place is None else renderers()[place]


@functools.lru_cache(maxsize=8)
def _places_of_programs(known: tuple[Renderer, ...]) -> dict[str, int]:
    """Return for each program the place of the first renderer that has it."""
    return {program: place for place, other in reversed([*enumerate(known)]) for program in other.programs}


@functools.lru_cache(maxsize=256)
def _names(word: str) -> frozenset[str]:
    """Return what the program may be called: with and without a version."""
    name = PurePath(word).name.removesuffix(".exe").removesuffix(".bin")
    if len(name) > _LONGEST_NAME:
        return frozenset([name])
    return frozenset([name, _VERSION.sub("", name)])


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    # A shell's operators need no spaces around them, and the end of a line is one.
    command = command[:_LONGEST_SCRIPT]
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return re.findall(r"[;&|\n]+|[^\s;&|]+", command)
