"""Google's metadata server on loopback: what gives the programs on a machine of Google's their identity tokens."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support.raw_server import Request, Server, answer


@dataclass
class TokenSource:
    """What the metadata server gives out."""

    lifetime: float = 3600.0
    is_broken: bool = False
    delay: float = 0.0
    payload: object = None
    """What is in the tokens in place of what has to be."""
    audiences: list[str] = field(default_factory=list)
    """Those of the tokens that were asked for, in order."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, connection: socket.socket, request: Request) -> None:
        """Answer as https://cloud.google.com/compute/docs/metadata describes."""
        place = urlsplit(request.path)
        flavour = "Metadata-Flavor: Google\r\n"
        if self.is_broken:
            answer(connection, "no identity here", status="404 Not Found", media_type="text/plain", headers=flavour)
        elif place.path.endswith("/identity"):
            with self.lock:
                self.audiences += parse_qs(place.query)["audience"]
                number = len(self.audiences)
            payload = (
                {"number": number, "exp": int(time.time() + self.lifetime)} if self.payload is None else self.payload
            )
            time.sleep(self.delay)
            answer(connection, _token(payload), media_type="text/html", headers=flavour)
        else:
            answer(connection, {"email": "farm@project.example", "scopes": []}, headers=flavour)


def variables(server: Server) -> dict[str, str]:
    """Return the environment in which google-auth finds it."""
    address = f"127.0.0.1:{server.port}"
    return {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address}


def _token(payload: object) -> str:
    parts = ({"alg": "none"}, payload, "signature")
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
