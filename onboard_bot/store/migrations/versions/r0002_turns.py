"""Answers in the order of the commands; attempted sends that are looked for; `unknown` frees the username."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds columns, draws the line anew that keeps a username for one request, and lets an index be used."""
    op.add_column("jobs", sa.Column("turn", sa.Text))
    op.add_column("jobs", sa.Column("first_attempt_by", sa.Text))
    op.add_column("jobs", sa.Column("faults", sa.Integer, nullable=False, server_default="0"))
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("jobs_in_turn", "jobs", ["turn", "id"], sqlite_where=unfinished)
    op.create_index("jobs_in_lane", "jobs", ["lane", "id"], sqlite_where=unfinished)
    op.drop_index("inbox_open", "inbox")
    op.create_index("inbox_open", "inbox", ["seq"], sqlite_where=sa.text("done = 0"))
    op.drop_index("one_open_request_per_username", "requests")
    open_request = sa.text("state IN ('pending', 'approved', 'creating')")
    op.create_index(
        "one_open_request_per_username", "requests", ["username"], unique=True, sqlite_where=open_request
    )
