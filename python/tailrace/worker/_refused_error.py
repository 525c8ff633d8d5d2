"""Why a request is not carried out."""

from __future__ import annotations

from collections.abc import Mapping


class RefusedError(Exception):
    """Is answered with `status` and `message`, one line that tells nothing of this machine."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
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
        return {"error": {"kind": self.kind, "message": self.message}}
