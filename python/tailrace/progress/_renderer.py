"""The description of a renderer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ._rule import Rule


@dataclass(frozen=True, slots=True, eq=False)
class Renderer:
    """What a renderer is called, and what the lines mean that it prints.

    Of `rules`, the first that matches a line says what it means. `programs` are names of executables, without folder
    and version. `signatures` are pieces of text that this renderer prints and others do not: it is known by them where
    the program's name does not tell. An `encoder` writes all frames into one file: they are counted, not told each.

    Raises `ValueError` for a name that is empty or "auto", and for a signature that is not a piece of a line.
    """

    name: str
    rules: tuple[Rule, ...]
    programs: tuple[str, ...]
    signatures: tuple[str, ...]
    encoder: bool

    def __init__(
        self,
        name: str,
        rules: Iterable[Rule],
        *,
        programs: Iterable[str] = (),
        signatures: Iterable[str] = (),
        encoder: bool = False,
    ) -> None:
        """Describe a renderer."""
        if not name or name == "auto":
            raise ValueError(f"a renderer cannot be named {name!r}")
        signatures = tuple(signatures)
        for text in signatures:
            if not text or "\n" in text or "\r" in text:
                raise ValueError(f"renderer {name}: the signature {text!r} is not a piece of a line")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "rules", tuple(rules))
        object.__setattr__(self, "programs", tuple(programs))
        object.__setattr__(self, "signatures", signatures)
        object.__setattr__(self, "encoder", encoder)
