"""`RayAdapter` keeps the contract of adapters, on a cluster of two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from support.ray_cluster import running_ray_cluster
from tailrace._engines.ray.adapter import RayAdapter
from tailrace.testing import AdapterConformance

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_ray_cluster() as cluster:
        yield cluster.address


class TestRay(AdapterConformance):
    # A worker of Ray's is a Python that has to be started.
    startup = 3.0

    @pytest.fixture
    async def adapter(self, address: str) -> AsyncIterator[RayAdapter]:
        async with RayAdapter(address) as adapter:
            yield adapter
