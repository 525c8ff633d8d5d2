"""Programs, inputs and folders that the commands of a job need."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._spec.command import parse_command
from .._spec.model import JobSpec
from .._spec.notes import enumerated
from .._spec.numbered_name import is_numbered
from .._spec.outputs import OutputNames
from .._state.folder import resolve_job_dir
from .inputs import inputs_of
from .looks import PATIENCE, Findings, Hung, Kind, Look, look_at

_MERGE = -1
"""Stands for the merge among the ids of chunks, none of which is negative."""


@dataclass(frozen=True, slots=True)
class MachineFault:
    """Something that commands of a job need and that is not right on this machine; as a text it is one line."""

    reason: str
    """What is wrong, with the full name of the file, the folder or the program."""
    chunk_ids: Sequence[int]
    """The chunks that need it, in rising order."""
    affects_merge: bool
    """Whether the merge needs it."""
    remedy: str

    def __str__(self) -> str:
        chunks = f"chunk{'s' * (len(self.chunk_ids) > 1)} {enumerated(self.chunk_ids)}" if self.chunk_ids else ""
        who = " and ".join(filter(None, (chunks, "the merge" * self.affects_merge)))
        needs = "need" if len(self.chunk_ids) + self.affects_merge > 1 else "needs"
        return f"{self.reason}, and {who} {needs} it: {self.remedy}"


async def check_machine(
    spec: JobSpec,
    job_dir: str | os.PathLike[str] | None = None,
    *,
    chunk_ids: Collection[int] | None = None,
    merge: bool = True,
) -> Sequence[MachineFault]:
    """Return what the commands need and this machine does not have; an empty list if nothing is missing.

    Looked for are the programs, the folders of the output files, which have to be writable, or possible to make, and
    the inputs that Blender, POV-Ray, ffmpeg, Python, Nuke, Maya, hython and husk are given by name. An input that a
    chunk writes, and one with a frame's number in its name, is not. A disk that does not answer within five seconds is
    a fault too. `job_dir` is the folder that the job will run in; None is that of its file, or the current one.
    `chunk_ids` are the chunks that will run, None is all; `merge` says whether the merge will. Nothing is run, written
    or made. Raises `TypeError` for what is no specification.
    """
    if not isinstance(spec, JobSpec):
        raise TypeError(f"spec must be a JobSpec, not {type(spec).__name__}")
    needs = _Needs(spec, resolve_job_dir(spec, job_dir))
    for chunk in spec.chunks:
        if chunk_ids is None or chunk.id in chunk_ids:
            needs.add_command(chunk.command, chunk.id)
            needs.add_outputs(chunk.output_files, chunk.id)
    if merge and spec.merge_command is not None:
        needs.add_program(parse_command(spec.merge_command)[0], _MERGE)
    return needs.faults(await look_at(needs.looks()))


class _Needs:
    """What is needed, by whom; each thing once, however many chunks need it."""

    def __init__(self, spec: JobSpec, job_dir: Path) -> None:
        self._spec = spec
        self._job_dir = str(job_dir)
        self._programs: dict[str, list[int]] = {}
        self._inputs: dict[str, list[int]] = {}
        self._folders: dict[str, list[int]] = {}
        self._search_path = os.get_exec_path()

    def add_command(self, command: str, chunk_id: int) -> None:
        program, args = parse_command(command)
        self.add_program(program, chunk_id)
        for name in inputs_of(program, args):
            self._inputs.setdefault(name, []).append(chunk_id)

    def add_program(self, program: str, chunk_id: int) -> None:
        self._programs.setdefault(program, []).append(chunk_id)

    def add_outputs(self, names: Iterable[str], chunk_id: int) -> None:
        for name in names:
            if name.startswith("/dev/"):
                # Nothing is made there.
                continue
            # Where a folder has the frame's number, it is one of many in the folder above.
            folder = os.path.dirname(name)  # noqa: PTH120
            while is_numbered(folder):
                folder = os.path.dirname(folder)  # noqa: PTH120
            ids = self._folders.setdefault(folder, [])
            if not ids or ids[-1] != chunk_id:
                ids.append(chunk_id)

    def looks(self) -> Iterable[Look]:
        """Return all that has to be looked at."""
        looks = {look for program in self._programs for look in self._places_of(program)}
        looks.update(self._look("input", name) for name in self._inputs)
        looks.update(self._look("folder", name) for name in self._folders)
        return looks

    def faults(self, findings: Findings) -> list[MachineFault]:
        """Return what is wrong of all this, what most chunks need first."""
        hung: dict[str, set[int]] = {}
        faults = []
        for program, ids in self._programs.items():
            found = [findings[look] for look in self._places_of(program)]
            if None in found:
                continue
            silent = next((each for each in found if isinstance(each, Hung)), None)
            if silent is not None:
                hung.setdefault(silent, set()).update(ids)
            else:
                where = " in the PATH" * ("/" not in program)
                remedy = "install it, or correct the command"
                faults.append(_fault(f"there is no program {program}{where}", ids, remedy))
        outputs: OutputNames | None = None
        kinds: tuple[tuple[Kind, dict[str, list[int]]], ...] = (("input", self._inputs), ("folder", self._folders))
        for kind, needed in kinds:
            for name, ids in needed.items():
                look = self._look(kind, name)
                finding = findings[look]
                if finding is None:
                    continue
                if isinstance(finding, Hung):
                    hung.setdefault(finding, set()).update(ids)
                elif kind == "folder":
                    remedy = "write to another folder, or have this one made writable"
                    faults.append(_fault(f"{look.path} cannot be written ({finding})", ids, remedy))
                else:
                    outputs = outputs or OutputNames(self._spec.chunks)
                    if look.path not in outputs and os.path.normpath(name) not in outputs:
                        remedy = "put it there, or correct the command"
                        faults.append(_fault(f"{look.path} cannot be read ({finding})", ids, remedy))
        silent_faults = [
            _fault(f"{place} does not answer for {PATIENCE:g} s", ids, "look after this disk, or do without it")
            for place, ids in hung.items()
        ]
        return sorted((*silent_faults, *faults), key=lambda fault: -len(fault.chunk_ids))

    def _look(self, kind: Kind, name: str) -> Look:
        path = os.path.join(self._job_dir, name)  # noqa: PTH118
        # Behind a link, .. leads elsewhere than without both.
        return Look(kind, path if ".." in name else os.path.normpath(path))

    def _places_of(self, program: str) -> list[Look]:
        if "/" in program:
            return [self._look("program", program)]
        return [self._look("program", os.path.join(folder, program)) for folder in self._search_path]  # noqa: PTH118


def _fault(reason: str, ids: Iterable[int], remedy: str) -> MachineFault:
    distinct = set(ids)
    return MachineFault(reason, tuple(sorted(distinct - {_MERGE})), _MERGE in distinct, remedy)
