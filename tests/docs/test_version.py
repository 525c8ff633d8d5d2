"""The version is one, wherever it is asked for, and costs nothing until it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tailrace


def test_the_version_of_the_package_is_the_one_that_the_command_line_prints() -> None:
    assert python("-m", "tailrace", "--version") == f"tailrace {tailrace.__version__}\n"


def test_the_version_is_looked_up_when_it_is_asked_for() -> None:
    program = "import sys, tailrace; print('importlib.metadata' in sys.modules, tailrace.__version__)"
    assert python("-c", program) == f"False {tailrace.__version__}\n"


def test_a_name_that_there_is_not_is_no_version() -> None:
    with pytest.raises(AttributeError, match="module 'tailrace' has no attribute '__versions__'"):
        _ = tailrace.__versions__


def python(*args: str) -> str:
    """Return what a new interpreter prints."""
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True).stdout
