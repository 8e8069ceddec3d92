"""Owns the keys of what we send into rooms: one Megolm session a room, who was given it, and when it is replaced."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from nio.crypto import Olm, OlmDevice

from onboard_bot.matrix.device_keys import Device
from onboard_bot.matrix.olm_gaps import session_with
from onboard_bot.matrix.olm_on_disk import OlmOnDisk
from onboard_bot.store.trouble import StoreUnavailableError

MEGOLM = "m.megolm.v1.aes-sha2"
_DEVICES_PER_MESSAGE = 50
# Specification, "m.room.encryption": the defaults for rotation.
_ROTATION_MESSAGES = 100
_ROTATION_AGE = timedelta(days=7)

Json = dict[str, Any]


class RoomKeys:
    """The keys; in memory alone, so that each start of the bot makes new ones.

    Args:
        disk: With the Olm sessions by which they are given.
    """

    def __init__(self, disk: OlmOnDisk) -> None:
        self._disk = disk
        self._stored = disk.stored

    @property
    def _olm(self) -> Olm:
        return self._disk.olm

    def _device(self, device: Device) -> OlmDevice:
        user, device_id = device
        return self._olm.device_store[user][device_id]

    def rotate(self, room_id: str) -> None:
        """The room's next message gets a new key."""
        self._olm.outbound_group_sessions.pop(room_id, None)

    def holders(self, room_id: str) -> set[Device]:
        """The devices that were given the room's present key."""
        session = self._olm.outbound_group_sessions.get(room_id)
        return set() if session is None else set(session.users_shared_with)

    def ensure_room_key(self, room_id: str) -> None:
        """Makes a key for what we send into a room, where there is none or it served long enough."""
        session = self._olm.outbound_group_sessions.get(room_id)
        if session is not None:
            session.max_messages, session.max_age = _ROTATION_MESSAGES, _ROTATION_AGE
        if session is None or session.expired:
            with self._stored():
                self._olm.create_outbound_group_session(room_id)

    def _room_key(self, room_id: str) -> Any:
        session = self._olm.outbound_group_sessions.get(room_id)
        if session is None:
            raise StoreUnavailableError("the room's key was lost with what could not be stored; another try makes one")
        return session

    def room_key_messages(self, room_id: str, devices: Iterable[Device]) -> Iterator[tuple[list[Device], Json]]:
        """The room's key, encrypted for each device that has an Olm session with us, in portions.

        Each portion is the devices it serves and the `messages` of a `sendToDevice`. The Olm sessions are saved before
        a portion is handed out, so that no message key is ever used twice.
        """
        session = self._room_key(room_id)
        content = {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": session.id,
            "session_key": session.session_key,
        }
        reachable = [d for d in devices if session_with(self._olm, self._device(d)) is not None]
        for start in range(0, len(reachable), _DEVICES_PER_MESSAGE):
            portion = reachable[start : start + _DEVICES_PER_MESSAGE]
            messages: Json = {}
            with self._stored():
                for user, device_id in portion:
                    device = self._device((user, device_id))
                    olm_session = session_with(self._olm, device)
                    encrypted = self._olm._olm_encrypt(olm_session, device, "m.room_key", content)  # noqa: SLF001
                    messages.setdefault(user, {})[device_id] = encrypted
            yield portion, messages

    def withheld_notice(self, room_id: str, *, reason: str) -> Json:
        """What a device is told that does not get the room's present key because its owner did not sign it."""
        return {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": self._room_key(room_id).id,
            "sender_key": self._olm.account.identity_keys["curve25519"],
            "code": "m.unverified",
            "reason": reason,
        }

    def room_key_shared(self, room_id: str, devices: Iterable[Device]) -> None:
        """The server took the portion."""
        self._room_key(room_id).users_shared_with.update(devices)

    def encrypt(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> Json:
        """The content of the `m.room.encrypted` event; the room's key must have been shared.

        Relations are repeated outside, where the server can see them (specification, "Encrypting relations").
        """
        session = self._room_key(room_id)
        session.mark_as_shared()
        encrypted: Json = self._olm.group_encrypt(room_id, {"type": event_type, "content": dict(content)})
        relation = content.get("m.relates_to")
        if isinstance(relation, Mapping):
            encrypted["m.relates_to"] = dict(relation)
        return encrypted
