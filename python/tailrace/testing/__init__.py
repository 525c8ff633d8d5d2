"""For tests: an adapter that follows a script, and a suite that an adapter of one's own has to pass.

docs/write-an-adapter.md shows both.
"""

import importlib as _importlib
import typing as _typing

from ._fake_adapter import FakeAdapter, FakeRecord
from ._script import FakeExecution, FakeOutput, Script

if _typing.TYPE_CHECKING:
    from ._conformance.suite import AdapterConformance

__all__ = ["AdapterConformance", "FakeAdapter", "FakeExecution", "FakeOutput", "FakeRecord", "Script"]


def __getattr__(name: str) -> object:
    if name != "AdapterConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Loaded by who uses it: the fake needs no pytest.
    try:
        import pytest
    except ImportError as error:
        from .._extras import missing_extra

        raise missing_extra(name, "testing", error) from error
    # A test that fails shows the values that it compared.
    pytest.register_assert_rewrite(f"{__name__}._conformance")
    suite = globals()[name] = _importlib.import_module(f"{__name__}._conformance.suite").AdapterConformance
    return suite


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
