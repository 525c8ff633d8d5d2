"""JSON from outside."""

from __future__ import annotations

import json

from .._errors import SpecError


def read_json(content: str | bytes, where: str) -> object:
    """Return what `content` holds; raises `SpecError`, one line that begins with `where`, if it is no JSON in UTF-8."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise SpecError(f"{where}: byte {error.start} is not UTF-8: expected JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise SpecError(f"{where}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise SpecError(f"{where}: the JSON is nested too deeply") from error
    except ValueError as error:
        raise SpecError(f"{where}: not JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")
