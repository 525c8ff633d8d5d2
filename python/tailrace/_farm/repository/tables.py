"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

# Compared byte by byte, so that the beginning of an id is found by an index.
_Id = Text().with_variant(Text(collation="C"), "postgresql")
# On SQLite only this spelling is the row's own number.
_Number = BigInteger().with_variant(Integer(), "sqlite")
_Time = Float(53)


def _job_id() -> Column[str]:
    return Column("job_id", _Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


repository = Table(
    "repository",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Rises with each owner; what an earlier one still wants to write is refused by it.
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    # Of this owner's last `write`: one whose outcome is not known is not made twice.
    Column("number", BigInteger, nullable=False, server_default="0"),
    # Nobody has it, or its owner ended without closing it, where these are set.
    Column("owner_host", Text),
    Column("owner_pid", BigInteger),
    Column("owner_start", Text),
    Column("last_event", BigInteger, nullable=False, server_default="0"),
    Column("last_place", BigInteger, nullable=False, server_default="0"),
    Column("pruned_events", BigInteger, nullable=False, server_default="0"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("place", _Number, primary_key=True, autoincrement=False),
    Column("id", _Id, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("owner", Text),
    Column("tags", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("folder", Text),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("started_at", _Time),
    Column("finished_at", _Time),
    Column("not_before", _Time),
    Column("error", Text),
    _count("total_chunks"),
    _count("completed_chunks"),
    _count("failed_chunks"),
    _count("skipped_chunks"),
    _count("total_frames"),
    _count("finished_frames"),
    Column("max_running", Integer),
    Column("end_is_due", Boolean, nullable=False),
    Index("jobs_by_state", "state", "place"),
)

predecessors = Table(
    "predecessors",
    metadata,
    _job_id(),
    Column("place", Integer, primary_key=True, autoincrement=False),
    # No foreign key: that a predecessor was deleted must be seen.
    Column("after_id", _Id, nullable=False),
    Index("predecessors_by_id", "after_id"),
    sqlite_with_rowid=False,
)

specs = Table(
    "specs",
    metadata,
    _job_id(),
    # JSON, compressed by zlib.
    Column("packed", LargeBinary, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    _job_id(),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    _count("attempts"),
    _count("lost"),
    Column("exit_code", BigInteger),
    Column("started_at", _Time),
    Column("duration", _Time),
    Column("node", Text),
    Column("slot", Integer),
    Column("error", Text),
    Column("category", Text),
    Column("usage", Text),
    Column("outputs", Text),
    Column("skipped_because", BigInteger),
    Column("frames_again", Text),
    Index("chunks_by_place", "job_id", "place", unique=True),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    # No foreign key: that a job was deleted is an event of it.
    Column("job_id", _Id),
    Column("time", _Time, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Index("events_by_job", "job_id", "id"),
)
