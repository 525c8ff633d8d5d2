"""Job specifications from the web, from allowed places and no others."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from .._errors import SpecError
from .._spec.source import HTTP_TIMEOUT, fetch, shown_source
from ._requests import RefusedError

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        # Where clouds tell a machine its secrets, beside the link-local addresses: AWS (IMDS, EKS), Google, Alibaba,
        # Azure, Oracle.
        ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
# A farm's file servers have such addresses, and only hosts that are listed are asked.
_LOCAL_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebPrefix(NamedTuple):
    """A server and what the paths of its allowed URLs begin with."""

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, url: str) -> WebPrefix:
        """Read an http(s) URL; raises `ValueError` if it could be understood in more than one way."""
        parts = urlsplit(url)
        if (
            parts.scheme not in _PORTS
            or not parts.hostname
            or parts.username is not None
            or parts.password is not None
            or parts.fragment
        ):
            raise ValueError(
                f"{shown_source(url)}: should be an http(s) URL with a host, without a user and a fragment"
            )
        if any(character.isspace() or not character.isprintable() for character in url) or "\\" in url:
            raise ValueError(f"{shown_source(url)!r}: should hold no spaces, control characters and backslashes")
        segments = tuple(unquote(segment) for segment in parts.path.split("/")[1:])
        if any(segment in (".", "..") or "/" in segment or "\\" in segment for segment in segments):
            raise ValueError(f"{shown_source(url)}: its path should hold no '.', '..' and escaped slashes")
        return cls(parts.scheme, parts.hostname.rstrip("."), parts.port or _PORTS[parts.scheme], segments)

    def covers(self, other: WebPrefix) -> bool:
        """Return whether `other` is on the same server and its path begins, in whole segments, with this one's."""
        own = self.segments[:-1] if self.segments[-1:] == ("",) else self.segments
        return self[:3] == other[:3] and other.segments[: len(own)] == own

    @property
    def names_an_address(self) -> bool:
        """Whether the URL itself says which address is asked."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        return True


def download(url: str, allowed: Sequence[WebPrefix]) -> bytes:
    """Return what is at `url`, within the limits of size and time that hold for specifications.

    Each address that is asked, also after a redirect, has to be covered by one of the `allowed`. The name of the
    server is looked up once, and the address that comes out is checked and connected to. Raises `RefusedError`.
    """
    deadline = time.monotonic() + HTTP_TIMEOUT
    try:
        return fetch(url, lambda url: _open(url, allowed, deadline))
    except SpecError as error:
        raise RefusedError(502, str(error)) from None


@contextmanager
def _open(url: str, allowed: Sequence[WebPrefix], deadline: float) -> Iterator[http.client.HTTPResponse]:
    shown = shown_source(url)
    for _ in range(_MOST_REDIRECTS + 1):
        place = _check_place(url, allowed)
        with _connected(place, deadline) as connection, _ended_at(deadline, connection.sock):
            connection.request("GET", _target(urlsplit(url)), headers={"Accept": "application/json, */*"})
            with connection.getresponse() as response:
                if response.status == 200:
                    yield response
                    return
                location = response.getheader("Location")
                if response.status not in _REDIRECTS or location is None:
                    raise SpecError(f"{shown}: the server answered {response.status} {response.reason}")
                url = urljoin(url, location)
    raise SpecError(f"{shown}: leads from one address to the next more than {_MOST_REDIRECTS} times")


def _check_place(url: str, allowed: Sequence[WebPrefix]) -> WebPrefix:
    try:
        place = WebPrefix.parse(url)
    except ValueError as error:
        raise RefusedError(403, str(error)) from None
    if not any(prefix.covers(place) for prefix in allowed):
        raise RefusedError(
            403, f"{shown_source(url)} is in no place that this worker takes job specifications from (--allow-spec)"
        )
    return place


@contextmanager
def _connected(place: WebPrefix, deadline: float) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection to an address of the server's that has been checked."""
    connection = (http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection)(
        place.host, place.port
    )
    with closing(connection):
        connection.sock = _connect(place, deadline)
        if place.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=place.host)
        yield connection


def _connect(place: WebPrefix, deadline: float) -> socket.socket:
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    if not place.names_an_address:
        for *_, address in found:
            _check_address(place.host, str(address[0]))
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(max(deadline - time.monotonic(), 0.001))
            connecting.connect(address)
        except OSError as error:
            connecting.close()
            failure = error
        else:
            return connecting
    raise failure or OSError("it has no address")


def _check_address(host: str, text: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    if not is_ordinary(address):
        raise RefusedError(403, f"{host} has the address {address}, which this worker does not ask unless it is listed")


def is_ordinary(address: _Address) -> bool:
    """Return whether an address is neither this machine's own, nor the local link's, nor a cloud's for metadata."""
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        # What a name server for networks without IPv4 makes of any IPv4 address.
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local
    ):
        return False
    if address in _METADATA or address.is_multicast or address.is_reserved:
        return False
    return address.is_global or any(
        address.version == network.version and address in network for network in _LOCAL_NETWORKS
    )


@contextmanager
def _ended_at(deadline: float, connected: socket.socket) -> Iterator[None]:
    """Break the connection at `deadline`: a socket's own limit is for each read, and a header may drip for ever."""
    is_broken = threading.Event()

    def break_off() -> None:
        is_broken.set()
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(deadline - time.monotonic(), 0), break_off)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if is_broken.is_set():
        # To who reads, it looks like the end.
        raise TimeoutError


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
