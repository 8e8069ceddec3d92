"""Owns Olm sessions that do not work any more: noticed when a message cannot be opened, replaced by new ones.

Specification, "Recovering from undecryptable messages". nio notices too, in its own time and with lists that somebody
would have to empty; of what it notes, the devices are taken and the rest is thrown away.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from nio.crypto import Olm
from nio.events import DummyEvent, OlmEvent, ToDeviceEvent

from onboard_bot.matrix.device_keys import MALFORMED, Device
from onboard_bot.matrix.olm_gaps import claimed_key, start_session
from onboard_bot.matrix.olm_on_disk import OlmOnDisk

# As many to-device messages as some sync answers hold.
_REMEMBERED = 1000

Json = dict[str, Any]


class BrokenSessions:
    """What is wrong between us and other devices.

    Args:
        disk: Where the sessions are.
    """

    def __init__(self, disk: OlmOnDisk) -> None:
        self._disk = disk
        self._opened: OrderedDict[str, None] = OrderedDict()
        self.devices: set[Device] = set()
        """The known devices of which something could not be opened; whoever sees to one takes it out."""

    def feed(self, event: ToDeviceEvent) -> None:
        """Gives a to-device event to nio, within a transaction of the disk, and looks what comes of it.

        A message that was opened before and is fed again cannot be opened again, and nothing is wrong with that.
        """
        olm = self._disk.olm
        olm._unwedging_interval = timedelta(0)  # noqa: SLF001 - how often is not for nio to say
        digest = hashlib.sha256(repr(getattr(event, "ciphertext", "")).encode()).hexdigest()
        try:
            inside = olm.handle_to_device_event(event)
        except MALFORMED:
            # A one-time key that we do not have (any more) ends here: no session came of it.
            if isinstance(event, OlmEvent):
                olm._mark_device_for_unwedging(event.sender, event.sender_key)  # noqa: SLF001 - as nio does elsewhere
            raise
        finally:
            failed = {(device.user_id, device.id) for device in olm.wedged_devices}
            _forget_lists(olm, event.sender)
            if digest not in self._opened:
                self.devices |= failed
        if not failed:
            self._opened[digest] = None
            if len(self._opened) > _REMEMBERED:
                self._opened.popitem(last=False)
        if isinstance(inside, DummyEvent):
            self._give_keys_again(olm, inside)

    @staticmethod
    def _give_keys_again(olm: Olm, dummy: DummyEvent) -> None:
        """Their side started over: what we sent them before may be lost to them."""
        device = olm.device_store.device_from_sender_key(dummy.sender, dummy.sender_key)
        if device is not None:
            for session in olm.outbound_group_sessions.values():
                session.users_shared_with.discard((device.user_id, device.id))

    def start_over(self, device: Device, answer: Mapping[str, Any]) -> Json | None:
        """A new Olm session with a device, and the `messages` of a `sendToDevice` that tell the device of it.

        Args:
            device: Which.
            answer: To a `keys/claim` for it.

        Returns:
            None where the device is not known, or no good key of it came. The session is saved.
        """
        user_id, device_id = device
        olm = self._disk.olm
        known = olm.device_store[user_id].get(device_id)
        key = claimed_key(answer, device)
        if known is None or key is None:
            return None
        with self._disk.stored():
            session = start_session(olm, known, key)
            if session is None:
                return None
            content = olm._olm_encrypt(session, known, "m.dummy", {})  # noqa: SLF001 - its own way needs its lists
        return {user_id: {device_id: content}}

    def is_from_us(self, messages: Mapping[str, Any]) -> bool:
        """Whether this device made the messages; those of one that was given up nobody could open."""
        own = self._disk.olm.account.identity_keys["curve25519"]
        contents = [content for devices in messages.values() for content in devices.values()]
        return bool(contents) and all(content.get("sender_key") == own for content in contents)


def _forget_lists(olm: Olm, sender: str) -> None:
    olm.wedged_devices.clear()
    olm.key_re_requests_events.clear()
    olm.outgoing_to_device_messages.clear()
    entries = olm.device_store._entries  # noqa: SLF001 - a stranger's devices are looked for, and a place kept for them
    if sender in entries and not entries[sender]:
        del entries[sender]
