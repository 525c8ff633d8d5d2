"""A look at what a farm keeps, while no manager has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .._errors import RepositoryError
from .repository.opening import open_repository


def check_farm(repository: str | os.PathLike[str]) -> Sequence[str]:
    """Return what is wrong with a repository of jobs, a line for each: nothing, if it is well.

    It is a file or a `postgresql://` URL. One of an older version is brought up to date first. Blocks: each page of the
    database is read. Raises `RepositoryLockedError` while a manager has it, which can be asked itself
    (`JobManager.check`), `RepositoryError` if it is not there or cannot be used.
    """
    where = os.fspath(repository)
    if "://" not in where and not Path(where).exists():
        raise RepositoryError(f"there is no {where}")
    opened = open_repository(where)
    opened.open(None)
    try:
        return opened.check()
    finally:
        # What its last owner left running is for the next one to wait for.
        opened.close(clean=False)
