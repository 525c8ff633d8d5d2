"""Why a request is not carried out."""

from __future__ import annotations

from collections.abc import Mapping

_END = 400
"""How many characters are left at either end of a message that is too long."""


class RefusedError(Exception):
    """Is answered with `status` and `message`, one short line that tells nothing of this machine."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        # Names in it come from requests, and may be as long as these.
        line = "".join(
            character if character.isprintable() else repr(character)[1:-1] for character in _shorten(message)
        )
        self.message = _shorten(line)
        super().__init__(self.message)
        self.status = status
        self.headers = headers or {}

    def anew(self) -> RefusedError:
        """Return the same without what an exception gathers on its way: frames, with all that they hold."""
        return RefusedError(self.status, self.message, headers=self.headers)

    @property
    def kind(self) -> str:
        """What the answer calls it."""
        return "internal" if self.status == 500 else "refused"

    def to_json(self) -> dict[str, object]:
        """Return the body of the answer."""
        # Older clients look for the message beside the error.
        return {"error": {"kind": self.kind, "message": self.message}, "message": self.message}


def _shorten(text: str) -> str:
    return text if len(text) <= 2 * _END else f"{text[:_END]} ... {text[-_END:]}"
