"""Says whether headers can be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110, 5.6.2."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `ValueError` if they cannot. No value is shown: it is a secret even with a mistake in it."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(
                f"the header {name} must be a text of ASCII characters, with no line ends, and no spaces around it"
            )
