"""Containers of docker and podman keep the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.container_engines import ContainerEngine, running_engine
from tailrace import DockerAdapter
from tailrace.testing import AdapterConformance

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    """Have an engine ready for all tests."""
    with running_engine(request.param, tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


class TestContainers(AdapterConformance):
    startup = 3.0

    @pytest.fixture
    def adapter(self, engine: ContainerEngine) -> DockerAdapter:
        # One of the tests counts its attempts in /tmp.
        return engine.adapter(volumes=["/tmp:/tmp"])
