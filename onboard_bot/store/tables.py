"""Owns the shape of the database; `migrations/` owns how it came to be. A test holds the two together."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# An index of some rows only serves a question that repeats its condition word for word.
HOLDS_USERNAME = text("state IN ('pending', 'approved', 'creating')")
"""`domain.requests.OPEN`, for the database."""
BEHIND = text("card_event IS NOT NULL AND shown < revision")
"""Requests whose card does not show how they stand."""
_UNFINISHED = "finished_at IS NULL"
_ENCRYPTED = text("session_id IS NOT NULL")
_ASIDE = text("reacts_to IS NOT NULL")

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))

# A raw /sync body and the token it was asked with; deleted when everything in it has its place.
sync_journal = Table(
    "sync_journal",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("since", Text),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

# One row per event that somebody meant for us; the event id makes a second arrival a no-op. `content` is emptied once
# the event has had its effect. `sender_key` and `fingerprint` name the device of an encrypted one: its Curve25519 key,
# and the Ed25519 key that came with the room's key.
inbox = Table(
    "inbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("room_id", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("content", JSON),
    Column("encrypted", Boolean, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("sender_key", Text),
    Column("fingerprint", Text),
    Column("session_id", Text),
    Column("message_index", Integer),
    # Set aside: a reaction to this event, which may be a card whose sending nobody has heard the end of.
    Column("reacts_to", Text),
    # A ciphertext means one event: the same again, in another event, is a replay.
    Index(
        "one_event_per_ciphertext",
        "session_id",
        "message_index",
        "sender",
        unique=True,
        sqlite_where=_ENCRYPTED,
        postgresql_where=_ENCRYPTED,
    ),
    Index("inbox_open", "seq", sqlite_where=text("done = 0"), postgresql_where=text("NOT done")),
    Index("inbox_aside", "reacts_to", sqlite_where=_ASIDE, postgresql_where=_ASIDE),
    sqlite_autoincrement=True,
)

# Encrypted events whose key has not arrived; tried again when one does. `asked_at`: when their sender was asked to type
# them again.
undecrypted = Table(
    "undecrypted",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("event", JSON, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("asked_at", Float),
)

# Rooms' keys that somebody's device says it does not give us, and why (specification, "m.room_key.withheld").
withheld_keys = Table(
    "withheld_keys",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("room_id", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("received_at", Float, nullable=False),
)

# People's cross-signing identities: the master key that counts, and another one that the server names by now. `change`
# counts how often the latter became another one; `told_after` is the last event of the inbox when the admin room had
# been told of it.
identities = Table(
    "identities",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("master_key", Text, nullable=False),
    Column("changed_to", Text),
    Column("change", Integer, nullable=False, server_default="0"),
    Column("told_after", Integer),
)

# Rooms that the bot has a purpose for. The row stands before the room does: `marker` is in the room's creation
# content, so that a room whose creation was not answered is found again. `purpose` is "admin" or "direct"; `peer` is
# the other person. `encrypted`: it was once, so that it is for good, whatever the server says of it later.
rooms = Table(
    "rooms",
    metadata,
    Column("marker", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("room_id", Text, unique=True),
    Column("made_by_bot", Boolean, nullable=False),
    Column("encrypted", Boolean, nullable=False, server_default="0"),
    UniqueConstraint("purpose", "peer"),
)

# The bot's first join of a room: nothing before it is ever obeyed.
joins = Table("joins", metadata, Column("room_id", Text, primary_key=True), Column("event_id", Text, nullable=False))

requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("display_name", Text),
    Column("admin", Boolean, nullable=False),
    Column("account_type", Text),
    Column("room_sets", JSON, nullable=False),
    Column("note", Text),
    Column("quiet", Boolean, nullable=False),
    Column("origin", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("origin_room", Text, nullable=False),
    Column("origin_event", Text, nullable=False, unique=True),
    Column("thread_root", Text),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("user_id", Text),
    Column("error", Text),
    # Encrypted with the key file; there from the decision on, emptied when the credentials need not be known any more.
    Column("sealed_password", LargeBinary),
    Column("credentials_event", Text),
    Column("credentials_room", Text),
    Column("voucher", Text),
    # How often it became pending again, what changed on its card, and how much of that the card shows.
    Column("round", Integer, nullable=False, server_default="0"),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("shown", Integer, nullable=False, server_default="0"),
    # From which revision on the card shows the name that is voted on.
    Column("renamed", Integer, nullable=False, server_default="0"),
    Column("expires_at", Float),
    Column("card_room", Text),
    Column("card_event", Text),
    Column("card_mentions", JSON),
    Index("one_request_per_card", "card_event", unique=True),
    Index("requests_in_state", "state", "created_at"),
    Index("cards_behind", "id", sqlite_where=BEHIND, postgresql_where=BEHIND),
    Index(
        "one_open_request_per_username",
        "username",
        unique=True,
        sqlite_where=HOLDS_USERNAME,
        postgresql_where=HOLDS_USERNAME,
    ),
)

# What people said to requests; one event can speak to several. `stands` until it is taken back. `counts` and `groups`
# are what the last look at its voter showed.
votes = Table(
    "votes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("request_id", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("voter", Text, nullable=False),
    Column("choice", Text, nullable=False),
    Column("typed", Boolean, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("note", Text),
    Column("silent", Boolean, nullable=False),
    Column("stands", Boolean, nullable=False),
    Column("counts", Boolean, nullable=False),
    Column("groups", JSON, nullable=False),
    UniqueConstraint("event_id", "request_id"),
    Index("votes_of_request", "request_id", "round"),
    sqlite_autoincrement=True,
)

# What is to be done outside the database. `key` names the intent: asking twice for the same thing is one job. Jobs of
# one lane run one after the other; jobs of one turn in the order of their ids. States: held (not to be done yet), open,
# attached (goes out with another one), done, failed. `first_attempt_by` is the device that made the first try.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("lane", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_attempt_at", Float),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("last_error", Text),
    Column("turn", Text),
    Column("first_attempt_by", Text),
    Column("faults", Integer, nullable=False, server_default="0"),
    Index("jobs_in_turn", "turn", "id", sqlite_where=text(_UNFINISHED), postgresql_where=text(_UNFINISHED)),
    Index("jobs_in_lane", "lane", "id", sqlite_where=text(_UNFINISHED), postgresql_where=text(_UNFINISHED)),
    Index("jobs_open", "run_after", sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'")),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("verb", Text, nullable=False),
    Column("request_id", Text),
    Column("facts", Text, nullable=False),
    Column("personal", Text),
    Column("salt", LargeBinary),
    Column("personal_digest", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("audit_of_request", "request_id"),
)

# Where and when the homeserver limited us: all that a plain account can know about its rate limits.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("route", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("times", Integer, nullable=False),
    Column("longest_wait", Float, nullable=False),
)
