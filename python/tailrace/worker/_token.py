"""What tells clients that may ask from others."""

from __future__ import annotations

import hmac

from ._refused_error import RefusedError


def check_token(token: str | None, authorization: str, functions_key: str) -> None:
    """Raise `RefusedError` unless one of the headers, `Authorization` or `x-functions-key`, has it, or none is needed.

    How long it takes tells nothing of where a wrong one differs.
    """
    if token is None:
        return
    scheme, _, bearer = authorization.partition(" ")
    is_right = hmac.compare_digest(bearer.strip().encode(), token.strip().encode()) and scheme.lower() == "bearer"
    if functions_key:
        # What clients of Azure Functions send.
        is_right |= hmac.compare_digest(functions_key.strip().encode(), token.strip().encode())
    if not is_right:
        what = "this is not the worker's token" if authorization or functions_key else "a bearer token is needed"
        raise RefusedError(
            401, f"{what}: job run takes it from TAILRACE_TOKEN or --token-env", headers={"WWW-Authenticate": "Bearer"}
        )
