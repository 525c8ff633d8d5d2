"""The OpenAPI description of the API, made of the same models that read and write it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import tailrace

from .._api.errors import STATUSES, ErrorAnswer
from .._api.place import API, ATTEMPT_HEADER, ENDED_HEADER
from ..report._page import PARTS
from ._queries import LISTS, NoQuery
from ._routes import Endpoint

_REFERENCE = "#/components/schemas/{model}"
_PATH_TYPES: Mapping[str, Mapping[str, Any]] = {
    "job_id": {"type": "string"},
    "chunk_id": {"type": "integer"},
    "frame": {"type": "integer"},
    "part": {"type": "string", "enum": list(PARTS)},
}
_Mode = Literal["validation", "serialization"]
_References: TypeAlias = Mapping[Any, Mapping[str, Any]]
"""Of each model and mode."""


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the description, as JSON."""
    used: dict[tuple[type[BaseModel], _Mode], None] = {(ErrorAnswer, "serialization"): None}
    for endpoint in endpoints:
        if endpoint.body is not None:
            used[endpoint.body, "validation"] = None
        if not isinstance(endpoint.answer, str):
            used[endpoint.answer, "serialization"] = None
    references, definitions = models_json_schema(list(used), by_alias=True, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(API + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tailrace",
            "version": tailrace.__version__,
            "description": "Render jobs of a farm. Times are seconds since the epoch, or seconds.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(endpoint: Endpoint, references: _References) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_TYPES[name]}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": getattr(endpoint.respond, "__qualname__", "").replace(".", "_").lower(),
        "parameters": parameters + _query(endpoint.query),
        "responses": {"200": _answer(endpoint, references), **_errors(references)},
    }
    if endpoint.body is not None:
        schema = references[endpoint.body, "validation"]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _query(model: type[NoQuery]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True)
    parameters = []
    for name, found in schema.get("properties", {}).items():
        about = {"description": found.pop("description")} if "description" in found else {}
        found.pop("title", None)
        more = {"style": "form", "explode": False} if name in LISTS else {}
        is_required = name in schema.get("required", ())
        parameters.append({"name": name, "in": "query", "required": is_required, "schema": found, **about, **more})
    return parameters


def _answer(endpoint: Endpoint, references: _References) -> dict[str, Any]:
    if not isinstance(endpoint.answer, str):
        schema = references[endpoint.answer, "serialization"]
        return {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    answer: dict[str, Any] = {"description": "Done.", "content": {endpoint.answer: {"schema": {"type": "string"}}}}
    if endpoint.path.endswith("/next"):
        headers = {ATTEMPT_HEADER: {"type": "integer"}, ENDED_HEADER: {"type": "string", "enum": ["true", "false"]}}
        answer["headers"] = {name: {"schema": schema} for name, schema in headers.items()}
    return answer


def _errors(references: _References) -> dict[str, Any]:
    content = {"application/json": {"schema": references[ErrorAnswer, "serialization"]}}
    return {
        str(status): {"description": "What a client raises.", "content": content}
        for status in sorted({401, 403, *STATUSES.values()})
    }
