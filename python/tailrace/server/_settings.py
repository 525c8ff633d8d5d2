"""Who may ask a farm's server, and how much."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Who may ask, and how much. Times are seconds, sizes bytes. Raises `TypeError`, `ValueError` for what is wrong."""

    token: str = field(repr=False)
    """Who sends it may do everything, which is to run any command as the server's user."""
    _: KW_ONLY
    view_token: str | None = field(default=None, repr=False)
    """Who sends it may look at everything, and change nothing."""
    allowed_hosts: Collection[str] = ()
    """The names that clients know the server by, beside this machine's own, `localhost` and addresses in digits."""
    trusted_proxies: Collection[str] = ()
    """The addresses of proxies, or networks of them, whose word counts for who asks (`X-Forwarded-For`) and how
    (`X-Forwarded-Proto`)."""
    tls_cert: str | None = None
    """The file of the certificate, and those that lead to its authority; with it the server speaks HTTPS alone."""
    tls_key: str | None = field(default=None, repr=False)
    """The file of its key."""
    max_body: int = 2**20
    """The largest body of a request, but for that of a new job."""
    max_job: int = 64 * 2**20
    """The largest body of a request with a new job."""
    body_timeout: float = 30.0
    """The longest a request's body may take to come."""

    def __post_init__(self) -> None:
        for name in ("token", "view_token"):
            token = getattr(self, name)
            if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
                raise ValueError(f"{name} must be printable ASCII, not empty, and without spaces around it")
        if self.token == self.view_token:
            raise ValueError("view_token must be another one than token, with which everything is allowed")
        for name in ("allowed_hosts", "trusted_proxies"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a collection of texts, not one str")
        for host in self.allowed_hosts:
            if not host or any(character in host for character in "/:@ "):
                raise ValueError(f"allowed_hosts: {host!r} should be a name alone, without https:// and without a port")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"trusted_proxies: {proxy!r} should be the address of a machine or a network, in digits"
                ) from None
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        for name in ("max_body", "max_job", "body_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive: {getattr(self, name)!r}")
