"""Owns the state of a bot that served for years: many finished requests, with all that they left behind."""

import sqlite3
from contextlib import closing
from pathlib import Path

_PER_REQUEST = (
    """INSERT INTO requests (id, state, username, admin, room_sets, quiet, origin, requester, origin_room, origin_event,
    created_at, finished_at, user_id) SELECT 'old' || i, 'created', 'old' || i, 0, '[]', 0, 'admin_room', '@ada', '!r',
    '$old' || i, i, i, '@old' || i FROM n""",
    """INSERT INTO inbox (event_id, room_id, sender, type, encrypted, received_at, done)
    SELECT '$old' || i, '!r', '@ada', 'm.room.message', 1, i, 1 FROM n""",
    *(
        f"""INSERT INTO jobs (kind, key, lane, payload, state, run_after, attempts, created_at, finished_at)
        SELECT '{kind}', '{kind}:old' || i, 'request:old' || i, '{{}}', 'done', i, 1, i, i FROM n"""
        for kind in ("create_account", "answer", "deliver_credentials", "erase_credentials")
    ),
    *(
        f"""INSERT INTO audit (seq, at, verb, request_id, facts, personal, salt, personal_digest, hash)
        SELECT (SELECT max(seq) FROM audit) + i, i, '{verb}', 'old' || i, '{{}}', '{{}}', x'00', '', '' FROM n"""
        for verb in ("request:made", "request:approved", "account:creating", "account:created", "credentials:sent")
    ),
)


def age(database: Path, requests: int) -> None:
    """Adds so many finished requests to a database that nobody has open; the audit log's chain is not made whole."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in _PER_REQUEST:
            numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {requests})"
            connection.execute(f"{numbers} {statement}")
