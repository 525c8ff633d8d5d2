"""The machines of a farm: each with an adapter, slots and a capacity of its own."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, fields, replace
from types import TracebackType
from typing import Self

from .._checks import check_method
from .._command.adapter import Capabilities, WorkerAdapter, open_adapters
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._errors import SpecError
from .._job.capacity import Gpus, check_needs
from .._job.slots import Slots
from .._local.adapter import LocalWorkerAdapter
from .._scheduling.packer import Lane
from .._scheduling.places import Place
from .._spec.model import JobSpec
from .._spec.needs import CPUS, MEMORY, Needs
from .arguments import check_slots
from .sick_nodes import SickNodes

_NODE = "node:"
_log = logging.getLogger("tailrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of a farm, or what stands for one."""

    adapter: WorkerAdapter
    slots: int | None = None
    """How many chunks run there at a time; None: as many as this process may use processors here, wherever it is."""
    capacity: Mapping[str, float] = field(default_factory=dict)
    """What its chunks have together; see `JobExecutionOptions.capacity`."""
    tags: Collection[str] = ()
    """What it has that does not become less: chunks need one of it (`"needs": {"avx512": 1}`).

    Each node has the tag `node:NAME`, so that chunks can name it (`"needs": {"node:big": 1}`).
    """

    def __post_init__(self) -> None:
        if isinstance(self.adapter, str | os.PathLike):
            raise TypeError(f"adapter must be an adapter, not {self.adapter!r}: a repository is given by its name")
        check_method("adapter", self.adapter, "execute")
        check_slots(self.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node as it was when it was asked for."""

    name: str
    slots: int
    running: int
    """How many of its slots are in use."""
    is_open: bool
    """Whether more is started there: it is neither drained nor left out."""
    is_left_out: bool
    """Whether chunks of several jobs failed there one after another: it is tried again ten minutes later."""
    capacity: Mapping[str, float]
    tags: Collection[str]


class FarmNodes:
    """The nodes of a farm as places for chunks, and as one adapter that runs each chunk on its own."""

    def __init__(self, nodes: Mapping[str, Node], shared: Mapping[str, float] | None) -> None:
        """Take the nodes by their names, and what all of them have together."""
        self._nodes = nodes
        self._shared = None if shared is None else Needs(shared)
        capacities = {name: Needs(node.capacity) for name, node in nodes.items()}
        tags_of = {name: {*node.tags, f"{_NODE}{name}"} for name, node in nodes.items()}
        tags = set().union(*tags_of.values())
        # What one node names, the others have none of; but for what counts only where it is named.
        counted = {name for capacity in capacities.values() for name in capacity} - {CPUS, MEMORY}
        nothing = dict.fromkeys(counted | tags, 0.0)
        self._places: dict[str, Place] = {}
        for name, node in nodes.items():
            capacity = {**nothing, **capacities[name], **dict.fromkeys(tags_of[name], math.inf)}
            slots = len(os.sched_getaffinity(0)) if node.slots is None else node.slots
            self._places[name] = Place(name, slots, capacity)
        self.width = sum(place.slots for place in self._places.values())
        """How many slots there are in all."""
        self._sick = SickNodes(nodes)
        self._drained: set[str] = set()
        adapters = {name: node.adapter for name, node in nodes.items()}
        self.adapter: WorkerAdapter = _Dispatcher(adapters, tags, self._ended)
        if list(nodes) == [""]:
            self.adapter = nodes[""].adapter

    def make_slots(
        self, *, on_taken: Callable[[Lane], object], on_idle: Callable[[], object], may_start: Callable[[], bool]
    ) -> Slots:
        """Return the slots of all of them; see `Slots`."""
        gpus: dict[Place, Gpus] = {}
        for name, node in self._nodes.items():
            here = None if Capabilities.of(node.adapter).remote else Gpus.of(Needs(node.capacity))
            if here is not None:
                gpus[self._places[name]] = here
        return Slots(
            self._places.values(),
            self._shared or {},
            gpus=gpus,
            on_taken=on_taken,
            on_idle=on_idle,
            may_start=may_start,
        )

    def check_needs(self, spec: JobSpec) -> None:
        """Raise `SpecError` if a chunk needs more than any node has, or all have together."""
        if self._shared is None and not any(node.capacity or node.tags for node in self._nodes.values()):
            # Nothing is counted but which node it is.
            known = dict.fromkeys(map(_NODE.__add__, self._nodes), math.inf)
            for name in {name for chunk in spec.chunks for name in chunk.needs if name.startswith(_NODE)}:
                if name not in known:
                    raise SpecError(f"job {spec.id}: {name} can never be had: there are {', '.join(known)}")
            return
        most: dict[str, float] = dict(self._shared or {})
        for place in self._places.values():
            for name, amount in place.capacity.items():
                most[name] = max(most.get(name, 0.0), amount)
        if any(MEMORY not in place.capacity for place in self._places.values()):
            most.pop(MEMORY, None)
        check_needs(spec, most)
        for chunk in spec.chunks:
            if chunk.needs and not any(_holds(place, chunk.needs) for place in self._places.values()):
                raise SpecError(f"job {spec.id}: no node has all that chunk {chunk.id} needs: {dict(chunk.needs)}")

    @property
    def is_any_open(self) -> bool:
        """Whether more is started on one of them."""
        return any(place.is_open for place in self._places.values())

    def list(self) -> Sequence[NodeStatus]:
        """Return how they are, in their order."""
        return [
            NodeStatus(
                name=name,
                slots=place.slots,
                running=place.slots - place.free_slots,
                is_open=place.is_open,
                is_left_out=name in self._sick,
                capacity=Needs(self._nodes[name].capacity),
                tags=tuple(self._nodes[name].tags),
            )
            for name, place in self._places.items()
        ]

    def open(self, name: str, *, is_open: bool) -> None:
        """Have more started on a node, or not. Raises `KeyError` if there is none of that name."""
        if name not in self._places:
            others = ", ".join(map(repr, filter(None, self._places)))
            raise KeyError(f"there is no node {name!r}, {f'but {others}' if others else 'the only one has no name'}")
        if is_open:
            self._drained.discard(name)
            self._sick.forget(name)
        else:
            self._drained.add(name)
        self._places[name].is_open = is_open

    def try_again(self) -> bool:
        """Have more started on nodes that have been left out for long enough; return whether there are any."""
        well = self._sick.well_again()
        for name in well:
            self._places[name].is_open = name not in self._drained
            _log.warning("node %s is tried again", name)
        return bool(well)

    def _ended(self, name: str, meta: Mapping[str, object], has_failed: bool) -> None:
        """Take how a command of a chunk ended on a node."""
        if not has_failed:
            self._sick.succeeded(name)
        elif told := self._sick.failed(name, str(meta["job_id"]), meta["chunk_id"]):
            _log.warning("%s", told)
            self._places[name].is_open = False


class _Dispatcher:
    """Runs each chunk by the adapter of the node that it was given, and what is no chunk here."""

    def __init__(
        self,
        adapters: Mapping[str, WorkerAdapter],
        tags: Collection[str],
        on_end: Callable[[str, Mapping[str, object], bool], object],
    ) -> None:
        self._adapters = adapters
        self._tags = tags
        self._on_end = on_end
        self.capabilities = _common([Capabilities.of(adapter) for adapter in adapters.values()])
        self.streams = self.capabilities.streams
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(open_adapters(self._adapters.values()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, traceback)

    async def execute(self, job: WorkerJob) -> WorkerResult:
        place = job.meta.get("place")
        if place is None:
            return await LocalWorkerAdapter().execute(job)
        name = str(place)
        needs = job.meta["needs"]
        if isinstance(needs, Mapping) and any(need in self._tags for need in needs):
            # They are met by the node: an engine would look for them among its own resources.
            needs = {need: amount for need, amount in needs.items() if need not in self._tags}
            job = replace(job, meta={**job.meta, "needs": needs})
        try:
            result = await self._adapters[name].execute(job)
        except Exception:
            self._on_end(name, job.meta, True)
            raise
        self._on_end(name, job.meta, result.exit_code != 0)
        if result.node is None:
            result.node = name
        return result


def _common(all_of_them: Sequence[Capabilities]) -> Capabilities:
    """Return what holds for each of them."""
    values = {name: all(getattr(one, name) for one in all_of_them) for name in _FIELDS}
    return Capabilities(**{**values, "remote": any(one.remote for one in all_of_them)})


_FIELDS = [one.name for one in fields(Capabilities)]


def _holds(place: Place, needs: Mapping[str, float]) -> bool:
    return all(amount <= place.capacity.get(name, math.inf) for name, amount in needs.items())
