"""Owns the encryption state of one device: nio's Olm machine, and the hard edge around it.

Of nio only this machine and its store are used. What strangers send is fed to it one event at a time, and whatever it
raises stays with that event; every change is in one store transaction; a decrypted payload is checked here, because nio
believes state events, other rooms' ids and redactions inside an encrypted event (docs/decisions/0001).
"""

import copy
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nio.crypto import Olm, OlmDevice
from nio.events import ToDeviceEvent
from nio.responses import KeysClaimResponse, KeysQueryResponse, KeysUploadResponse

from onboard_bot.matrix.broken_sessions import BrokenSessions
from onboard_bot.matrix.device_keys import MALFORMED, Device, DeviceKeys, good_devices
from onboard_bot.matrix.json_text import is_id
from onboard_bot.matrix.olm_gaps import forget_empty_sessions, new_fallback_key
from onboard_bot.matrix.olm_on_disk import OlmOnDisk
from onboard_bot.matrix.payload import Decrypted, UndecryptableError, believed, is_shallow
from onboard_bot.matrix.room_keys import MEGOLM, RoomKeys
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.store.inbox import Envelope
from onboard_bot.store.trouble import StoreUnavailableError

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class Machine:
    """Keys, sessions and devices; whatever has to be stored raises `StoreUnavailableError` where it cannot be.

    Args:
        user_id: Ours.
        device_id: Ours; never used again with another folder's content.
        folder: Where the store lies.
        store_key: Encrypts the sessions in the store.
        on_trouble: Told whenever nothing can be stored, or read.
    """

    def __init__(
        self,
        user_id: str,
        device_id: str,
        folder: Path,
        store_key: bytes,
        *,
        on_trouble: Callable[[StoreUnavailableError], None] = lambda _: None,
    ) -> None:
        self.user_id = user_id
        self.device_id = device_id
        self._disk = OlmOnDisk(user_id, device_id, folder, store_key, on_lost=self._know_nobody, on_trouble=on_trouble)
        self._stored = self._disk.stored
        self.broken = BrokenSessions(self._disk)
        self.room_keys = RoomKeys(self._disk)
        self._known: set[str] = set()
        self._asked: set[str] = set()
        self._one_time_keys_on_server: int | None = None
        self._fallback_key_used = False
        self.own_keys_changed = False
        """Whether the server told of a change to our own devices or identity; whoever looks at it takes it back."""

    def close(self) -> None:
        """Closes the store."""
        self._disk.close()

    @property
    def _olm(self) -> Olm:
        return self._disk.olm

    def _know_nobody(self) -> None:
        self._known.clear()
        self._asked.clear()

    def sign(self, text: str) -> str:
        """Our device's signature, unpadded base64."""
        return str(self._olm.account.sign(text))

    @property
    def fingerprint(self) -> str:
        """Our device's Ed25519 key, unpadded base64."""
        return str(self._olm.account.identity_keys["ed25519"])

    @property
    def device_keys(self) -> Json:
        """Our device's keys as they are uploaded, without signatures."""
        algorithms, keys = list(self._olm._algorithms), self._olm.account.identity_keys  # noqa: SLF001 - as nio says it
        keys = {f"{kind}:{self.device_id}": keys[kind] for kind in ("curve25519", "ed25519")}
        return {"algorithms": algorithms, "device_id": self.device_id, "keys": keys, "user_id": self.user_id}

    # Receiving

    def receive(self, sync: Mapping[str, Any]) -> bool:
        """Takes what a sync body says about keys; whether room keys may have come with it.

        Feeding the same body again changes nothing, and has the same answer: what waits for a key that came may still
        wait, if the first time was not the last.
        """
        to_device = sync.get("to_device")
        events = to_device.get("events") if isinstance(to_device, Mapping) else None
        # Only encrypted events are of use to a bot; nio would also answer verification requests by itself.
        encrypted = [e for e in events if _is_encrypted(e)] if isinstance(events, list) else []
        if encrypted:
            with self._stored():
                for event in encrypted:
                    self._receive_to_device(event)
                self._olm.store.forget_surplus(self._olm.inbound_group_store, self._olm.session_store)
                forget_empty_sessions(self._olm)
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
                    self.own_keys_changed |= self.user_id in changed
        return bool(encrypted)

    def _receive_to_device(self, raw: Mapping[str, Any]) -> None:
        if not is_shallow(raw):
            return
        try:
            event = ToDeviceEvent.parse_event(copy.deepcopy(dict(raw)))
            if event is not None:
                self.broken.feed(event)
        except MALFORMED as error:
            sender = raw["sender"] if is_id(raw.get("sender")) else "nobody"
            _log.warning("malformed to-device event from %s: %s", sender, type(error).__name__)

    def _note_counts(self, sync: Mapping[str, Any]) -> None:
        counts = sync.get("device_one_time_keys_count")
        if isinstance(counts, Mapping):
            self._one_time_keys_on_server = _count(counts.get("signed_curve25519", 0))
        unused = sync.get("device_unused_fallback_key_types")
        if isinstance(unused, list):
            self._fallback_key_used = "signed_curve25519" not in unused

    def decrypt(self, room_id: str, event: Mapping[str, Any]) -> Decrypted:
        """What is inside an `m.room.encrypted` event of a room.

        Raises:
            UndecryptableError: No key, or not to be believed.
        """
        content, sender = event.get("content"), event.get("sender")
        if not isinstance(content, Mapping) or content.get("algorithm") != MEGOLM:
            raise UndecryptableError("an unknown algorithm")
        session = self._inbound_session(room_id, content.get("session_id"), str(sender))
        try:
            plaintext, index = session.decrypt(content["ciphertext"])
            payload = json.loads(plaintext)
        except MALFORMED as error:
            raise UndecryptableError(f"malformed: {type(error).__name__}") from error
        envelope = Envelope(session.sender_key, session.ed25519, session.id, index)
        decrypted = believed(payload, room_id, content, envelope)
        self._disk.note_use(session)
        return decrypted

    def _inbound_session(self, room_id: str, session_id: object, sender: str) -> Any:
        """The session of this id; `sender_key` is deprecated (specification, "m.megolm.v1.aes-sha2").

        Whoever was given a session can pass it on as if it were their own, so that it may be here more than once.
        """
        if not is_id(session_id):
            raise UndecryptableError("malformed: it names no session")
        in_room = self._olm.inbound_group_store[room_id]
        found = [sessions[session_id] for sessions in in_room.values() if session_id in sessions]
        if not found:
            raise UndecryptableError("the key has not arrived", missing_key=True)
        theirs = [session for session in found if not self._is_of_another(sender, session.sender_key)]
        if not theirs:
            # Theirs may still come: whoever passes it on as their own must not silence them.
            raise UndecryptableError("its key is somebody else's", missing_key=True)
        return min(theirs, key=lambda session: session.first_known_index)

    def _is_of_another(self, sender: str, sender_key: str) -> bool:
        """Whether a key belongs to devices that we know, and none of them is the sender's."""
        owners = {device.user_id for device in self._olm.device_store if device.curve25519 == sender_key}
        return bool(owners) and sender not in owners

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
                body["fallback_keys"] = new_fallback_key(self._olm, self.user_id, self.device_id)
            self._olm.save_account()
        return body

    def keys_uploaded(self, answer: Json) -> None:
        """The server has them.

        Raises:
            UnreachableError: This is no answer to `keys/upload`.
        """
        counts = answer.get("one_time_key_counts")
        count = _count(counts.get("signed_curve25519", 0)) if isinstance(counts, Mapping) else None
        if count is None:
            raise UnreachableError("an answer without one_time_key_counts")
        with self._stored():
            self._olm.handle_response(KeysUploadResponse(0, count))
        self._one_time_keys_on_server = count
        self._fallback_key_used = False

    # Other people's devices

    def unknown(self, users: Iterable[str]) -> set[str]:
        """Those whose devices we do not know, or not any more."""
        return set(users) - self._known

    def forget(self, user: str) -> None:
        """What we know of this person's devices may be old."""
        self._known.discard(user)

    def knows(self, user: str) -> bool:
        """Whether their server told of all their devices, and of no change since."""
        return user in self._known

    def about_to_ask(self, users: Iterable[str]) -> None:
        """A `keys/query` goes out: who changes before its answer is here stays unknown."""
        self._asked |= set(users)

    def learn_devices(self, answer: Json, asked: Iterable[str]) -> list[str]:
        """Takes the answer of a `keys/query`; malformed device keys are left out one by one.

        Returns:
            Those of whose devices it tells.
        """
        told = []
        known = answer.get("device_keys")
        with self._stored():
            for user in asked:
                devices = known.get(user) if isinstance(known, Mapping) else None
                if not isinstance(devices, Mapping):
                    continue  # their server did not answer; what we knew stays, and they stay unknown
                told.append(user)
                if user in self._asked:
                    self._known.add(user)
                good = good_devices(user, devices, self._olm.verify_json)
                for device in self._olm.device_store[user].values():
                    device.deleted = device.deleted and device.id not in good
                self._olm._handle_key_query(KeysQueryResponse({user: good}, {}))  # noqa: SLF001 - without its client
        return told

    def devices_of(self, users: Iterable[str]) -> list[Device]:
        """All devices of these people but our own."""
        return [
            (user, device.id)
            for user in users
            for device in self._olm.device_store.active_user_devices(user)
            if (user, device.id) != (self.user_id, self.device_id)
        ]

    def keys_of(self, device: Device) -> DeviceKeys:
        """What we know the device by."""
        known = self._device(device)
        return DeviceKeys(known.ed25519, known.curve25519)

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
                    except MALFORMED as error:
                        _log.warning("malformed one-time key of %s: %s", user, type(error).__name__)

    def _device(self, device: Device) -> OlmDevice:
        user, device_id = device
        return self._olm.device_store[user][device_id]


def _is_encrypted(event: object) -> bool:
    return isinstance(event, Mapping) and event.get("type") == "m.room.encrypted"


def _count(value: object) -> int | None:
    """How many keys the server says it has; nobody has fewer than none, and what is no number says nothing."""
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else None
