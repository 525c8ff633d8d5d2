"""On what kind of file system a file lies."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORKED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs"}
    | {"pvfs2", "smb2", "smb3", "smbfs", "virtiofs", "wekafs"}
    # Of file systems in FUSE, those that are known; of local ones there are as many.
    | {f"fuse.{name}" for name in ("ceph-fuse", "davfs2", "gcsfuse", "glusterfs", "juicefs", "mfs", "moosefs")}
    | {f"fuse.{name}" for name in ("rclone", "s3fs", "sshfs")}
)
_MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the name of the file system that the folder lies on if other machines share it, else None.

    None too where that cannot be told. Raises `OSError` if the folder is not there.
    """
    number = os.stat(folder).st_dev  # noqa: PTH116
    device = f"{os.major(number)}:{os.minor(number)}"
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        # "36 35 98:0 /root /mountpoint options - type source options", proc(5)
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2] == device and (kind := rest.split(" ")[0]) in _NETWORKED:
            return kind
    return None
