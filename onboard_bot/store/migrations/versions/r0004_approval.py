"""Votes, what a request shows of them, and where the audit log ends."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds columns, a table, and the end of what is there."""
    op.add_column("requests", sa.Column("voucher", sa.Text))
    op.add_column("inbox", sa.Column("reacts_to", sa.Text))
    op.create_index("inbox_aside", "inbox", ["reacts_to"], sqlite_where=sa.text("reacts_to IS NOT NULL"))
    for counter in ("round", "revision", "shown", "renamed"):
        op.add_column("requests", sa.Column(counter, sa.Integer, nullable=False, server_default="0"))
    op.add_column("requests", sa.Column("expires_at", sa.Float))
    op.add_column("requests", sa.Column("card_room", sa.Text))
    op.add_column("requests", sa.Column("card_event", sa.Text))
    op.add_column("requests", sa.Column("card_mentions", sa.JSON))
    op.create_index("one_request_per_card", "requests", ["card_event"], unique=True)
    op.create_index("requests_in_state", "requests", ["state", "created_at"])
    behind = sa.text("card_event IS NOT NULL AND shown < revision")
    op.create_index("cards_behind", "requests", ["id"], sqlite_where=behind)
    op.create_table(
        "votes",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("voter", sa.Text, nullable=False),
        sa.Column("choice", sa.Text, nullable=False),
        sa.Column("typed", sa.Boolean, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("silent", sa.Boolean, nullable=False),
        sa.Column("stands", sa.Boolean, nullable=False),
        sa.Column("counts", sa.Boolean, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.UniqueConstraint("event_id", "request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("votes_of_request", "votes", ["request_id", "round"])
    # Where the audit log ends; from now on written with each of its rows.
    op.execute(
        "INSERT INTO meta (key, value) SELECT 'audit_head', seq || ' ' || hash FROM audit ORDER BY seq DESC LIMIT 1"
    )
