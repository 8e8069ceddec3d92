"""Owns the encryption state of one device: nio's Olm machine, and the hard edge around it.

Of nio only this machine and its store are used. What strangers send is fed to it one event at a time, and whatever it
raises stays with that event; every change is in one store transaction; a decrypted payload is checked here, because nio
believes state events, other rooms' ids and redactions inside an encrypted event (docs/decisions/0001).
"""

import copy
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import vodozemac
from nio.crypto import Olm, OlmDevice
from nio.events import ToDeviceEvent
from nio.exceptions import EncryptionError
from nio.responses import KeysClaimResponse, KeysQueryResponse, KeysUploadResponse
from nio.store import SqliteStore

from onboard_bot.matrix.payload import Decrypted, UndecryptableError, believed, is_shallow

_log = logging.getLogger(__name__)

MEGOLM = "m.megolm.v1.aes-sha2"
# What malformed input makes of nio and vodozemac; every vodozemac exception is a ValueError.
_MALFORMED = (
    *(ValueError, TypeError, KeyError, AttributeError, IndexError),
    *(AssertionError, RecursionError, EncryptionError),
)
_DEVICES_PER_MESSAGE = 50
# Specification, "m.room.encryption": the defaults for rotation.
_ROTATION_MESSAGES = 100
_ROTATION_AGE = timedelta(days=7)

Json = dict[str, Any]
Device = tuple[str, str]
"""A user id and a device id."""


class Machine:
    """Keys, sessions and devices.

    Args:
        user_id: Ours.
        device_id: Ours; never used again with another folder's content.
        folder: Where the store lies.
        store_key: Encrypts the sessions in the store.
    """

    def __init__(self, user_id: str, device_id: str, folder: Path, store_key: bytes) -> None:
        self.user_id = user_id
        self.device_id = device_id
        self._store = SqliteStore(user_id, device_id, str(folder), pickle_key=store_key.hex(), database_name="olm.db")
        self._olm = Olm(user_id, device_id, self._store)
        self._known: set[str] = set()
        self._asked: set[str] = set()
        self._one_time_keys_on_server: int | None = None
        self._fallback_key_used = False

    def close(self) -> None:
        """Closes the store."""
        self._store.database.close()

    def sign(self, text: str) -> str:
        """Our device's signature, unpadded base64."""
        return str(self._olm.account.sign(text))

    @contextmanager
    def _stored(self) -> Iterator[None]:
        with self._store.database.atomic():
            yield

    # Receiving

    def receive(self, sync: Mapping[str, Any]) -> bool:
        """Takes what a sync body says about keys; whether new room keys came with it.

        Feeding the same body again changes nothing.
        """
        sessions_before = sum(1 for _ in self._olm.inbound_group_store)
        to_device = sync.get("to_device")
        events = to_device.get("events") if isinstance(to_device, Mapping) else None
        if isinstance(events, list) and events:
            with self._stored():
                for event in events:
                    self._receive_to_device(event)
                # nio saves the account before it takes the used one-time key out of it.
                self._olm.save_account()
        self._note_counts(sync)
        changes = sync.get("device_lists")
        if isinstance(changes, Mapping):
            for kind in ("changed", "left"):
                users = changes.get(kind)
                if isinstance(users, list):
                    changed = {user for user in users if isinstance(user, str)}
                    self._known -= changed
                    self._asked -= changed
        return sum(1 for _ in self._olm.inbound_group_store) > sessions_before

    def _receive_to_device(self, raw: object) -> None:
        # Only encrypted events are of use to a bot; nio would also answer verification requests by itself.
        if not isinstance(raw, Mapping) or raw.get("type") != "m.room.encrypted" or not is_shallow(raw):
            return
        try:
            event = ToDeviceEvent.parse_event(copy.deepcopy(dict(raw)))
            if event is not None:
                self._olm.handle_to_device_event(event)
        except _MALFORMED as error:
            _log.warning("malformed to-device event from %s: %s", raw.get("sender"), type(error).__name__)

    def _note_counts(self, sync: Mapping[str, Any]) -> None:
        counts = sync.get("device_one_time_keys_count")
        if isinstance(counts, Mapping):
            count = counts.get("signed_curve25519", 0)
            self._one_time_keys_on_server = count if isinstance(count, int) else None
        unused = sync.get("device_unused_fallback_key_types")
        if isinstance(unused, list):
            self._fallback_key_used = "signed_curve25519" not in unused

    def decrypt(self, room_id: str, event: Mapping[str, Any]) -> Decrypted:
        """What is inside an `m.room.encrypted` event of a room.

        Raises:
            UndecryptableError: No key, or not to be believed.
        """
        content = event.get("content")
        if not isinstance(content, Mapping) or content.get("algorithm") != MEGOLM:
            raise UndecryptableError("an unknown algorithm")
        session = self._inbound_session(room_id, content)
        if session is None:
            raise UndecryptableError("the key has not arrived", missing_key=True)
        try:
            plaintext, index = session.decrypt(content["ciphertext"])
            payload = json.loads(plaintext)
        except _MALFORMED as error:
            raise UndecryptableError(f"malformed: {type(error).__name__}") from error
        self._refuse_replay(session, index, event)
        return believed(payload, room_id, content)

    def _inbound_session(self, room_id: str, content: Mapping[str, Any]) -> Any:
        session_id, sender_key = content.get("session_id"), content.get("sender_key")
        if not isinstance(session_id, str):
            return None
        in_room = self._olm.inbound_group_store[room_id]
        if isinstance(sender_key, str):
            return in_room.get(sender_key, {}).get(session_id)
        # `sender_key` is deprecated (specification, "m.megolm.v1.aes-sha2"); a session id names one session anyway.
        return next((sessions[session_id] for sessions in in_room.values() if session_id in sessions), None)

    def _refuse_replay(self, session: Any, index: int, event: Mapping[str, Any]) -> None:
        seen = self._olm.message_index_store
        key = (session.sender_key, session.id, index)
        event_id = event.get("event_id")
        if seen.setdefault(key, event_id) != event_id:
            raise UndecryptableError("a replayed message index")

    # Our own keys on the server

    def keys_to_upload(self) -> Json | None:
        """The body of the next `keys/upload`, saved before anybody sees it; None where nothing is due."""
        account, on_server = self._olm.account, self._one_time_keys_on_server
        few = on_server is not None and on_server < account.max_one_time_keys // 2
        if account.shared and not few and not self._fallback_key_used:
            return None
        body: Json = {}
        with self._stored():
            if few or not account.shared:
                self._olm.uploaded_key_count = on_server
                body = self._olm.share_keys()
            if self._fallback_key_used or "device_keys" in body:
                body["fallback_keys"] = self._fallback_key()
            self._olm.save_account()
        return body

    def _fallback_key(self) -> Json:
        account = self._olm.account._account  # noqa: SLF001 - nio has no name of its own for fallback keys
        account.generate_fallback_key()
        keys = {}
        for key_id, key in account.fallback_key.items():
            signed: Json = {"key": key.to_base64(), "fallback": True}
            signature = self._olm.sign_json(dict(signed))
            keys[f"signed_curve25519:{key_id}"] = signed | {
                "signatures": {self.user_id: {f"ed25519:{self.device_id}": signature}}
            }
        return keys

    def keys_uploaded(self, answer: Json) -> None:
        """The server has them."""
        counts = answer.get("one_time_key_counts", {})
        with self._stored():
            self._olm.handle_response(
                KeysUploadResponse(counts.get("curve25519", 0), counts.get("signed_curve25519", 0))
            )
        self._one_time_keys_on_server = counts.get("signed_curve25519", 0)
        self._fallback_key_used = False

    # Other people's devices

    def unknown(self, users: Iterable[str]) -> set[str]:
        """Those whose devices we do not know, or not any more."""
        return set(users) - self._known

    def about_to_ask(self, users: Iterable[str]) -> None:
        """A `keys/query` goes out: who changes before its answer is here stays unknown."""
        self._asked |= set(users)

    def learn_devices(self, answer: Json, asked: Iterable[str]) -> None:
        """Takes the answer of a `keys/query`; malformed device keys are left out one by one."""
        with self._stored():
            for user in asked:
                devices = answer.get("device_keys", {}).get(user)
                if not isinstance(devices, Mapping):
                    continue  # their server did not answer; what we knew stays, and they stay unknown
                if user in self._asked:
                    self._known.add(user)
                good = {id_: keys for id_, keys in devices.items() if _well_formed(user, id_, keys)}
                for device in self._olm.device_store[user].values():
                    device.deleted = device.deleted and device.id not in good
                self._olm._handle_key_query(KeysQueryResponse({user: good}, {}))  # noqa: SLF001 - without its client

    def devices_of(self, users: Iterable[str]) -> list[Device]:
        """All devices of these people but our own."""
        return [
            (user, device.id)
            for user in users
            for device in self._olm.device_store.active_user_devices(user)
            if (user, device.id) != (self.user_id, self.device_id)
        ]

    def without_session(self, devices: Iterable[Device]) -> list[Device]:
        """Those of the devices that we share no Olm session with."""
        return [d for d in devices if self._olm.session_store.get(self._device(d).curve25519) is None]

    def start_sessions(self, answer: Json) -> None:
        """Takes the answer of a `keys/claim`."""
        keys = answer.get("one_time_keys", {})
        with self._stored():
            for user, devices in keys.items() if isinstance(keys, Mapping) else ():
                for device_id, key in devices.items() if isinstance(devices, Mapping) else ():
                    try:
                        self._olm.handle_response(KeysClaimResponse({user: {device_id: key}}, {}))
                    except _MALFORMED as error:
                        _log.warning("malformed one-time key of %s: %s", user, type(error).__name__)

    def _device(self, device: Device) -> OlmDevice:
        user, device_id = device
        return self._olm.device_store[user][device_id]

    # Sending

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

    def room_key_messages(self, room_id: str, devices: Iterable[Device]) -> Iterator[tuple[list[Device], Json]]:
        """The room's key, encrypted for each device that has an Olm session with us, in portions.

        Each portion is the devices it serves and the `messages` of a `sendToDevice`. The Olm sessions are saved before
        a portion is handed out, so that no message key is ever used twice.
        """
        session = self._olm.outbound_group_sessions[room_id]
        content = {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": session.id,
            "session_key": session.session_key,
        }
        reachable = [d for d in devices if self._olm.session_store.get(self._device(d).curve25519) is not None]
        for start in range(0, len(reachable), _DEVICES_PER_MESSAGE):
            portion = reachable[start : start + _DEVICES_PER_MESSAGE]
            messages: Json = {}
            with self._stored():
                for user, device_id in portion:
                    device = self._device((user, device_id))
                    olm_session = self._olm.session_store.get(device.curve25519)
                    encrypted = self._olm._olm_encrypt(olm_session, device, "m.room_key", content)  # noqa: SLF001
                    messages.setdefault(user, {})[device_id] = encrypted
            yield portion, messages

    def room_key_shared(self, room_id: str, devices: Iterable[Device]) -> None:
        """The server took the portion."""
        self._olm.outbound_group_sessions[room_id].users_shared_with.update(devices)

    def encrypt(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> Json:
        """The content of the `m.room.encrypted` event; the room's key must have been shared.

        Relations are repeated outside, where the server can see them (specification, "Encrypting relations").
        """
        session = self._olm.outbound_group_sessions[room_id]
        session.mark_as_shared()
        encrypted: Json = self._olm.group_encrypt(room_id, {"type": event_type, "content": dict(content)})
        relation = content.get("m.relates_to")
        if isinstance(relation, Mapping):
            encrypted["m.relates_to"] = dict(relation)
        return encrypted


def _well_formed(user: str, device_id: str, keys: object) -> bool:
    """Whether nio can read these device keys without raising; it checks the signature itself."""
    try:
        vodozemac.Ed25519PublicKey.from_base64(keys["keys"][f"ed25519:{device_id}"])  # type: ignore[index]
        vodozemac.Curve25519PublicKey.from_base64(keys["keys"][f"curve25519:{device_id}"])  # type: ignore[index]
        vodozemac.Ed25519Signature.from_base64(keys["signatures"][user][f"ed25519:{device_id}"])  # type: ignore[index]
        unsigned = keys.get("unsigned", {})  # type: ignore[attr-defined]
        return keys["user_id"] == user and keys["device_id"] == device_id and isinstance(unsigned, dict)  # type: ignore[index]
    except _MALFORMED as error:
        _log.warning("malformed keys of a device of %s: %s", user, type(error).__name__)
        return False
