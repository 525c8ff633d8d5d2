"""Editors know a job file by its JSON Schema, which says what tailrace says."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from support.jobs import spec_fields
from tailrace import JobSpec, SpecError, job_schema, lint_job

ROOT = Path(__file__).parent.parent.parent
BEYOND_A_SCHEMA = (
    "is the id of",
    "a quotation or an escape is not ended",
    "does not name a command",
    "should be a whole number",
    "should be a text of valid Unicode characters",
)
VALIDATOR = Draft202012Validator(job_schema())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(job_schema())


def test_the_schema_in_the_repository_is_the_one_that_is_printed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "tailrace", "job", "schema"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed) == job_schema()
    kept = json.loads((ROOT / "schemas" / "job.json").read_text())
    assert kept == job_schema(), "write it anew: tailrace job schema > schemas/job.json"


def test_every_key_has_a_title_and_a_description_that_is_not_for_programmers() -> None:
    schema = job_schema()
    parts = [schema, *schema["$defs"].values()]
    keys = {name: key for part in parts for name, key in part["properties"].items()}
    assert len(keys) > 15
    for name, key in [*keys.items(), *((part["title"], part) for part in parts)]:
        assert key["description"].endswith("."), name
        assert "`" not in key["description"], name
        assert "$ref" in key or key["title"], name


def test_every_job_file_that_comes_with_tailrace_is_accepted() -> None:
    paths = sorted((ROOT / "examples").rglob("job*.json"))
    assert paths
    for path in paths:
        VALIDATOR.validate(json.loads(path.read_text()))


def test_a_job_file_may_name_its_schema_and_nothing_is_noted(tmp_path: Path) -> None:
    fields = spec_fields() | {"$schema": "./job.schema.json"}
    fields["chunks"][0]["$schema"] = "is no key of a chunk"
    spec = JobSpec.parse(json.dumps(fields))
    assert VALIDATOR.is_valid(fields)
    notes = [note for note in lint_job(spec) if "not a key" in note]
    assert notes == ["not a key that tailrace knows: chunks[0].$schema"]
    assert json.loads(spec.model_dump_json(by_alias=True))["$schema"] == "./job.schema.json"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("chunks",), []),
        (("chunks", 0, "command"), " \t"),
        (("chunks", 0, "command"), "a\0"),
        (("chunks", 0, "outputFile"), ""),
        (("chunks", 0, "outputFile"), "a\0b"),
        (("chunks", 0, "frameCount"), 0),
        (("chunks", 0, "startFrame"), 2**31),
        (("chunks", 0, "id"), "0"),
        (("metadata", "fps"), 0),
        (("metadata", "width"), True),
        (("mergeCommand",), " "),
        (("assetsUrl",), 7),
        (("id",), ""),
    ],
)
def test_what_the_schema_can_say_is_refused_by_both(place: tuple[str | int, ...], value: object) -> None:
    fields = _with(spec_fields(), place, value)
    assert not VALIDATOR.is_valid(fields)
    with pytest.raises(SpecError):
        JobSpec.parse(json.dumps(fields))


_ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(2**31 - 2, 2**31 + 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.text(" \t\n\r\0'\"\\\\a", max_size=5),
    st.just([]),
    st.just({}),
)
_PLACES = st.sampled_from(
    [
        *[(key,) for key in ("id", "metadata", "chunks", "mergeCommand", "assetsUrl", "$schema", "else")],
        *[("metadata", key) for key in ("totalFrames", "fps", "width", "height", "duration", "else")],
        *[
            ("chunks", number, key)
            for number in (0, 1)
            for key in ("id", "startFrame", "frameCount", "frameStep", "outputFile", "command", "else")
        ],
    ]
)
_GONE = object()


@given(st.lists(st.tuples(_PLACES, _ANYTHING | st.just(_GONE)), max_size=3))
def test_the_schema_accepts_and_refuses_what_tailrace_does(changes: list[tuple[tuple[str | int, ...], object]]) -> None:
    fields = spec_fields()
    for place, value in changes:
        fields = _with(fields, place, value)
    try:
        JobSpec.parse(json.dumps(fields))
    except SpecError as error:
        told = [problem for problem in error.problems if not any(beyond in problem for beyond in BEYOND_A_SCHEMA)]
        assert not told or not VALIDATOR.is_valid(fields), told
    else:
        VALIDATOR.validate(fields)


def _with(fields: dict[str, Any], place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return the fields with another value, or none, at one place; as they are if the place is no longer there."""
    changed = copy.deepcopy(fields)
    part: Any = changed
    for step in place[:-1]:
        try:
            part = part[step]
        except (TypeError, LookupError):
            return fields
    if isinstance(part, dict):
        part.pop(place[-1], None)
        if value is not _GONE:
            part[place[-1]] = value
    return changed
