"""The files that a command reads, as far as its words tell: for renderers whose arguments are known."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import TypeAlias

from .._spec.numbered_name import is_numbered

_Words: TypeAlias = Sequence[str]
_Finder: TypeAlias = Callable[[_Words], Iterator[str]]

_VERSION = re.compile(r"[-_]?v?\d[\w.]*$")
_PROTOCOL = re.compile(r"[\w+]+:")
_NOT_A_NAME = re.compile(r"""["';*?\n]|://""")
"""A script, a pattern or an address: none of them is a name of a file."""
_READ_AS_FILES = frozenset(["concat", "image2"])
_SCENES_OF_USD = (".usd", ".usda", ".usdc", ".usdz")
_SCENES_OF_HOUDINI = (*_SCENES_OF_USD, ".hip", ".hiplc", ".hipnc")


def inputs_of(program: str, args: _Words) -> list[str]:
    """Return the files that the command reads, as its arguments name them; none where the program is not known.

    What is numbered is left out, and what may be something else than a file with a suffix. Includes of a scene, its
    textures and what runs behind a shell are not seen.
    """
    finder = _finder_for(program)
    if finder is None:
        return []
    return [name for name in finder(args) if not (is_numbered(name) or _NOT_A_NAME.search(name))]


@functools.lru_cache(maxsize=256)
def _finder_for(program: str) -> _Finder | None:
    name = PurePath(program).name.removesuffix(".exe").removesuffix(".bin")
    return _FINDERS.get(name) or _FINDERS.get(_VERSION.sub("", name))


def _blender(args: _Words) -> Iterator[str]:
    for before, word in pairwise(["", *args]):
        if word == "--":
            return
        if before in ("-P", "--python"):
            # Another word is the name of a text in the scene.
            if word.endswith(".py"):
                yield word
        elif word.endswith(".blend") and before not in ("--python-expr", "-o", "--render-output"):
            yield word


def _povray(args: _Words) -> Iterator[str]:
    # Looked for in these folders too.
    if any(word.startswith(("+L", "-L")) for word in args):
        return
    for word in args:
        name = word.removeprefix("+I").removeprefix("-I").strip("\"'")
        if name.endswith((".pov", ".POV")) and not name.startswith(("+", "-")):
            yield name


def _ffmpeg(args: _Words) -> Iterator[str]:
    kind = ""
    for before, word in pairwise(["", *args]):
        if before == "-f":
            kind = word
        elif before == "-i":
            name = word.removeprefix("file:")
            # A device and a filter have names as well, and a protocol stands before a colon.
            if (not kind or kind in _READ_AS_FILES) and PurePath(name).suffix and not _PROTOCOL.match(name):
                yield name
            kind = ""


def _python(args: _Words) -> Iterator[str]:
    for before, word in pairwise(["", *args]):
        if before in ("-X", "-W"):
            continue
        if not word.startswith("-"):
            if word.endswith(".py"):
                yield word
            return
        if word in ("-c", "-m"):
            return


def _nuke(args: _Words) -> Iterator[str]:
    if {"-x", "-xi", "-ix"}.isdisjoint(args):
        return
    # What follows the script is for it.
    yield from [word for word in args if word.endswith(".nk")][:1]


def _maya(args: _Words) -> Iterator[str]:
    # With a project, its folder for scenes is looked into as well.
    if {"-proj", "-p"}.isdisjoint(args):
        yield from [word for word in args if word.endswith((".ma", ".mb"))][-1:]


def _houdini(args: _Words) -> Iterator[str]:
    for before, word in pairwise(["", *args]):
        if word.endswith(".py"):
            # What follows a script is for it, and may be what it writes.
            yield word
            return
        if word.endswith(_SCENES_OF_HOUDINI) and not before.startswith(("-o", "--output")):
            yield word


_FINDERS: Mapping[str, _Finder] = {
    "blender": _blender,
    "blender-softwaregl": _blender,
    "ffmpeg": _ffmpeg,
    "husk": _houdini,
    "hython": _houdini,
    "mayabatch": _maya,
    "nuke": _nuke,
    "Nuke": _nuke,
    "povray": _povray,
    "python": _python,
    "Render": _maya,
}
