"""The other end of the remote adapters: runs the chunks that they ask for; docs/worker.md says how to set it up."""

from ._app import WorkerApp, create_app
from ._lambda_handler import lambda_handler
from ._serving import serve
from ._settings import WorkerSettings

__all__ = ["WorkerApp", "WorkerSettings", "create_app", "lambda_handler", "serve"]
