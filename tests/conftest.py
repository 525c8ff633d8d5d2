"""What every test shares."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from support.loops import ASYNCIO, TRIO
from support.processes import descendants_marked

pytest_plugins = ["support.any_farm", "support.farm_databases"]

# On a busy machine an example takes as long as it takes.
hypothesis.settings.register_profile("tailrace", deadline=None)
hypothesis.settings.load_profile("tailrace")


@pytest.fixture(params=[ASYNCIO, TRIO], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each async test on both kinds of event loop; mark the test with `pytest.mark.anyio`."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture
def mark() -> Iterator[str]:
    """A word to put into command lines, of which none may be left at the end."""
    word = f"mark-{uuid.uuid4()}"
    yield word
    assert descendants_marked(word) == []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how a run ended: only after one that came to its end is it known which tests fail."""
    cache: pytest.Cache | None = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set("tailrace/exit_status", int(exitstatus))
