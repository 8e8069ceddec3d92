"""A state that served for years: nothing that the bot does while it works reads a whole table."""

from typing import Any

from sqlalchemy import event, text

from tests.flows.room import Person, Room

GROWING = frozenset({"inbox", "requests", "votes", "jobs", "audit"})
# By the primary key from its end, one row: the last link of the audit log's chain.
ALLOWED = ("ORDER BY audit.seq DESC",)

FILL = (
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO requests (id, state, username, admin, room_sets, quiet, origin, requester, origin_room, origin_event,
    created_at, finished_at, user_id) SELECT 'r' || i, 'created', 'name' || i, 0, '[]', 0, 'admin_room', '@ada', '!r',
    '$old' || i, i, i, '@name' || i FROM n""",
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
    INSERT INTO jobs (kind, key, lane, payload, state, run_after, attempts, created_at, finished_at, turn)
    SELECT 'answer', 'answer:$old' || i, 'room:!r', '{}', 'done', i, 1, i, i, '@ada in !r' FROM n""",
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO inbox (event_id, room_id, sender, type, content, encrypted, received_at, done)
    SELECT '$old' || i, '!r', '@ada', 'm.room.message', NULL, 1, i, 1 FROM n""",
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
    INSERT INTO votes (request_id, round, voter, choice, typed, event_id, at, silent, stands, counts, "groups")
    SELECT 'r' || (i / 2), 0, '@ada', 'approve', 1, '$vote' || i, i, 0, 1, 1, '[]' FROM n""",
)


async def test_no_question_of_the_bot_reads_a_table_that_grows(room: Room, ada: Person) -> None:
    eve = room.person("@eve:example.org")
    for statement in FILL:
        await room.tamper(statement)
    asked: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.setdefault(statement, parameters)

    engine = room.life.store._database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    for line in ("!register bob", "!register bob", "!help", "!status", "!nonsense"):
        await room.say(ada, line)
    denied = await room.asks(eve, "!register carol")
    tapped = await denied.tap(ada)
    await room.remove(ada, tapped)
    await denied.tap(ada, "❌")
    for line in ("!requests", f"!show {denied.id}", f"!reopen {denied.id}", f"!approve {denied.id} --username=dave"):
        await room.say(ada, line)
    await room.asks(eve, "!register erin")
    await room.moves(eve, "leave")
    await room.wait(8 * 24 * 3600)
    event.remove(engine, "before_cursor_execute", note)
    assert len(asked) > 20
    for statement, parameters in asked.items():
        if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or any(part in statement for part in ALLOWED):
            continue
        async with room.life.store._database.reading() as connection:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[-1] for row in plan]
        scans = [s for s in steps if s.startswith("SCAN") and s.split()[1] in GROWING and "INDEX" not in s]
        assert not scans, f"{statement} {parameters}: {steps}"
    assert (await room.rows("SELECT count(*) FROM jobs WHERE state = 'open'"))[0][0] == 0


async def test_the_plan_that_is_looked_at_is_the_one_that_would_show_it(room: Room) -> None:
    async with room.life.store._database.reading() as connection:
        plan = await connection.execute(text("EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE last_error = 'x'"))
        assert [row[-1] for row in plan] == ["SCAN jobs"]
