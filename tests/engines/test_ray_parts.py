"""The parts of the Ray adapter that need no Ray."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.loops import on_one_loop
from tailrace._engines.ray import cluster, item_reader
from tailrace._engines.ray.gathering import LARGEST, Gathering
from tailrace._engines.ray.losses import to_loss
from tailrace._engines.ray.needs import avoiding, lacking_everywhere, resources_of, tell_apart, to_options
from tailrace._engines.ray.output_items import pack, size_of, unpack
from tailrace._engines.ray.remote_functions import endings_class

DEFAULTS = {"num_cpus": None, "num_gpus": 1, "memory": None, "resources": {"disk": 2}}


@pytest.mark.parametrize(
    ("needs", "options"),
    [
        ({}, {"num_gpus": 1, "resources": {"disk": 2}}),
        ({"cpus": 4, "memory": 1.5}, {"num_cpus": 4, "num_gpus": 1, "memory": 2, "resources": {"disk": 2}}),
        ({"cpus": 0.5, "gpus": 0}, {"num_cpus": 0.5, "num_gpus": 0, "resources": {"disk": 2}}),
        ({"cpus": 1.5}, {"num_cpus": 2, "num_gpus": 1, "resources": {"disk": 2}}),
        ({"nuke_i": 1, "disk": 0.25}, {"num_gpus": 1, "resources": {"disk": 0.25, "nuke_i": 1}}),
    ],
)
def test_needs_of_a_chunk_go_before_those_of_the_adapter(needs: dict[str, float], options: dict[str, Any]) -> None:
    assert to_options(DEFAULTS, needs) == options
    assert DEFAULTS["resources"] == {"disk": 2}


def test_nodes_are_avoided_by_their_ids_and_never_all() -> None:
    nodes = {"a": "01", "b": "02", "c": "03"}
    assert avoiding(nodes, ("a", "gone", "b"))["label_selector"] == {"ray.io/node-id": "!in(01, 02)"}
    assert avoiding(nodes, ("gone",)) == avoiding(nodes, ()) == avoiding(nodes, None) == {}
    assert avoiding(nodes, ("a", "b", "c")) == {}


@pytest.mark.parametrize(
    ("needs", "lacking"),
    [
        ({"cpus": 8, "disk": 2}, None),
        ({"cpus": 64}, "cpus=64 (one has at most 16)"),
        ({"cpus": 1, "nuke_i": 1}, "nuke_i=1 (one has at most 0)"),
        ({"memory": 2**31}, "memory=2.0 GiB (one has at most 1.0 GiB)"),
        ({"cpus": 16, "gpus": 1}, "cpus=16 (one has at most 16), gpus=1 (one has at most 1)"),
        ({}, None),
    ],
)
def test_needs_that_no_node_can_meet_are_told_with_the_most_that_one_has(
    needs: dict[str, float], lacking: str | None
) -> None:
    nodes = [{"CPU": 16.0, "memory": 2.0**30, "disk": 9.0}, {"CPU": 4.0, "GPU": 1.0}]
    assert lacking_everywhere(resources_of(to_options({}, needs)), nodes) == lacking


def test_needs_are_looked_for_until_they_are_lacking_and_then_warned_of_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes: list[dict[str, Any]] = []
    now = 1000.0
    monkeypatch.setattr(cluster, "_nodes", lambda: nodes)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    asked = cluster.Cluster("auto", None)

    def is_warned_of(needs: dict[str, Any]) -> bool:
        return asked.lacking(to_options({}, needs)) is not None

    assert not is_warned_of({"disk": 1}), "no node is there: no connection"
    nodes = [{"Resources": {"CPU": 4.0, "disk": 1.0}}]
    assert not is_warned_of({"disk": 1}), "a node has it"
    nodes = [{"Resources": {"CPU": 4.0}}]
    assert [is_warned_of({"disk": 1}), is_warned_of({"disk": 1})] == [True, False]
    assert is_warned_of({"disk": 2}), "other needs"
    now += 301
    assert [is_warned_of({"disk": 1}), is_warned_of({"disk": 1})] == [True, False]
    nodes = [{"Resources": {"CPU": 4.0, "disk": 1.0}}]
    assert not is_warned_of({"disk": 1})
    nodes = [{"Resources": {"CPU": 4.0}}]
    assert is_warned_of({"disk": 1}), "it could be met since"


def test_a_head_that_cannot_be_asked_now_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([RuntimeError("away"), [{"Resources": {"CPU": 4.0}}]])

    def ask() -> Any:
        answer = next(told)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cluster, "_nodes", ask)
    asked = cluster.Cluster("auto", None)
    assert asked.lacking({"num_cpus": 64}) is None
    assert asked.lacking({"num_cpus": 64}) is not None


def test_nodes_with_the_same_name_are_told_apart() -> None:
    assert tell_apart({"0123456789": "a", "abcdefabcd": "b", "9876543210": "a"}) == {
        "0123456789": "a (01234567)",
        "abcdefabcd": "b",
        "9876543210": "a (98765432)",
    }


@pytest.mark.anyio
@on_one_loop
async def test_a_command_is_told_to_end_whether_that_is_asked_before_it_listens_or_later() -> None:
    endings = endings_class()()
    await endings.end("early")
    await endings.wait("early")
    late = asyncio.create_task(endings.wait("late"))
    await asyncio.sleep(0)
    assert not late.done()
    await endings.end("late")
    await late


@pytest.mark.anyio
@on_one_loop
async def test_nothing_is_kept_of_commands_that_are_over() -> None:
    endings = endings_class(remembered_for=0.01)()
    listening = asyncio.create_task(endings.wait("ran"))
    await asyncio.sleep(0)
    for key in ("ran", "ran", "was cancelled before it began"):
        await endings.end(key)
    await listening
    await asyncio.sleep(0.1)
    assert [len(kept) for kept in vars(endings).values()] == [0, 0]


PIECES = st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=9)))


def test_large_pieces_are_not_joined() -> None:
    pieces: list[tuple[int, bytes | memoryview]] = [(0, bytes(100_000)), (1, memoryview(b"x" * 100_000))]
    item = pack(pieces)
    assert isinstance(item, list) and size_of(item) == 200_000
    came = list(unpack(pickle.loads(pickle.dumps(item, protocol=5))))
    assert [(stream, view.readonly, bytes(view)) for stream, view in came] == [
        (stream, True, bytes(piece)) for stream, piece in pieces
    ]


@given(PIECES)
def test_output_comes_out_of_an_item_as_it_went_in(pieces: list[tuple[int, bytes | memoryview]]) -> None:
    came = list(unpack(pack(pieces)))
    assert [(stream, bytes([byte])) for stream, view in came for byte in view] == [
        (stream, bytes([byte])) for stream, piece in pieces for byte in piece
    ]
    # What one stream wrote in a row is one view.
    assert all(first[0] != second[0] for first, second in itertools.pairwise(came))


def test_little_output_is_sent_at_once() -> None:
    gathering = Gathering()
    assert gathering.patience is None
    gathering.add(1, memoryview(b"a line\n"))
    assert gathering.patience == 0
    assert list(unpack(gathering.take())) == [(1, memoryview(b"a line\n"))]
    assert gathering.patience is None


def test_much_output_is_gathered_for_a_while_into_a_large_item() -> None:
    gathering = Gathering()
    part = memoryview(bytes(LARGEST // 8))
    gathering.add(0, part)
    assert 0 < (gathering.patience or 0) <= 0.05
    time.sleep(0.05)
    assert gathering.patience == 0
    gathering.take()
    # Much came just now: there will be more, however little of it there is yet.
    gathering.add(0, part[:10])
    assert gathering.patience
    gathering.add(1, memoryview(bytes(LARGEST)))
    assert gathering.patience == 0
    assert [stream for stream, _ in unpack(gathering.take())] == [0, 1]


def test_nothing_is_gathered_that_nobody_takes_any_more() -> None:
    gathering = Gathering()
    gathering.add(0, memoryview(b"before"))
    gathering.discard()
    gathering.add(0, memoryview(b"after"))
    assert gathering.patience is None


@on_one_loop
@pytest.mark.anyio
async def test_a_head_that_hangs_while_it_is_asked_why_a_command_waits_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(item_reader, "_LONG", 0.0)
    is_asked, answers, has_come = (threading.Event() for _ in range(3))

    def hang() -> None:
        is_asked.set()
        answers.wait()

    class Items:
        async def __anext__(self) -> object:
            await asyncio.to_thread(is_asked.wait)
            raise NodeDiedError

    reader = item_reader.ItemReader(Items(), None, has_come.set, lambda _: None, hang)
    try:
        assert await asyncio.to_thread(has_come.wait, 10)
        assert reader.take() == to_loss(NodeDiedError())
    finally:
        answers.set()


class NodeDiedError(Exception):
    """Has the name of Ray's, and words of more than a line."""


class RuntimeEnvSetupError(Exception):
    """The same."""


class TaskError(Exception):
    """What Ray raises for an error of a task."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"a task\n  raised {cause!r}")
        self.cause = cause


@pytest.mark.parametrize(
    ("raised", "reason", "is_seen_ended"),
    [
        (NodeDiedError("much\nmore"), "the node died", False),
        (TaskError(NodeDiedError()), "the node died", False),
        (RuntimeEnvSetupError("no\npip"), "Ray failed: no pip", True),
        (ValueError(), "Ray failed: ValueError", False),
    ],
)
def test_what_ray_raises_is_told_in_one_line(raised: Exception, reason: str, is_seen_ended: bool) -> None:
    loss = to_loss(raised)
    assert (loss.reason, loss.is_seen_ended) == (reason, is_seen_ended)
