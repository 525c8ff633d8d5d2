"""The description of a renderer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ._rule import Rule


@dataclass(frozen=True, slots=True)
class Renderer:
    """What a renderer is called, and what the lines mean that it prints.

    Of `rules`, the first that matches a line says what it means. `programs` are names of executables, without folder
    and version. `signature` is a regular expression found only in lines of this renderer; it is known by that where the
    program's name does not tell.

    Raises `ValueError` for a name that is empty or "auto", and for a signature that is not a regular expression.
    """

    name: str
    rules: tuple[Rule, ...]
    programs: tuple[str, ...] = ()
    signature: str | None = None

    def __init__(
        self, name: str, rules: Iterable[Rule], *, programs: Iterable[str] = (), signature: str | None = None
    ) -> None:
        """Describe a renderer."""
        if not name or name == "auto":
            raise ValueError(f"a renderer cannot be named {name!r}")
        if signature is not None:
            try:
                re.compile(signature)
            except re.error as error:
                raise ValueError(f"renderer {name}: the signature is not a regular expression: {error}") from error
        for attribute, value in (
            ("name", name),
            ("rules", tuple(rules)),
            ("programs", tuple(programs)),
            ("signature", signature),
        ):
            object.__setattr__(self, attribute, value)
