"""What the chunks of a job have together, and whether it is enough for each."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .._errors import SpecError
from .._spec.model import JobSpec
from .._spec.needs import CPUS, GPUS, MEMORY
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

        Raises `ValueError` if it may see fewer.
        """
        if capacity is None or GPUS not in capacity:
            return None
        count = int(capacity[GPUS])
        inherited = os.environ.get(GPU_VARIABLE)
        if inherited is None:
            return cls([str(number) for number in range(count)])
        names = [name.strip() for name in inherited.split(",") if name.strip()]
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


def check_needs(spec: JobSpec, capacity: Mapping[str, float] | None) -> None:
    """Raise `SpecError` if a chunk needs more than there is in all, or something that there is none of."""
    if capacity is None:
        return
    for place, chunk in enumerate(spec.chunks):
        for name, needed in chunk.needs.items():
            if needed <= capacity.get(name, 0) or (name not in capacity and (name in _UNCOUNTED or not needed)):
                continue
            there = f"the capacity has {capacity[name]:g}" if name in capacity else "the capacity names none"
            where = "" if spec.path is None else f"{shown_source(os.fspath(spec.path))}: "
            raise SpecError(f"{where}chunks[{place}].needs: {name}: {needed:g} can never be had: {there}")
