"""The adapter for this machine keeps the contract, with the native core and without it."""

from __future__ import annotations

import pytest

from tailrace import LocalWorkerAdapter
from tailrace.testing import AdapterConformance


class TestNativeBackend(AdapterConformance):
    @pytest.fixture
    def adapter(self) -> LocalWorkerAdapter:
        return LocalWorkerAdapter(backend="native")


class TestPythonBackend(AdapterConformance):
    @pytest.fixture
    def adapter(self) -> LocalWorkerAdapter:
        return LocalWorkerAdapter(backend="python")
