"""Owns where the keys that others give us lie: nio's store, without what strangers could do to it.

Anybody on any server can send us keys, as many as they like, and whoever was given a room's key can pass it on as if it
were their own. nio knows a session by its id alone, so that such a copy takes the place of the original at the next
start; and it forgets nothing.
"""

from typing import Any

from nio.crypto import GroupSessionStore, InboundGroupSession, SessionStore
from nio.store import Keys, OlmSessions, SqliteStore
from nio.store.database import use_database
from peewee import SQL, BlobField, BooleanField, CompositeKey, Model, TextField, fn

from onboard_bot.matrix.device_keys import Device

UNUSED = 2000
"""Rooms' keys with which nobody ever spoke to us; of more, the oldest go."""
OF_STRANGERS = 2000
"""Olm sessions with devices that we know nothing of; of more, those that rest the longest go."""
OF_ONE_DEVICE = 10
"""Olm sessions; the specification wants four at least."""


class GivenSessions(Model):  # type: ignore[misc] # peewee has no types
    """A room's key, as one device gave it to us; `used` once something could be read with it."""

    room_id = TextField()
    sender_key = TextField()
    session_id = TextField()
    fp_key = TextField()
    session = BlobField()
    used = BooleanField(default=False, index=True)

    class Meta:
        """What peewee wants to be told."""

        primary_key = CompositeKey("room_id", "sender_key", "session_id")


class StartedSessions(Model):  # type: ignore[misc] # peewee has no types
    """Which device an Olm session that we made is with; nio knows only its key, and anybody can name that as theirs."""

    session_id = TextField(primary_key=True)
    user_id = TextField()
    device_id = TextField()


class GivenKeys(SqliteStore):  # type: ignore[misc] # nio has no types
    """nio's store, with a table of its own for the rooms' keys; what is in nio's table stays there."""

    models = (*SqliteStore.models, GivenSessions, StartedSessions)

    @use_database  # type: ignore[untyped-decorator]
    def load_sessions(self) -> SessionStore:
        """All Olm sessions; `made_with` is None for those that the other side made."""
        store = super().load_sessions()
        started = {row.session_id: (row.user_id, row.device_id) for row in StartedSessions.select()}
        for session in (session for sessions in store.values() for session in sessions):
            session.made_with = started.get(session.id)
        return store

    @use_database  # type: ignore[untyped-decorator]
    def note_made(self, session: Any, device: Device) -> None:
        """We made this Olm session with that device."""
        user_id, device_id = session.made_with = device
        StartedSessions.replace(session_id=session.id, user_id=user_id, device_id=device_id).execute()

    @use_database  # type: ignore[untyped-decorator]
    def load_inbound_group_sessions(self) -> GroupSessionStore:
        """All keys of rooms."""
        store = super().load_inbound_group_sessions()
        for row in GivenSessions.select():
            session = InboundGroupSession.from_pickle(
                bytes(row.session), row.fp_key, row.sender_key, row.room_id, self.pickle_key
            )
            session.is_used = row.used
            store.add(session)
        return store

    @use_database  # type: ignore[untyped-decorator]
    def save_inbound_group_session(self, session: Any) -> None:
        """Keeps a room's key, in place of what the same device gave us before."""
        session.is_used = False
        GivenSessions.replace(
            room_id=session.room_id,
            sender_key=session.sender_key,
            session_id=session.id,
            fp_key=session.ed25519,
            session=session.pickle(self.pickle_key),
        ).execute()

    @use_database  # type: ignore[untyped-decorator]
    def note_use(self, session: Any) -> None:
        """Something could be read with it."""
        GivenSessions.update(used=True).where(
            GivenSessions.room_id == session.room_id,
            GivenSessions.sender_key == session.sender_key,
            GivenSessions.session_id == session.id,
        ).execute()
        session.is_used = True

    @use_database  # type: ignore[untyped-decorator]
    def forget_surplus(self, rooms: GroupSessionStore, devices: SessionStore) -> None:
        """Takes what is too much out of the store, and out of what was loaded from it."""
        unused = GivenSessions.select().where(~GivenSessions.used).order_by(SQL("rowid").desc())
        for row in list(unused.offset(UNUSED)):
            in_room = rooms[row.room_id]
            in_room[row.sender_key].pop(row.session_id, None)
            if not in_room[row.sender_key]:
                del in_room[row.sender_key]
            row.delete_instance()
        known = Keys.select(Keys.key).where(Keys.key_type == "curve25519")
        self._forget(OlmSessions.sender_key.not_in(known), OF_STRANGERS, devices)
        many = OlmSessions.select(OlmSessions.sender_key).group_by(OlmSessions.sender_key)
        for row in list(many.having(fn.COUNT(OlmSessions.session_id) > OF_ONE_DEVICE)):
            self._forget(OlmSessions.sender_key == row.sender_key, OF_ONE_DEVICE, devices)

    @staticmethod
    def _forget(which: Any, kept: int, devices: SessionStore) -> None:
        """All Olm sessions of these but the ones that were used last."""
        for row in list(OlmSessions.select().where(which).order_by(OlmSessions.last_usage_date.desc()).offset(kept)):
            held = devices[row.sender_key]
            held[:] = [session for session in held if session.id != row.session_id]
            StartedSessions.delete().where(StartedSessions.session_id == row.session_id).execute()
            row.delete_instance()
