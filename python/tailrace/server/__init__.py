"""A farm as a server: an HTTP API on a `JobManager`; docs/server.md says how to set it up."""

from .._api.place import DEFAULT_PORT, make_token, token_file
from ._serving import serve
from ._settings import ServerSettings

__all__ = ["DEFAULT_PORT", "ServerSettings", "make_token", "serve", "token_file"]
