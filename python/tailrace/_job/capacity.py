"""What the chunks of a job have together, and whether it is enough for each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Container, Mapping

from .._errors import SpecError
from .._spec.model import JobSpec
from .._spec.needs import CPUS, GPUS, MEMORY, to_size
from .._spec.source import shown_source

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
_UNCOUNTED = (CPUS, MEMORY)
"""What counts only where the capacity names it."""


class Gpus:
    """Hands out the GPUs of this machine, by the names that CUDA has for them."""

    def __init__(self, names: list[str]) -> None:
        self._free = names

    @classmethod
    def of(cls, capacity: Mapping[str, float] | None) -> Gpus | None:
        """Return so many as the capacity names, of those that this process may see; None if it names none.

        Raises `ValueError` if it may see fewer. As for CUDA, what follows a negative number is not there.
        https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables
        """
        if capacity is None or GPUS not in capacity:
            return None
        count = int(capacity[GPUS])
        inherited = os.environ.get(GPU_VARIABLE)
        if inherited is None:
            return cls([str(number) for number in range(count)])
        named = (name.strip() for name in inherited.split(","))
        names = list(dict.fromkeys(itertools.takewhile(lambda name: name and not name.startswith("-"), named)))
        if len(names) < count:
            raise ValueError(
                f"capacity: gpus: {count} are more than {GPU_VARIABLE} has ({inherited or 'none'}): name as many there"
            )
        return cls(names[:count])

    def take(self, count: int) -> tuple[str, ...]:
        """Return so many that nobody has; there have to be as many."""
        taken = tuple(self._free[:count])
        del self._free[:count]
        return taken

    def give_back(self, names: tuple[str, ...]) -> None:
        """Have them handed out again, the first ones first."""
        self._free[:0] = names


def check_needs(spec: JobSpec, capacity: Mapping[str, float] | None, done: Container[int] = ()) -> None:
    """Raise `SpecError` if a chunk that is not done needs more than there is, or something that there is none of."""
    if capacity is None:
        return
    for place, chunk in enumerate(spec.chunks):
        if chunk.id in done:
            continue
        for name, needed in chunk.needs.items():
            if needed <= capacity.get(name, 0) or (name not in capacity and (name in _UNCOUNTED or not needed)):
                continue
            there = f"has {_shown(name, capacity[name])}" if name in capacity else "names none"
            where = "" if spec.path is None else f"{shown_source(os.fspath(spec.path))}: "
            # What the job's own needs gave it is not in the chunk's.
            field = "needs" if spec.needs.get(name) == needed else f"chunks[{place}].needs"
            raise SpecError(
                f"{where}{field}: {name}: {_shown(name, needed)} can never be had: the capacity {there};"
                " lower the need, or raise the capacity if there is more"
            )


def _shown(name: str, amount: float) -> str:
    return to_size(int(amount)) if name == MEMORY else repr(amount)
