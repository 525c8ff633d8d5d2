"""A specification is read completely or refused with one clear line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.jobs import spec_fields
from tailrace import Chunk, FrameRange, JobMetadata, JobSpec, SpecError

Change = Callable[[dict[str, Any]], object]


def _chunk(**fields: object) -> Change:
    return lambda spec: spec["chunks"][1].update(fields)


def _without_in_chunk(key: str) -> Change:
    return lambda spec: spec["chunks"][1].pop(key)


def test_every_field_is_read() -> None:
    spec = JobSpec.parse(json.dumps(spec_fields() | {"assetsUrl": "https://a.example/x.zip"}))
    assert spec.id == "job-1"
    assert spec.metadata == JobMetadata(total_frames=60, fps=30, width=640, height=360, duration=2)
    assert [chunk.id for chunk in spec.chunks] == [0, 1]
    assert spec.chunks[1] == Chunk(
        id=1, start_frame=30, frame_count=30, output_file="chunk_1.mp4", command="render --to 60"
    )
    assert spec.merge_command == "join 'a b'"
    assert spec.assets_url == "https://a.example/x.zip"
    assert spec.path is None


@pytest.mark.parametrize("change", ["missing", "null"])
def test_id_assets_and_merge_command_may_be_missing(change: str) -> None:
    fields = spec_fields()
    for key in ("id", "assetsUrl", "mergeCommand"):
        fields[key] = None
        if change == "missing":
            del fields[key]
    spec = JobSpec.parse(json.dumps(fields))
    assert (spec.id, spec.assets_url, spec.merge_command) == ("job", None, None)


def test_empty_assets_and_an_empty_merge_command_are_none() -> None:
    spec = JobSpec.parse(json.dumps(spec_fields() | {"assetsUrl": "", "mergeCommand": ""}))
    assert (spec.assets_url, spec.merge_command) == (None, None)
    built = JobSpec(id="x", metadata=spec.metadata, chunks=spec.chunks, merge_command="", assets_url="")
    assert (built.assets_url, built.merge_command) == (None, None)


def test_a_spec_can_be_built_in_python_and_cannot_be_changed() -> None:
    chunk = Chunk(id=0, start_frame=0, frame_count=1, output_file="a", command="b")
    metadata = JobMetadata(total_frames=1, fps=23.976, width=1, height=1, duration=0.04)
    spec = JobSpec(id="x", metadata=metadata, chunks=[chunk])  # type: ignore[arg-type]  # a list will do
    assert spec.chunks == (chunk,)
    with pytest.raises(pydantic.ValidationError):
        spec.id = "y"


def test_a_step_of_one_is_left_out_of_the_json() -> None:
    fields = spec_fields()
    fields["chunks"][1]["frameStep"] = 3
    spec = JobSpec.parse(json.dumps(fields))
    dumped = json.loads(spec.model_dump_json(by_alias=True))
    assert [chunk.get("frameStep") for chunk in dumped["chunks"]] == [None, 3]
    assert "frame_step" not in spec.chunks[0].model_dump_json()
    assert JobSpec.parse(json.dumps(dumped)) == spec


def test_a_chunk_knows_its_frames() -> None:
    fields = spec_fields()
    fields["chunks"][1].update(startFrame=5, frameCount=3, frameStep=10)
    chunks = JobSpec.parse(json.dumps(fields)).chunks
    assert chunks[0].frames == range(30)
    assert list(chunks[1].frames) == [5, 15, 25]


@pytest.mark.parametrize(
    ("text", "start", "count", "step"),
    [("1-8", 1, 8, 1), ("-10--2x4", -10, 3, 4), ("1-8,11,20-30x2", 1, 15, 0), ("3,1,7", 3, 3, 0), ("9-1x4", 9, 3, -4)],
)
def test_a_chunk_may_have_any_frames(text: str, start: int, count: int, step: int) -> None:
    fields = spec_fields()
    chunk = fields["chunks"][0]
    del chunk["startFrame"], chunk["frameCount"]
    chunk["frames"] = text
    spec = JobSpec.parse(json.dumps(fields))
    read = spec.chunks[0]
    assert list(read.frames) == list(FrameRange.parse(text))
    assert (read.start_frame, read.frame_count, read.frame_step) == (start, count, step)
    assert JobSpec.parse(spec.model_dump_json(by_alias=True)) == spec
    assert read.model_copy(update={"id": 9}).frames == read.frames
    assert list(read.model_copy(update={"start_frame": 5, "frame_count": 2, "frame_step": 3}).frames) == [5, 8]
    assert read.model_copy(update={"frames": "7"}).start_frame == 7
    assert Chunk.model_validate(read.model_dump()) == read


def test_a_chunk_may_write_several_files() -> None:
    chunk = Chunk(id=0, frames=(1, 2), output_file="b_####.exr", output_files=("n_####.exr", "b_####.exr"), command="r")
    assert chunk.output_files == ("b_####.exr", "n_####.exr")
    only = Chunk(id=0, frames=(1, 2), output_files=("n_####.exr", "b_####.exr"), command="r")
    assert only.output_file == "n_####.exr"
    assert '"outputFiles":["n_####.exr","b_####.exr"]' in only.model_dump_json(by_alias=True)
    assert chunk.model_copy(update={"output_file": "a", "output_files": ()}).output_files == ("a",)


def test_unknown_keys_are_kept_everywhere() -> None:
    fields = spec_fields() | {"priority": 7, "extra": {"deep": [1]}}
    fields["chunks"][0]["gpu"] = True
    fields["metadata"]["codec"] = "h264"
    spec = JobSpec.parse(json.dumps(fields))
    assert spec.extra == {"priority": 7, "extra": {"deep": [1]}}
    assert spec.chunks[0].extra == {"gpu": True}
    assert spec.chunks[1].extra == {}
    assert spec.metadata.extra == {"codec": "h264"}
    assert json.loads(spec.model_dump_json(by_alias=True, exclude_unset=True)) == fields


def test_a_spec_survives_json_and_pickle() -> None:
    spec = JobSpec.parse(json.dumps(spec_fields()))
    assert JobSpec.parse(spec.model_dump_json(by_alias=True)) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_chunk(startFrame=-(2**31)), "chunks[1].startFrame: -2147483648 should be greater than -2147483648"),
        (_chunk(frames="1-4"), "chunks[1]: startFrame should be left out where frames are given: it is not 30"),
        (_chunk(frames=3), "chunks[1].frames: should be a text such as 1-8,11,20-30x2"),
        (_chunk(outputFile="", outputFiles=[]), 'chunks[1].outputFile: "" should be a text that is not empty'),
        (
            _chunk(retryCommand="r 1"),
            "chunks[1].retryCommand: should have {frames}, {ranges:..}, or {start} and {end}, for the frames that are"
            " to be rendered again",
        ),
        (_chunk(startFrame="3"), 'chunks[1].startFrame: "3" should be a whole number'),
        (_chunk(startFrame=1.5), "chunks[1].startFrame: 1.5 should be a whole number"),
        (_chunk(startFrame=True), "chunks[1].startFrame: true should be a whole number"),
        (_chunk(startFrame=10**40), f"chunks[1].startFrame: {10**40} should be less than 2147483648"),
        (_chunk(frameCount=0), "chunks[1].frameCount: 0 should be greater than 0"),
        (_chunk(frameStep=0), "chunks[1]: frameStep: 0 should be greater than 0"),
        (_chunk(id=-1), "chunks[1].id: -1 should be greater than or equal to 0"),
        (_chunk(id=0), "chunks[1].id: 0 is the id of chunks[0] too"),
        (_chunk(command="''"), "chunks[1].command: \"''\" does not name a command"),
        (_chunk(command="a 'b"), 'chunks[1].command: a quotation or an escape is not ended in "a \'b"'),
        (_chunk(command="a\0"), "chunks[1].command: a command must not contain a NUL byte"),
        (_chunk(command=["a"]), 'chunks[1].command: ["a"] should be a text'),
        (_chunk(command="a \ud800"), 'chunks[1].command: "a \\ud800" should be a text of valid Unicode characters'),
        (_chunk(outputFile=""), 'chunks[1].outputFile: "" should be a text that is not empty'),
        (_chunk(outputFile="a\0b"), "chunks[1].outputFile: a file name must not contain a NUL byte"),
        (_without_in_chunk("command"), "chunks[1].command: is missing"),
        (lambda spec: spec.update(chunks=[]), "chunks: should hold at least one chunk"),
        (lambda spec: spec.update(chunks={}), "chunks: {} should be a list"),
        (lambda spec: spec["chunks"].append(7), "chunks[2]: 7 should be an object"),
        (lambda spec: spec.pop("metadata"), "metadata: is missing"),
        (lambda spec: spec.update(id=""), 'id: "" should be a text that is not empty'),
        (lambda spec: spec.update(mergeCommand=" "), "mergeCommand: ' ' does not name a command"),
        (lambda spec: spec["metadata"].update(fps=0), "metadata.fps: 0 should be greater than 0"),
        (
            lambda spec: spec["metadata"].update(width="w", height="h"),
            'metadata.width: "w" should be a whole number (and 1 more)',
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_file_place_found_and_expected(
    change: Change, line: str, tmp_path: Path
) -> None:
    fields = spec_fields()
    change(fields)
    path = tmp_path / "shot.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(SpecError) as caught:
        JobSpec.load(path)
    assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "line 1, column 1: not JSON: Expecting value"),
        (b'{"a": 1,\n  oops}', "line 2, column 3: not JSON: Expecting property name enclosed in double quotes"),
        (b"[" * 100_000, "the JSON is nested too deeply"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8: expected JSON in UTF-8"),
        (b'{"a": NaN}', "not JSON: NaN is not a number"),
        (b"[1]", "[1] should be an object"),
    ],
)
def test_what_is_not_a_json_object_is_one_line(content: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "shot.json"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        JobSpec.load(path)
    assert str(caught.value) == f"{path}: {line}"


def test_a_wrong_value_from_python_is_a_spec_error_too() -> None:
    with pytest.raises(SpecError, match=r"^Chunk: frame_count: 0 should be greater than 0$"):
        Chunk(id=0, start_frame=0, frame_count=0, output_file="a", command="b")
    with pytest.raises(SpecError, match=r"^JobSpec: chunks\[0\]\.command: is missing"):
        JobSpec(metadata=spec_fields()["metadata"], chunks=[{"id": 1}])  # type: ignore[arg-type]


def test_a_huge_value_is_not_repeated_in_the_message() -> None:
    fields = spec_fields() | {"id": ["x\n" * 100_000]}
    with pytest.raises(SpecError) as caught:
        JobSpec.parse(json.dumps(fields))
    assert len(str(caught.value)) < 200
    assert len(str(caught.value).splitlines()) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    place=st.sampled_from([("id",), ("metadata",), ("chunks",), ("mergeCommand",), ("metadata", "fps"), ("chunks", 0)])
    | st.tuples(
        st.just("chunks"), st.just(1), st.sampled_from(["id", "startFrame", "frameCount", "outputFile", "command"])
    ),
    value=_JSON,
)
def test_any_json_is_either_accepted_or_refused_in_one_line(place: tuple[str | int, ...], value: object) -> None:
    fields = spec_fields()
    target: Any = fields
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    try:
        spec = JobSpec.parse(json.dumps(fields))
    except SpecError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert JobSpec.parse(spec.model_dump_json(by_alias=True)) == spec


def test_fields_may_be_given_by_name_or_by_place() -> None:
    by_place: Any = JobMetadata  # Type checkers know the names alone.
    assert by_place(60, 30, 640, 360, 2.0) == JobMetadata(total_frames=60, fps=30, width=640, height=360, duration=2.0)
    with pytest.raises(TypeError, match="JobMetadata takes each of total_frames, fps"):
        by_place(60, 30, 640, 360, 2.0, 7)
    with pytest.raises(TypeError, match="once"):
        by_place(60, total_frames=60, fps=30, width=640, height=360, duration=2.0)
