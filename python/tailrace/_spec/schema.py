"""What a job file looks like, for editors and other programs."""

from __future__ import annotations

from typing import Any

from .model import JobSpec

SCHEMA_KEY = "$schema"
"""The key of a job file that names its schema for an editor."""

_OF_SCHEMAS = "https://json-schema.org/draft/2020-12/schema"
_FIRST = ("title", "description", "type", "required", "properties")


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a job file, with a description of each key.

    It accepts every job file with the keys of the documentation that `JobSpec.load` does. Some of what it accepts is
    refused there, since JSON Schema cannot say it: an id that two chunks have, a command whose quotation does not end,
    and a whole number that is written with a fraction, such as 1.0.
    """
    schema = JobSpec.model_json_schema(by_alias=True)
    schema["properties"] = {
        SCHEMA_KEY: {
            "title": "Schema",
            "description": "Where an editor finds the schema of this file. tailrace does not look at it.",
        },
        **schema["properties"],
    }
    ordered = {key: schema.pop(key) for key in _FIRST}
    return {SCHEMA_KEY: _OF_SCHEMAS, **ordered, **schema}
