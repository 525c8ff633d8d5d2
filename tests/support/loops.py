"""The event loops that a test runs on, where those of every async test are too few or too many."""

from __future__ import annotations

from typing import Any

import pytest

ASYNCIO: tuple[str, dict[str, Any]] = ("asyncio", {})
UVLOOP: tuple[str, dict[str, Any]] = ("asyncio", {"use_uvloop": True})
TRIO: tuple[str, dict[str, Any]] = ("trio", {})

on_one_loop = pytest.mark.parametrize("anyio_backend", [ASYNCIO], ids=["asyncio"])
"""For what depends on no event loop, and takes long."""

on_asyncio = pytest.mark.parametrize("anyio_backend", [ASYNCIO, UVLOOP], ids=["asyncio", "uvloop"])
"""For what asyncio alone can do, as cancelling a task twice."""

on_every_loop = pytest.mark.parametrize("anyio_backend", [ASYNCIO, UVLOOP, TRIO], ids=["asyncio", "uvloop", "trio"])
"""For what shows that all the rest works on uvloop as it does on asyncio."""
