"""What is wrong with values, said so that whoever wrote them finds the place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .._errors import SpecError

_EXPECTED = {
    "model_type": "an object",
    "model_attributes_type": "an object",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "string_unicode": "a text of valid Unicode characters",
    "string_too_short": "a text that is not empty",
    "string_too_long": "shorter",
}
_LONGEST_VALUE = 60


def to_spec_error(where: str, error: ValidationError, known: Iterable[str] = ()) -> SpecError:
    """Return the error to raise: each problem as "where: place: what was found should be what was expected".

    Of the `known` fields the nearest is named for one that there is not.
    """
    known = list(known)
    problems = [f"{where}: {_describe(problem, known)}" for problem in error.errors(include_url=False)]
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return SpecError(problems[0] + others, problems)


def _describe(problem: ErrorDetails, known: Sequence[str]) -> str:
    kind = problem["type"]
    if kind == "value_error":
        text = str(problem["ctx"]["error"])
    elif kind == "missing":
        text = "is missing"
    elif kind == "extra_forbidden":
        meant = get_close_matches(str(problem["loc"][-1]), known, n=1)
        text = "there is no such field" + (f": perhaps {meant[0]} is meant" if meant else "")
    elif kind == "json_invalid":
        # Not the text, which may be anything, and have secrets in it.
        text = f"not JSON: {problem['ctx']['error']}"
    else:
        expected = _EXPECTED.get(kind) or problem["msg"].removeprefix("Input should be ")
        text = f"{_quote(problem['input'])} should be {expected}"
    place = _place(problem["loc"])
    return f"{place}: {text}" if place else text


def _place(steps: Sequence[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _quote(value: object) -> str:
    text = ""
    # What is wrong may be as large as the specification.
    for part in json.JSONEncoder(default=repr, ensure_ascii=False).iterencode(value):
        text += part[: _LONGEST_VALUE + 1]
        if len(text) > _LONGEST_VALUE:
            break
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


if TYPE_CHECKING:
    # Through a metaclass of our own, type checkers would not see what fields a model takes.
    from pydantic._internal._model_construction import ModelMetaclass as RaisesSpecError

    __all__ = ["RaisesSpecError", "to_spec_error"]
else:

    class RaisesSpecError(type(BaseModel)):
        # Only a call from Python comes through here, not the nested validation, which needs pydantic's own error to
        # say where in the whole specification a problem is.
        def __call__(self, *args, **kwargs):
            # As for any class, the fields may also be given by their place.
            by_place = dict(zip(self.model_fields, args, strict=False))
            if len(args) > len(by_place) or by_place.keys() & kwargs.keys():
                raise TypeError(f"{self.__name__} takes each of {', '.join(self.model_fields)} once")
            try:
                return super().__call__(**by_place, **kwargs)
            except ValidationError as error:
                raise to_spec_error(self.__name__, error, self.model_fields) from None
