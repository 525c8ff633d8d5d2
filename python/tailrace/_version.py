"""Which tailrace this is."""

import os
import sys

_BEGINNING = "tailrace-"
_ENDING = ".dist-info"


def installed_version() -> str:
    """Return the version that is installed, or "unknown" where the package was only copied."""
    # What installers have to call the folder says it (PyPA, "Recording installed projects"). importlib.metadata finds
    # no more, and takes longer to load than Python.
    for place in sys.path:
        try:
            names = sorted(entry.name for entry in os.scandir(place or "."))
        except OSError:
            continue
        for name in names:
            if name.startswith(_BEGINNING) and name.endswith(_ENDING):
                return name.removeprefix(_BEGINNING).removesuffix(_ENDING)
    return _version_elsewhere()


def _version_elsewhere() -> str:
    # In an archive, say.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tailrace")
    except PackageNotFoundError:
        return "unknown"
