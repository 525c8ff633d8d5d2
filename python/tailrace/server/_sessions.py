"""A browser's cookie, in place of the token, which a page should not have to keep."""

from __future__ import annotations

from starlette.responses import Response

from .._api.models import Nothing, SessionAnswer, SessionRequest
from ._access import Access
from ._call import Call
from ._refusal import RefusedError


class Sessions:
    """Answers requests about who asks."""

    def __init__(self, access: Access) -> None:
        """Take who knows the tokens."""
        self._access = access

    async def get(self, call: Call) -> SessionAnswer:
        """Return what is allowed to who asks."""
        return SessionAnswer(can_change=self._access.role_in(call.request.headers) == "change")

    async def begin(self, call: Call) -> Response:
        """Have a browser keep a cookie for the token."""
        role = self._access.role_of((await call.body(SessionRequest)).token)
        if role is None:
            raise RefusedError(401, "this is not the server's token", headers={"WWW-Authenticate": "Bearer"})
        body = SessionAnswer(can_change=role == "change").model_dump_json(by_alias=True)
        cookie = self._access.cookie(role, is_secure=_is_secure(call))
        return Response(body, headers={"Set-Cookie": cookie}, media_type="application/json")

    async def end(self, call: Call) -> Response:
        """Have a browser forget its cookie."""
        response = Response(Nothing().model_dump_json(), media_type="application/json")
        for cookie in self._access.cookies_to_forget(is_secure=_is_secure(call)):
            response.headers.append("Set-Cookie", cookie)
        return response


def _is_secure(call: Call) -> bool:
    return call.request.url.scheme == "https"
