"""The whole suite."""

from __future__ import annotations

from typing import ClassVar

import pytest

from .callbacks import CallbackConformance
from .cancellation import CancellationConformance
from .early_ends import EarlyEndConformance
from .jobs import JobConformance
from .limits import LimitConformance
from .results import ResultConformance
from .surroundings import SurroundingsConformance


class AdapterConformance(
    ResultConformance,
    SurroundingsConformance,
    CallbackConformance,
    LimitConformance,
    CancellationConformance,
    EarlyEndConformance,
    JobConformance,
):
    """The tests that an adapter has to pass, for pytest with anyio's plugin, which comes with anyio.

    A subclass whose name begins with `Test` overrides the fixture `adapter`; the other fixtures and attributes, which
    docs/write-an-adapter.md lists, have defaults. What an adapter cannot do, by its `Capabilities`, has to be left
    undone quietly: a test sees that nothing breaks, and none is skipped. The commands need `sh` and what POSIX has
    beside it. Each test runs on the event loops of the fixture `anyio_backend`: by default on asyncio, and on trio if
    that is installed.
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]
