"""A farm as a server: an HTTP API on a `JobManager`; docs/server.md says how to set it up."""

from ._serving import serve
from ._settings import ServerSettings

__all__ = ["ServerSettings", "serve"]
