"""Jobs, their chunks, and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Time = sa.Float(53)


def _job_id() -> sa.Column[str]:
    return sa.Column("job_id", _Id, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def upgrade() -> None:
    """Make all of it."""
    repository = op.create_table(
        "repository",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.BigInteger),
        sa.Column("owner_start", sa.Text),
        sa.Column("last_event", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_place", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("pruned_events", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.execute(repository.insert().values(id=1))
    op.create_table(
        "jobs",
        sa.Column("place", _Number, primary_key=True, autoincrement=False),
        sa.Column("id", _Id, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("folder", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("started_at", _Time),
        sa.Column("finished_at", _Time),
        sa.Column("not_before", _Time),
        sa.Column("error", sa.Text),
        _count("total_chunks"),
        _count("completed_chunks"),
        _count("failed_chunks"),
        _count("skipped_chunks"),
        _count("total_frames"),
        _count("finished_frames"),
        sa.Column("max_running", sa.Integer),
        sa.Column("end_is_due", sa.Boolean, nullable=False),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "place"])
    op.create_table(
        "predecessors",
        _job_id(),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("after_id", _Id, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("predecessors_by_id", "predecessors", ["after_id"])
    op.create_table("specs", _job_id(), sa.Column("packed", sa.LargeBinary, nullable=False))
    op.create_table(
        "chunks",
        _job_id(),
        sa.Column("chunk_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        _count("attempts"),
        _count("lost"),
        sa.Column("exit_code", sa.BigInteger),
        sa.Column("started_at", _Time),
        sa.Column("duration", _Time),
        sa.Column("node", sa.Text),
        sa.Column("slot", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("category", sa.Text),
        sa.Column("usage", sa.Text),
        sa.Column("outputs", sa.Text),
        sa.Column("skipped_because", sa.BigInteger),
        sa.Column("frames_again", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("chunks_by_place", "chunks", ["job_id", "place"], unique=True)
    op.create_table(
        "events",
        sa.Column("id", _Number, primary_key=True, autoincrement=False),
        sa.Column("job_id", _Id),
        sa.Column("time", _Time, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_index("events_by_job", "events", ["job_id", "id"])
