"""The parts of the Ray adapter that need no Ray."""

from __future__ import annotations

import itertools
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace._engines.ray.losses import to_loss
from tailrace._engines.ray.needs import avoiding, to_options
from tailrace._engines.ray.outbox import Outbox
from tailrace._engines.ray.output_items import LARGEST, pack, size_of, unpack

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


def test_an_outbox_gives_all_there_is_up_to_a_limit_and_the_end_last() -> None:
    outbox = Outbox[str]()
    half = memoryview(bytes(LARGEST // 2))
    for stream in (0, 1, 0):
        outbox.put(stream, half)
    outbox.note("a note")
    outbox.finish("over")
    pieces, notes, end = outbox.take(1)
    assert ([stream for stream, _ in pieces], notes, end) == ([0, 1], ["a note"], None)
    pieces, notes, end = outbox.take(1)
    assert ([stream for stream, _ in pieces], notes, end) == ([0], [], "over")


def test_a_full_outbox_holds_the_writer_up_until_there_is_room_or_nobody_takes_any_more() -> None:
    outbox = Outbox[str]()
    piece = memoryview(bytes(LARGEST))
    outbox.put(0, piece)
    outbox.put(0, piece)
    went_on = threading.Event()

    def write() -> None:
        outbox.put(0, piece)
        went_on.set()
        for _ in range(9):
            outbox.put(0, piece)

    writer = threading.Thread(target=write)
    writer.start()
    assert not went_on.wait(0.2)
    outbox.take(1)
    assert went_on.wait(5)
    outbox.discard()
    writer.join(5)
    assert not writer.is_alive()
    assert outbox.take(0) == ([], [], None)


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
