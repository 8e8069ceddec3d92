"""The first shape: journal, inbox, rooms, requests, jobs, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables."""
    open_request = sa.text("state IN ('pending', 'approved', 'creating', 'unknown')")
    op.create_table("meta", sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.Text, nullable=False))
    op.create_table(
        "sync_journal",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("since", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "inbox",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("content", sa.JSON),
        sa.Column("encrypted", sa.Boolean, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("inbox_open", "inbox", ["seq"], sqlite_where=sa.text("NOT done"))
    op.create_table(
        "undecrypted",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
    )
    op.create_table(
        "rooms",
        sa.Column("marker", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("room_id", sa.Text, unique=True),
        sa.Column("made_by_bot", sa.Boolean, nullable=False),
        sa.UniqueConstraint("purpose", "peer"),
    )
    op.create_table(
        "joins",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text),
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("account_type", sa.Text),
        sa.Column("room_sets", sa.JSON, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("quiet", sa.Boolean, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("origin_room", sa.Text, nullable=False),
        sa.Column("origin_event", sa.Text, nullable=False, unique=True),
        sa.Column("thread_root", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("user_id", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("sealed_password", sa.LargeBinary),
        sa.Column("credentials_event", sa.Text),
        sa.Column("credentials_room", sa.Text),
    )
    op.create_index(
        "one_open_request_per_username", "requests", ["username"], unique=True, sqlite_where=open_request
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("run_after", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_attempt_at", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("last_error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_open", "jobs", ["run_after"], sqlite_where=sa.text("state = 'open'"))
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("personal", sa.Text),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("personal_digest", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("audit_of_request", "audit", ["request_id"])
    op.create_table(
        "rate_limits",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("longest_wait", sa.Float, nullable=False),
    )
