"""Which device said it, whose identity is accepted, which keys are withheld, which rooms are encrypted for good."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns and two tables."""
    op.add_column("inbox", sa.Column("sender_key", sa.Text))
    op.add_column("inbox", sa.Column("fingerprint", sa.Text))
    op.add_column("inbox", sa.Column("session_id", sa.Text))
    op.add_column("inbox", sa.Column("message_index", sa.Integer))
    op.create_index(
        "one_event_per_ciphertext",
        "inbox",
        ["session_id", "message_index", "sender"],
        unique=True,
        sqlite_where=sa.text("session_id IS NOT NULL"),
    )
    op.add_column("undecrypted", sa.Column("asked_at", sa.Float))
    op.add_column("rooms", sa.Column("encrypted", sa.Boolean, nullable=False, server_default="0"))
    op.create_table(
        "identities",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("master_key", sa.Text, nullable=False),
        sa.Column("changed_to", sa.Text),
        sa.Column("change", sa.Integer, nullable=False, server_default="0"),
        sa.Column("told_after", sa.Integer),
    )
    op.create_table(
        "withheld_keys",
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("room_id", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
    )
