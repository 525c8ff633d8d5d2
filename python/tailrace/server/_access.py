"""Who may ask: the token, the name that the server was asked by, and which page a request comes from."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ._refusal import RefusedError
from ._settings import ServerSettings

Role: TypeAlias = Literal["change", "view"]

_READING = frozenset({"GET", "HEAD"})


class Access:
    """Looks at the heads of requests."""

    def __init__(self, settings: ServerSettings) -> None:
        """Take the tokens and the names."""
        self._tokens: dict[Role, str] = {"change": settings.token}
        if settings.view_token is not None:
            self._tokens["view"] = settings.view_token
        self._given_hosts = {host.lower().rstrip(".") for host in settings.allowed_hosts}
        own = {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._hosts = {"localhost", *own, *self._given_hosts}

    def check_host(self, headers: Headers) -> None:
        """Raise `RefusedError` if the server is asked by a name that is not its own.

        A page of somebody else's whose name leads to this machine would be taken for the server's own by a browser.
        """
        host = _host_of(f"//{headers.get('host', '')}")
        if host is None or not (_is_address(host) or host in self._hosts):
            raise RefusedError(421, "the server is not known by this name: --allowed-host adds one")

    def check_origin(self, headers: Headers) -> None:
        """Raise `RefusedError` if a request comes from a page that is not the server's own."""
        origin = headers.get("origin")
        if origin is None:
            return
        host = _host_of(origin) if "://" in origin else None
        is_own = host is not None and (urlsplit(origin).netloc == headers.get("host") or host in self._given_hosts)
        # Browsers that tell it know better: a page at another port of an allowed host is somebody else's.
        if not is_own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise RefusedError(403, "requests from pages of others are not answered")

    def check_token(self, method: str, headers: Headers) -> None:
        """Raise `RefusedError` unless the token or its cookie is there, and allows this."""
        role = self._role_by_token(headers.get("authorization", ""))
        if role is None:
            role = self._role_by_cookie(headers.get("cookie", ""))
            if role is not None and method not in _READING and "origin" not in headers:
                # A browser tells it; no other client has to come with a cookie.
                raise RefusedError(403, "with a cookie, what changes something has to say which page it comes from")
        if role is None:
            told = "authorization" in headers or "cookie" in headers
            what = "this is not the server's token" if told else "a bearer token is needed"
            raise RefusedError(401, what, headers={"WWW-Authenticate": "Bearer"})
        if role == "view" and method not in _READING:
            raise RefusedError(403, "this token allows to look, and not to change anything")

    def role_of(self, token: str) -> Role | None:
        """Return what a token allows. How long that takes tells nothing of where a wrong one differs."""
        found: Role | None = None
        for role, right in self._tokens.items():
            if hmac.compare_digest(token.encode(errors="replace"), right.encode()):
                found = role
        return found

    def cookie(self, role: Role, *, is_secure: bool, forget: bool = False) -> str:
        """Return the header that has a browser keep what stands for the token, or forget it."""
        name, value = _cookie_of(self._tokens[role])
        parts = [f"{name}={'' if forget else value}", "Path=/", "HttpOnly", "SameSite=Strict"]
        parts += ["Secure"] * is_secure + ["Max-Age=0"] * forget
        return "; ".join(parts)

    def cookies_to_forget(self, *, is_secure: bool) -> list[str]:
        """Return the headers that have a browser forget all."""
        return [self.cookie(role, is_secure=is_secure, forget=True) for role in self._tokens]

    def role_in(self, headers: Headers) -> Role | None:
        """Return what is allowed to who asks."""
        return self._role_by_token(headers.get("authorization", "")) or self._role_by_cookie(headers.get("cookie", ""))

    def _role_by_token(self, authorization: str) -> Role | None:
        scheme, _, token = authorization.partition(" ")
        return self.role_of(token.strip()) if scheme.lower() == "bearer" else None

    def _role_by_cookie(self, header: str) -> Role | None:
        cookies = _cookies_in(header)
        for role, token in self._tokens.items():
            name, value = _cookie_of(token)
            if name in cookies and hmac.compare_digest(cookies[name].encode(), value.encode()):
                return role
        return None


def _cookie_of(token: str) -> tuple[str, str]:
    """Return the name and the value: another name for each token, since all servers of a machine share its cookies.

    The value is not the token: who gets hold of a browser's cookies cannot use it elsewhere.
    """
    digest = hmac.digest(token.encode(), b"tailrace cookie", "sha256").hex()
    return f"tailrace_{hmac.digest(token.encode(), b'tailrace name', 'sha256').hex()[:8]}", digest


def _cookies_in(header: str) -> dict[str, str]:
    """Return the cookies by name, with their values as they are.

    Python's own reader takes seconds for some (CVE-2024-7592), and none at all where another server of the machine, to
    which the browser sends the same ones, has set one that it does not like.
    """
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _host_of(url: str) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return None if host is None else host.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
