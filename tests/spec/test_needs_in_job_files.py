"""What chunks need, and what they wait for, is read from the job file, and told where it cannot be."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tailrace import Chunk, JobSpec, SpecError, job_schema, lint_job
from tailrace._spec.needs import Needs


def job(*chunks: dict[str, Any], **fields: Any) -> str:
    """Return the text of a job file with these chunks, in short."""
    whole = [
        {"id": place, "startFrame": 1, "frameCount": 1, "outputFile": "a.png", "command": "true", **chunk}
        for place, chunk in enumerate(chunks)
    ]
    metadata = {"totalFrames": 1, "fps": 24, "width": 1, "height": 1, "duration": 1}
    return json.dumps({"id": "j", "metadata": metadata, "chunks": whole, **fields})


def test_the_needs_of_a_job_are_those_of_its_chunks_key_by_key() -> None:
    spec = JobSpec.parse(
        job({}, {"needs": {"memory": 1024, "gpus": 0}}, needs={"cpus": 4, "memory": "8G", "gpus": 1, "nuke_i": 1})
    )
    assert spec.chunks[0].needs == {"cpus": 4, "memory": 8589934592, "gpus": 1, "nuke_i": 1}
    assert spec.chunks[1].needs == {"cpus": 4, "memory": 1024, "gpus": 0, "nuke_i": 1}
    again = JobSpec.parse(spec.model_dump_json(by_alias=True))
    assert again == spec


@pytest.mark.parametrize(("name", "meant"), [("gpu", "gpus"), ("GPUs", "gpus"), ("CPU", "cpus"), ("ram", "memory")])
def test_a_need_that_is_called_as_elsewhere_is_noted(name: str, meant: str) -> None:
    spec = JobSpec.parse(job({"needs": {name: 1, "seat": 1, "cpus": 1}}))
    assert lint_job(spec) == [f"needs: {name} is taken for a resource of that name: {meant} may be meant"]


def test_a_job_without_needs_is_written_without_them() -> None:
    text = JobSpec.parse(job({})).model_dump_json(by_alias=True)
    assert "needs" not in text and "dependsOn" not in text


def test_a_part_of_a_chunk_needs_what_the_chunk_needs() -> None:
    chunk = Chunk(
        id=3,
        frames=range(1, 5),
        output_file="a.####.png",
        command="true",
        retry_command="true {frames}",
        needs={"gpus": 1},
        depends_on=(2,),
    )
    part = chunk.part([2])
    assert (part.needs, part.depends_on) == ({"gpus": 1}, (2,))
    assert hash(chunk) == hash(chunk.model_copy())


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8G", 8 << 30), ("8GiB", 8 << 30), ("512m", 512 << 20), ("1.5 G", 3 << 29), ("100", 100), ("2KB", 2048)],
)
def test_memory_is_a_size_or_bytes(text: str, amount: int) -> None:
    assert Needs({"memory": text}) == {"memory": amount}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("needs", "problem"),
    [
        ({"memory": "much"}, "needs: memory: 'much' should be a number of bytes, or a size"),
        ({"gpus": 0.5}, "needs: gpus: 0.5 should be a whole number"),
        ({"cpus": -1}, "needs: cpus: -1 should be a number from 0 to 2**60"),
        ({"cpus": 10**400}, "needs: cpus: 100000000000000000000000000... should be a number from 0 to 2**60"),
        ({"memory": "9999999P"}, "needs: memory: 1.12589"),
        ({"nuk\u00e9": 1}, "needs: 'nuk\u00e9' is no name for what is needed: it begins with a letter, a digit or _"),
        ({"@srv": 1}, "needs: '@srv' is no name for what is needed"),
        ({"cpus": "4"}, "needs: cpus: '4' should be a number"),
        ({"cpus": True}, "needs: cpus: True should be a number"),
        ({"": 1}, "needs: '' is no name"),
        ([1], "needs: should be an object such as"),
    ],
)
def test_what_is_no_need_is_told_with_its_place(needs: object, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        JobSpec.parse(job({"needs": needs}))
    assert f"chunks[0].{problem}" in str(raised.value)


@pytest.mark.parametrize(
    ("depends_on", "problem"),
    [
        ([[], [7]], "chunks[1].dependsOn: there is no chunk 7"),
        ([[0]], "chunks[0].dependsOn: chunk 0 depends on itself, so that none of them can start"),
        ([[2], [0], [1]], "chunks[0].dependsOn: chunk 0 depends on chunk 2 depends on chunk 1 depends on chunk 0"),
    ],
)
def test_what_can_never_start_is_told_with_its_place(depends_on: list[list[int]], problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        JobSpec.parse(job(*({"dependsOn": others} for others in depends_on)))
    assert problem in str(raised.value)


def test_a_copy_of_a_job_has_chunks_that_can_begin_and_their_needs() -> None:
    spec = JobSpec.parse(job({}, {"dependsOn": [0], "needs": {"gpus": 1}}, needs={"memory": "1G", "gpus": 2}))
    with pytest.raises(SpecError, match=r"chunks\[0\].dependsOn: there is no chunk 0"):
        spec.model_copy(update={"chunks": spec.chunks[1:]})
    copy = spec.model_copy(update={"needs": {"memory": "2G"}})
    assert [chunk.needs for chunk in copy.chunks] == [{"memory": 2 << 30}, {"memory": 2 << 30, "gpus": 1}]


def test_resources_have_the_names_that_licence_servers_give_them() -> None:
    needs = {"3delight": 1, "nuke_i@srv": 2, "foundry/nuke-r:5": 1}
    spec = JobSpec.parse(job({"needs": needs}))
    assert spec.chunks[0].needs == needs
    jsonschema.validate(json.loads(spec.model_dump_json(by_alias=True)), job_schema())


def test_the_schema_knows_needs_and_dependencies() -> None:
    chunk = job_schema()["$defs"]["Chunk"]["properties"]
    assert chunk["needs"]["properties"]["gpus"]["type"] == "integer"
    assert chunk["dependsOn"]["type"] == "array"
