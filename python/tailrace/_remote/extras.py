"""The packages that only some users need."""

from __future__ import annotations


def missing_extra(what: str, extra: str, error: ImportError) -> ImportError:
    """Return the error for `what`, which needs a package that was not installed: it names the command to install it."""
    # Whoever raises one by hand may not say the name.
    needed = error.name or f"what is missing ({error})"
    return ImportError(f"{what} needs {needed}: pip install 'tailrace[{extra}]'", name=error.name)
