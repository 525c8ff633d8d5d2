"""The packages that only some users need."""

from __future__ import annotations


def missing_extra(what: str, extra: str, error: ImportError) -> ImportError:
    """Return the error for `what`, which needs a package that was not installed: it names the command to install it."""
    return ImportError(f"{what} needs {error.name}: pip install 'tailrace[{extra}]'", name=error.name)
