"""The files of all chunks put together as one."""
