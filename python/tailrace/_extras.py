"""The packages that only some users need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec


def missing_extra(what: str, extra: str, error: ImportError) -> ImportError:
    """Return the error for `what`, which needs a package that was not installed: it names the command to install it."""
    # Whoever raises one by hand may not say the name.
    needed = error.name or f"what is missing ({error})"
    return ImportError(f"{what} needs {needed}: pip install 'tailrace[{extra}]'", name=error.name)


def lacking(extra: str, modules: Iterable[str]) -> Sequence[str]:
    """Return which of the `modules` are not installed, each with the command that installs it; loads hardly any."""
    return [f"{module}: pip install 'tailrace[{extra}]'" for module in modules if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        # What it is a part of is missing.
        return False
