"""A farm, whichever way it is asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

from tailrace import Farm

AnyFarm: TypeAlias = Callable[..., AbstractAsyncContextManager[Farm]]
"""Makes a farm with its repository in a folder."""


@pytest.fixture(name="farm", params=["manager", "client"])
def any_farm(request: pytest.FixtureRequest) -> AnyFarm:
    """Have a test run on a `JobManager`, and on a client of the server of one, which has to do the same."""
    # Only tests of farms wait for what they load.
    from support.farm_servers import served_farm
    from support.farms import farm

    return farm if request.param == "manager" else served_farm
