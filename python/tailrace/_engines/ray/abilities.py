"""What the adapter can do, apart from the adapter, which takes long to load."""

from __future__ import annotations

from ..._command.adapter import Capabilities

CAPABILITIES = Capabilities(streams=True, tells_start=True, remote=True, ends_early=True)
