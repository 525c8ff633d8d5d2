"""A farm by the address of its server."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from .._api.place import DEFAULT_URL, TOKEN_VARIABLE, URL_VARIABLE, kept_token, maker_lives
from .._extras import missing_extra

if TYPE_CHECKING:
    from .remote_farm import RemoteFarm


def connect(url: str | None = None, token: str | None = None) -> RemoteFarm:
    """Return the farm whose server is at `url`, with the methods of a `JobManager`; nothing is asked yet.

    ```python
    async with connect("http://farm:8089", os.environ["FARM_TOKEN"]) as farm:
        job_id = await farm.submit(JobSpec.load("/mnt/shots/12/job.json"))
        print((await farm.wait(job_id)).state)
    ```

    Without `url` it is that in the variable `TAILRACE_SERVER`, or http://127.0.0.1:8089; without `token` that in
    `TAILRACE_SERVER_TOKEN`, or the one that a server on this machine has made. Inside an `async with` block connections
    are used again.

    Raises `ValueError` for what is no URL, `ImportError` without the extra "server".
    """
    try:
        from .remote_farm import RemoteFarm
        from .server_calls import ServerCalls
    except ImportError as error:
        raise missing_extra("connect", "server", error) from error
    where = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    if given := token or os.environ.get(TOKEN_VARIABLE):
        return RemoteFarm(ServerCalls(where, given))
    kept = kept_token(where)
    return RemoteFarm(ServerCalls(where, kept, None if kept is None else partial(maker_lives, where)))
