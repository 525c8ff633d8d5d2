"""A farm of several machines: each chunk runs where there is what it needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.farms import begun, held, open_gate, shown, until
from support.jobs import job
from support.workers import running_worker
from tailrace import (
    Capabilities,
    HttpWorkerAdapter,
    JobManager,
    JobSettings,
    JobSpec,
    LocalWorkerAdapter,
    SpecError,
    WorkerAdapter,
)
from tailrace._farm.nodes import Node
from tailrace.testing import FakeAdapter, FakeExecution

pytestmark = pytest.mark.anyio

GIB = 1 << 30


class Elsewhere(LocalWorkerAdapter):
    """Says that it runs commands on another machine."""

    capabilities = Capabilities(streams=True, remote=True, shares_files=True, runs_any_command=True)


def node(slots: int = 2, **fields: object) -> Node:
    return Node(adapter=LocalWorkerAdapter(), slots=slots, **fields)  # type: ignore[arg-type]


def farm(folder: Path, nodes: dict[str, Node], **options: object) -> JobManager:
    return JobManager(repository=folder / "farm.db", nodes=nodes, **options)  # type: ignore[arg-type]


def needing(spec: JobSpec, **needs: float) -> JobSpec:
    return spec.model_copy(update={"needs": needs})


async def test_chunks_are_spread_over_the_nodes_and_say_where_they_ran(tmp_path: Path) -> None:
    async with farm(tmp_path, {"a": node(), "b": node()}) as manager:
        job_id = await manager.submit(shown(tmp_path, *"wxyz", tail=held(tmp_path, "go")))
        await until(lambda: len(begun(tmp_path)) == 4)
        assert [(one.name, one.slots, one.running) for one in await manager.list_nodes()] == [("a", 2, 2), ("b", 2, 2)]
        assert sorted(str(chunk.node) for chunk in await manager.chunks(job_id)) == ["a", "a", "b", "b"]
        open_gate(tmp_path, "go")
        assert (await manager.wait(job_id)).state == "completed"
        assert sorted(str(chunk.node) for chunk in await manager.chunks(job_id)) == ["a", "a", "b", "b"]


async def test_a_need_has_to_be_met_by_one_node(tmp_path: Path) -> None:
    nodes = {name: node(capacity={"memory": 32 * GIB}) for name in "ab"}
    async with farm(tmp_path, nodes) as manager:
        with pytest.raises(SpecError, match="memory: 40G can never be had: the capacity has 32G"):
            await manager.submit(needing(job("true"), memory=40.0 * GIB))
        await manager.wait(await manager.submit(needing(job("true"), memory=32.0 * GIB)))


async def test_tags_and_what_one_node_has_decide_where_a_chunk_runs(tmp_path: Path) -> None:
    nodes = {"a": node(8), "b": node(1, tags=["avx512"], capacity={"big": 1}), "c": node(1, tags=["avx512"])}
    async with farm(tmp_path, nodes) as manager:
        spec = job("true", "true", "true")
        tagged = await manager.wait(await manager.submit(needing(spec, avx512=1.0)))
        assert {chunk.node for chunk in await manager.chunks(tagged.id)} <= {"b", "c"}
        both = await manager.wait(await manager.submit(needing(spec, avx512=1.0, big=1.0)))
        assert {chunk.node for chunk in await manager.chunks(both.id)} == {"b"}
        named = await manager.wait(await manager.submit(needing(spec, **{"node:c": 1.0})))
        assert {chunk.node for chunk in await manager.chunks(named.id)} == {"c"}
        with pytest.raises(SpecError, match="node:d: 1 can never be had: the capacity names none"):
            await manager.submit(needing(spec, **{"node:d": 1.0}))
        with pytest.raises(SpecError, match="sse: 1 can never be had: the capacity names none"):
            await manager.submit(needing(spec, sse=1.0))


async def test_no_node_has_what_two_have_together(tmp_path: Path) -> None:
    nodes = {"a": node(capacity={"x": 1}), "b": node(capacity={"y": 1})}
    async with farm(tmp_path, nodes) as manager:
        with pytest.raises(SpecError, match="no node has all that chunk 0 needs"):
            await manager.submit(needing(job("true"), x=1.0, y=1.0))


async def test_licences_are_counted_over_all_nodes(tmp_path: Path) -> None:
    async with farm(tmp_path, {"a": node(), "b": node()}, capacity={"nuke_i": 3}) as manager:
        spec = needing(shown(tmp_path, *"wxyz", tail=held(tmp_path, "go")), nuke_i=1.0)
        job_id = await manager.submit(spec)
        await manager.wait(await manager.submit(job("true")))
        await until(lambda: len(begun(tmp_path)) >= 3)
        assert len(begun(tmp_path)) == 3
        open_gate(tmp_path, "go")
        assert (await manager.wait(job_id)).state == "completed"


async def test_a_node_that_is_drained_lets_its_chunks_end_and_gets_no_more(tmp_path: Path) -> None:
    async with farm(tmp_path, {"a": node(1), "b": node(1)}) as manager:
        first = await manager.submit(shown(tmp_path, "x", "y", tail=held(tmp_path, "go")))
        await until(lambda: len(begun(tmp_path)) == 2)
        await manager.drain_node("a")
        assert [one.is_open for one in await manager.list_nodes()] == [False, True]
        open_gate(tmp_path, "go")
        assert (await manager.wait(first)).state == "completed"
        second = await manager.wait(await manager.submit(job("true", "true", "true")))
        assert {chunk.node for chunk in await manager.chunks(second.id)} == {"b"}
        await manager.drain_node("b")
        third = await manager.submit(job("true"))
        assert "no more is started on any node" in ((await manager.get(third)).error or "")
        await manager.resume_node("a")
        assert (await manager.wait(third)).error is None
        assert {chunk.node for chunk in await manager.chunks(third)} == {"a"}
        with pytest.raises(KeyError, match="there is no node 'c', but 'a', 'b'"):
            await manager.drain_node("c")


async def test_workers_over_http_run_the_chunks_of_several_jobs(tmp_path: Path) -> None:
    with running_worker(tmp_path) as worker:
        there = HttpWorkerAdapter(f"http://127.0.0.1:{worker.port}/")
        async with farm(tmp_path, {"here": node(), "there": Node(adapter=there, slots=2)}) as manager:
            jobs = []
            for name in "ab":
                # Which command a worker runs is what the file says.
                path = worker.write_job(f"echo {name} > {tmp_path}/{name}", name=f"{name}.json")
                spec = needing(job("echo here"), **{"node:there": 1})
                jobs.append(await manager.submit(spec, JobSettings(job_def_url=path)))
            for job_id in jobs:
                status = await manager.wait(job_id)
                assert (status.state, status.error) == ("completed", None)
                assert [chunk.node for chunk in await manager.chunks(job_id)] == ["there"]
            assert [(tmp_path / name).read_text() for name in "ab"] == ["a\n", "b\n"]
            told = await manager.wait(await manager.submit(needing(job("true"), **{"node:there": 1})))
            assert "one of a farm `job submit --job-def-url`" in str(told.error)


async def test_a_merge_runs_here(tmp_path: Path) -> None:
    async with farm(tmp_path, {"a": node(1)}) as manager:
        status = await manager.wait(await manager.submit(job("echo a > chunk_0", merge="cat chunk_0 > all")))
        assert (status.state, (Path(status.folder) / "all").read_text()) == ("completed", "a\n")
    with pytest.raises(ValueError, match="give nodes alone"):
        farm(tmp_path, {"a": node(1)}, slots=3)


async def test_commands_here_are_known_as_the_managers_also_beside_a_machine_elsewhere(tmp_path: Path) -> None:
    script = 'test -n "$TAILRACE_FARM"'
    nodes = {"a": node(1), "b": Node(adapter=Elsewhere(), slots=1)}
    async with farm(tmp_path, nodes) as manager:
        status = await manager.wait(await manager.submit(job(script, script, merge=script)))
        assert (status.state, status.error) == ("completed", None)


async def test_a_node_has_as_many_slots_as_there_are_processors_here(tmp_path: Path) -> None:
    nodes: dict[str, WorkerAdapter | Node] = {"a": LocalWorkerAdapter(), "b": HttpWorkerAdapter("http://127.0.0.1:1")}
    async with JobManager(repository=tmp_path / "farm.db", nodes=nodes) as manager:
        count = len(os.sched_getaffinity(0))
        assert [(one.name, one.slots) for one in await manager.list_nodes()] == [("a", count), ("b", count)]


async def test_a_node_is_named_where_nothing_is_counted_too(tmp_path: Path) -> None:
    async with farm(tmp_path, {"a": node(4), "b": node(1)}) as manager:
        spec = job("true", "true", "true")
        named = await manager.wait(await manager.submit(needing(spec, **{"node:b": 1.0})))
        assert {chunk.node for chunk in await manager.chunks(named.id)} == {"b"}
        # Nobody counts those.
        assert (await manager.wait(await manager.submit(needing(spec, licence=1.0)))).state == "completed"
        with pytest.raises(SpecError, match="node:c can never be had: there are node:a, node:b"):
            await manager.submit(needing(spec, **{"node:c": 1.0}))


async def test_an_adapter_is_not_told_of_needs_that_its_node_meets(tmp_path: Path) -> None:
    adapter = FakeAdapter(FakeExecution())
    nodes = {"a": Node(adapter=adapter, slots=1, tags=["avx512"], capacity={"big": 1}), "b": node(1)}
    async with farm(tmp_path, nodes) as manager:
        spec = needing(job("true"), **{"node:a": 1.0, "avx512": 1.0, "big": 1.0})
        assert (await manager.wait(await manager.submit(spec))).state == "completed"
    (told,) = adapter.jobs
    assert told.meta["needs"] == {"big": 1.0}
