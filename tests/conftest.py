"""What every test shares."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(
    params=[("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})],
    ids=["asyncio", "uvloop", "trio"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each async test on every event loop that tailrace supports; mark the test with `pytest.mark.anyio`."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend
