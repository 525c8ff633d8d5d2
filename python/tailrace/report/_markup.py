"""HTML and SVG made of elements: text in them is escaped, for there is no other way to put it in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_UNSEEN = re.compile(
    # The control characters but tabs and line ends (C0, DEL, C1), what turns the direction of text or hides in it
    # (UAX #9, UTR #36), surrogates, and what is no character.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)
_ESCAPE_SEQUENCE = re.compile(
    # ECMA-48, 5.3 and 8.3: colours and the like of a terminal.
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | int | Markup | Iterable[Child] | None"


def element(name: str, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """Return an element; of its children only `Markup` is not escaped.

    Attributes have their names with _ for -, and class_ for class. One that is None or False is left out, one that is
    True has no value.
    """
    return Markup(f"<{name}{''.join(_attributes(attributes))}>{join(children)}</{name}>")


def void(name: str, **attributes: str | int | bool | None) -> Markup:
    """Return an element that can have no children."""
    return Markup(f"<{name}{''.join(_attributes(attributes))}>")


def join(children: Iterable[Child]) -> Markup:
    """Return the children one after the other."""
    return Markup("".join(_text(child) for child in children))


def visible(text: str) -> str:
    """Return text of anybody's without what would not be seen, or would make something else be seen.

    Escape sequences of terminals are left out; of other such characters the number is shown.
    """
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", _ESCAPE_SEQUENCE.sub("", text))


def _text(child: Child) -> str:
    match child:
        case Markup():
            return child
        case None:
            return ""
        case str():
            return escape(visible(child))
        case int():
            return str(child)
    return join(child)


def _attributes(attributes: dict[str, str | int | bool | None]) -> Iterable[str]:
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        given = name.rstrip("_").replace("_", "-")
        yield f" {given}" if value is True else f' {given}="{escape(visible(str(value)))}"'
