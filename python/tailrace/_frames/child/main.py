"""Takes requests from a socket, one JSON object a line, and answers each with another.

Whatever happens to this process, and whatever it loads, its parent only sees that it has ended.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from .background import be_idle, be_nice
from .found import Found, NotSeenError, NotTheFileError
from .look import look_at, thumbnail_of

_PASSING = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
"""What goes wrong with the machine or the way to its disks, and not with a file."""


def main(lifeline: int, *, yields: bool, nice: int) -> None:
    """Serve the socket that is the standard input, until the other end of it, or of the pipe `lifeline`, is closed."""
    _end_with_parent(lifeline)
    be_nice(nice)
    _load()
    if yields:
        be_idle()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = socket.socket(fileno=os.dup(0))
    with connection, connection.makefile("rb") as requests:
        _send(connection, {"ready": True})
        for line in requests:
            request = json.loads(line)
            _limit(request["memory"], request["processor_time"])

            def tell(frames: int) -> None:
                _send(connection, {"frames": frames})

            _send(connection, _thumbnail(request) if "box" in request else _answer(request, tell))


def _load() -> None:
    # Once, at the usual priority: with all processors at work it would be minutes until the first answer.
    with contextlib.suppress(ImportError):
        from . import picture as picture


def _answer(request: dict[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
    found = Found()
    problem = _problem_of(request, lambda: look_at(request, found, tell))
    if problem is None:
        return found.to_json()
    if "reason" not in problem:
        return problem
    return {**found.to_json(), **problem}


def _thumbnail(request: dict[str, Any]) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    problem = _problem_of(request, lambda: made.append(thumbnail_of(request)))
    return problem or made[0]


def _problem_of(request: dict[str, Any], look: Callable[[], object]) -> dict[str, Any] | None:
    """Return what kept the file from being read: a "reason" is a fault of its own."""
    try:
        look()
    except NotSeenError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": f"needs more than {request['memory'] / (1 << 30):.3g} GiB of memory to be decoded"}
    except ImportError as error:
        return {"missing": error.name or str(error)}
    except NotTheFileError as error:
        return {"failed": str(error)}
    except FileNotFoundError as error:
        return {"reason": f"cannot be found: {error.strerror}"}
    except OSError as error:
        if error.errno in _PASSING:
            return {"failed": f"it cannot be read now: {error.strerror}"}
        return {"reason": f"cannot be read: {error.strerror or error}"}
    except Exception as error:  # noqa: BLE001
        # A mistake of ours is no fault of the file.
        return {"failed": f"{type(error).__name__}: {error}"}
    return None


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


def _limit(memory: int, processor_time: float) -> None:
    # Not the address space: what is only reserved, as by each thread of a decoder, costs nothing.
    _lower(resource.RLIMIT_DATA, memory)
    _lower(resource.RLIMIT_CPU, int(time.process_time() + processor_time) + 1)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _end_with_parent(lifeline: int) -> None:
    # The end of input is seen between two files only. The kernel's signal about the pipe comes in the middle of one,
    # and ends the process; that for the death of a parent comes when its thread ends, too.
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):
        sys.exit()
