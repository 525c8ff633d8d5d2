"""What tells clients that may ask from others."""

from __future__ import annotations

import hmac

from ._refused_error import RefusedError


def check_token(token: str | None, authorization: str) -> None:
    """Raise `RefusedError` unless the header has the token, or none is needed.

    How long it takes tells nothing of where a wrong one differs.
    """
    if token is None:
        return
    scheme, _, given = authorization.partition(" ")
    is_right = hmac.compare_digest(given.strip().encode(), token.strip().encode())
    if scheme.lower() != "bearer" or not is_right:
        raise RefusedError(401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})
