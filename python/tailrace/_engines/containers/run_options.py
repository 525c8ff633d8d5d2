"""What the engine is told of a container."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..._command.job import WorkerJob
from .exchange import INSIDE

DEVICES = "CUDA_VISIBLE_DEVICES"
"""Which GPUs a chunk was given by the executor."""

OWNED = "tailrace"
"""The label of all containers."""

_NETWORK = ("--network", "--net")

_REFUSED = frozenset(
    {
        "attach",
        "cidfile",
        "detach",
        "entrypoint",
        "init",
        "interactive",
        "log-driver",
        "name",
        "pid",
        "restart",
        "rm",
        "tty",
    }
)
"""Options that would take a container out of our hands."""
_REFUSED_LETTERS = {"a": "attach", "d": "detach", "i": "interactive", "t": "tty"}
_LETTERS_WITHOUT_VALUES = frozenset("Pq") | _REFUSED_LETTERS.keys()
"""Those of one letter that more can follow."""


def check_options(options: Sequence[str]) -> None:
    """Raise `ValueError` for options of `docker run` that cannot be used."""
    for option in options:
        if len(option) < 2 or not option.startswith("-"):
            raise ValueError(f"options must each begin with -, such as --network=host, not {option!r}")
        refused = _refused(option)
        if refused is not None:
            raise ValueError(
                f"options must not have {option}: how a container runs, and what becomes of it, is up to tailrace"
                f" (leave --{refused} out)"
            )


def _refused(option: str) -> str | None:
    """Return which option that is, if it is refused."""
    if option.startswith("--"):
        name = option[2:].partition("=")[0]
        return name if name in _REFUSED else None
    for letter in option[1:]:
        if letter in _REFUSED_LETTERS:
            return _REFUSED_LETTERS[letter]
        if letter not in _LETTERS_WITHOUT_VALUES:
            # The rest is its value.
            return None
    return None


def check_volumes(volumes: Sequence[str]) -> None:
    """Raise `ValueError` for what is not like /here:/there or /here:/there:ro."""
    for volume in volumes:
        here, colon, there = volume.partition(":")
        if not colon or not here.startswith("/") or not there.startswith("/"):
            raise ValueError(f"volumes must be like /here:/there or /here:/there:ro, not {volume!r}")


def run_options(
    job: WorkerJob,
    shared: Path,
    *,
    name: str,
    image: str,
    is_podman: bool,
    options: Sequence[str],
    volumes: Sequence[str],
) -> list[str]:
    """Return the arguments of `docker run` or `podman run` that run the job's command.

    `shared` is the folder of the `Exchange`. The user's own options come behind ours, so that they win.
    """
    folder = folder_of(job)
    mounts = dict.fromkeys([os.path.realpath(folder), folder])
    return [
        "--rm",
        f"--name={name}",
        f"--label={OWNED}",
        # A pull would count for the limits of a chunk, and its progress would stand in the chunk's stderr.
        "--pull=never",
        # There is no output that passes the engine.
        "--log-driver=none",
        *([] if _names_a_network(options) else ["--network=none"]),
        *_user(is_podman=is_podman),
        *_mount(str(shared), INSIDE, "readonly"),
        *(word for target in mounts for word in _mount(os.path.realpath(folder), target)),
        f"--workdir={os.path.realpath(folder)}",
        *(f"--volume={volume}" for volume in volumes),
        *_limits(job.meta.get("needs"), (job.env or {}).get(DEVICES), is_podman=is_podman),
        *options,
        f"--entrypoint={INSIDE}/init",
        image,
        str(round(job.kill_grace * 1000)),
        job.command,
        *job.args,
    ]


def folder_of(job: WorkerJob) -> str:
    """Return the folder that the command runs in, as an absolute path that may have symbolic links."""
    return os.path.abspath(job.cwd or ".")  # noqa: PTH100 (pathlib's leaves ".." in)


def variables(job: WorkerJob) -> dict[str, str]:
    """Return the variables of the command that are not the image's."""
    own = {"PWD": os.path.realpath(folder_of(job)), **(job.env or {})}
    if _count(job.meta.get("needs"), "gpus"):
        # The container sees those alone, with numbers of its own.
        own.pop(DEVICES, None)
    return own


def _names_a_network(options: Sequence[str]) -> bool:
    return any(option in _NETWORK or option.startswith(tuple(f"{name}=" for name in _NETWORK)) for option in options)


def _user(*, is_podman: bool) -> Iterator[str]:
    yield f"--user={os.getuid()}:{os.getgid()}"
    if is_podman:
        # Else it hands on the proxies that this machine's variables name.
        yield "--http-proxy=false"
        if os.getuid() != 0:
            # Without root, users are numbered anew in there.
            yield "--userns=keep-id"


def _mount(source: str, target: str, *more: str) -> tuple[str, str]:
    # A field of comma-separated values (RFC 4180): colons and commas are nothing special in quotes.
    fields = ["type=bind", f"source={source}", f"target={target}", *more]
    return "--mount", ",".join('"' + field.replace('"', '""') + '"' for field in fields)


def _limits(needs: object, devices: str | None, *, is_podman: bool) -> Iterator[str]:
    if cpus := _count(needs, "cpus"):
        yield f"--cpus={cpus:g}"
    if memory := int(_count(needs, "memory")):
        yield f"--memory={memory}"
        # As much as memory and swap together: no swap.
        yield f"--memory-swap={memory}"
    if gpus := int(_count(needs, "gpus")):
        named = devices.split(",") if devices else []
        if is_podman:
            # By the Container Device Interface, https://github.com/cncf-tags/container-device-interface
            yield from (f"--device=nvidia.com/gpu={device}" for device in named or range(gpus))
        else:
            yield f'--gpus="device={devices}"' if named else f"--gpus={gpus}"


def _count(needs: object, name: str) -> float:
    amount = needs.get(name, 0) if isinstance(needs, Mapping) else 0
    return float(amount) if isinstance(amount, int | float) else 0.0
