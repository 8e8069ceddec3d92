"""Owns the encryption state of one device: nio's Olm machine, and the hard edge around it.

Of nio only this machine and its store are used. What strangers send is fed to it one event at a time, and whatever it
raises stays with that event; every change is in one store transaction; a decrypted payload is checked here, because nio
believes state events, other rooms' ids and redactions inside an encrypted event (docs/decisions/0001).
"""

import copy
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from nio.crypto import Olm, OlmDevice
from nio.events import ToDeviceEvent
from nio.responses import KeysQueryResponse, KeysUploadResponse

from onboard_bot.matrix.broken_sessions import BrokenSessions
from onboard_bot.matrix.device_keys import MALFORMED, Device, DeviceKeys, good_devices
from onboard_bot.matrix.json_text import is_id
from onboard_bot.matrix.olm_gaps import (
    claimed_key,
    forget_empty_sessions,
    new_fallback_key,
    session_with,
    start_session,
)
from onboard_bot.matrix.olm_on_disk import OlmOnDisk
from onboard_bot.matrix.payload import Decrypted, UndecryptableError, believed
from onboard_bot.matrix.room_keys import MEGOLM, RoomKeys
from onboard_bot.matrix.sync_body import to_device_events
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.store.inbox import Envelope
from onboard_bot.store.trouble import StoreUnavailableError

_log = logging.getLogger(__name__)

# How vodozemac says that a key opens only what came after this message; whoever had an earlier one may still give it.
_IS_EARLIER = "unknown message index"
_TOO_LATE = "its key opens only later ones"

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
        self._moment = 0
        self._changed_at: dict[str, int] = {}
        self._told_at: dict[str, int] = {}
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

    def receive(self, sync: Json) -> bool:
        """Takes what a sync body says about keys; whether room keys may have come with it.

        Feeding the same body again changes nothing, and has the same answer: what waits for a key that came may still
        wait, if the first time was not the last.
        """
        # Only encrypted events are of use to a bot; nio would also answer verification requests by itself.
        encrypted = [event for event in to_device_events(sync) if event.get("type") == "m.room.encrypted"]
        if encrypted:
            with self._stored():
                malformed = {self._receive_to_device(event) for event in encrypted} - {None}
                self._olm.store.forget_surplus(self._olm.inbound_group_store, self._olm.session_store)
                forget_empty_sessions(self._olm)
                # nio saves the account before it takes the used one-time key out of it.
                self._olm.save_account()
            if malformed:
                shown = sorted(map(str, malformed))
                _log.warning("malformed to-device events from %s; senders: %d", shown[0], len(shown))
        self._note_counts(sync)
        changes = sync.get("device_lists")
        if isinstance(changes, Mapping):
            for kind in ("changed", "left"):
                users = changes.get(kind)
                if isinstance(users, list):
                    changed = {user for user in users if isinstance(user, str)}
                    self._known -= changed
                    self._moment += 1
                    self._changed_at |= dict.fromkeys(changed, self._moment)
                    self.own_keys_changed |= self.user_id in changed
        return bool(encrypted)

    def _receive_to_device(self, raw: Json) -> str | None:
        """Takes a message; whose it was, where nothing can be made of it."""
        try:
            event = ToDeviceEvent.parse_event(copy.deepcopy(raw))
            if event is not None:
                self.broken.feed(event)
        except MALFORMED as error:
            sender = raw["sender"] if is_id(raw.get("sender")) else "nobody"
            return f"{sender} ({type(error).__name__})"
        return None

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
        session, plaintext, index = self._opened(room_id, content, str(sender))
        try:
            payload = json.loads(plaintext)
        except MALFORMED as error:
            raise UndecryptableError(f"malformed: {type(error).__name__}") from error
        envelope = Envelope(session.sender_key, session.ed25519, session.id, index)
        decrypted = believed(payload, room_id, content, envelope)
        self._disk.note_use(session)
        return decrypted

    def _opened(self, room_id: str, content: Mapping[str, Any], sender: str) -> tuple[Any, str, int]:
        """What opens a message, what is in it, and its index."""
        reasons = []
        for session in self._inbound_sessions(room_id, content.get("session_id"), sender):
            try:
                plaintext, index = session.decrypt(content["ciphertext"])
            except MALFORMED as error:
                reasons.append(_TOO_LATE if _IS_EARLIER in str(error) else f"malformed: {type(error).__name__}")
            else:
                return session, plaintext, index
        too_late = _TOO_LATE in reasons
        raise UndecryptableError(_TOO_LATE if too_late else reasons[0], missing_key=too_late)

    def _inbound_sessions(self, room_id: str, session_id: object, sender: str) -> list[Any]:
        """The sessions of this id; `sender_key` is deprecated (specification, "m.megolm.v1.aes-sha2").

        Whoever was given a session can pass it on as if it were their own, so that it may be here more than once: first
        the copies of devices that we know for the sender's, then those of devices that we do not know at all.
        """
        if not is_id(session_id):
            raise UndecryptableError("malformed: it names no session")
        in_room = self._olm.inbound_group_store[room_id]
        found = [sessions[session_id] for sessions in in_room.values() if session_id in sessions]
        if not found:
            raise UndecryptableError("the key has not arrived", missing_key=True)
        owners = {session.sender_key: self._owners(session.sender_key) for session in found}
        theirs = [s for s in found if sender in owners[s.sender_key]]
        nobodys = [s for s in found if not owners[s.sender_key]]
        if not theirs and not nobodys:
            # Theirs may still come: whoever passes it on as their own must not silence them.
            raise UndecryptableError("its key is somebody else's", missing_key=True)
        of_each = (sorted(copies, key=lambda session: session.first_known_index) for copies in (theirs, nobodys))
        return list(chain.from_iterable(of_each))

    def _owners(self, sender_key: str) -> set[str]:
        """Whose devices name this key as theirs, of all that we know."""
        return {device.user_id for device in self._olm.device_store if device.curve25519 == sender_key}

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

    def about_to_ask(self) -> int:
        """A `keys/query` goes out; names the moment, for its answer."""
        self._moment += 1
        return self._moment

    def learn_devices(
        self, answer: Json, asked: Iterable[str], *, asked_at: int, first: Mapping[str, Collection[str]]
    ) -> list[str]:
        """Takes the answer of a `keys/query`; malformed device keys are left out one by one.

        Args:
            answer: Of any shape.
            asked: About whom.
            asked_at: The moment of the question. Who changed since stays unknown; what was asked later counts.
            first: The devices that are to be taken in the first place, by user, where somebody has too many.

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
                if self._told_at.get(user, 0) > asked_at:
                    continue
                told.append(user)
                self._told_at[user] = asked_at
                if self._changed_at.get(user, 0) < asked_at:
                    self._known.add(user)
                good = good_devices(user, devices, self._olm.verify_json, first=first.get(user, ()))
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
        return [d for d in devices if session_with(self._olm, self._device(d)) is None]

    def start_sessions(self, answer: Json, devices: Iterable[Device]) -> None:
        """Takes the answer of a `keys/claim` for these devices."""
        with self._stored():
            for device in devices:
                key = claimed_key(answer, device)
                if key is not None and start_session(self._olm, self._device(device), key) is None:
                    _log.warning("malformed one-time key of %s", device[0])

    def _device(self, device: Device) -> OlmDevice:
        user, device_id = device
        return self._olm.device_store[user][device_id]


def _count(value: object) -> int | None:
    """How many keys the server says it has; nobody has fewer than none, and what is no number says nothing."""
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else None
