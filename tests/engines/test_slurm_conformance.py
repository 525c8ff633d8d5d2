"""`SlurmAdapter` keeps the contract, with a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.slurm_cluster import running_slurm
from tailrace._engines.slurm.adapter import SlurmAdapter
from tailrace.testing import AdapterConformance

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run Slurm for all tests."""
    with running_slurm(tmp_path_factory.mktemp("slurm")):
        yield


class TestSlurm(AdapterConformance):
    startup = 3.0

    @pytest.fixture
    def adapter(self) -> SlurmAdapter:
        return SlurmAdapter()
