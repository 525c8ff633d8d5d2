"""The adapter of docs/write-an-adapter.md keeps the contract that the page explains."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support import ROOT
from support.loops import on_one_loop
from tailrace import WorkerAdapter, WorkerJob
from tailrace.testing import AdapterConformance

PAGE = ROOT / "docs" / "write-an-adapter.md"


def documented_adapter() -> WorkerAdapter:
    """Return the adapter of the first program of the page."""
    program = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": "documented"}
    exec(program, names)
    adapter: WorkerAdapter = names["LicensedAdapter"]("27000@licences")
    return adapter


@on_one_loop
class TestDocumentedAdapter(AdapterConformance):
    @pytest.fixture
    def adapter(self) -> WorkerAdapter:
        return documented_adapter()


@pytest.mark.anyio
async def test_the_documented_adapter_sets_its_variable() -> None:
    result = await documented_adapter().execute(WorkerJob("sh", ["-c", "echo $LICENCE_SERVER"]))
    assert result.stdout == "27000@licences\n"
