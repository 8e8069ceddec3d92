"""Owns whose devices we know, and which of them count: for keys, and for what is said to come from them."""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from onboard_bot.domain.devices import Standing
from onboard_bot.matrix.client_api import USERS_PER_QUERY, ClientApi
from onboard_bot.matrix.device_keys import Device, DeviceKeys
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.owners import Owner, read_owner
from onboard_bot.onboarding.ports import TooLargeError
from onboard_bot.store.inbox import Envelope

_log = logging.getLogger(__name__)

# A server that does not answer for its people costs seconds of waiting; not at every message.
_ASK_AGAIN_AFTER = 300.0
# Nor is it asked for each of the commands that somebody types in vain.
_JUST_NOW = 10.0


class Identities(Protocol):
    """Remembers which identity of a person counts, whatever a server says of them later."""

    async def accepted(self, found: Mapping[str, str]) -> frozenset[str]:
        """Those of the people whose identity this is, for all that we know.

        Args:
            found: Master keys by user id. The first one of a person is theirs from then on.
        """
        ...


@dataclass(frozen=True, slots=True)
class Readers:
    """The devices of some people: those that get keys, and those that are left out."""

    devices: list[Device]
    left_out: list[Device]


class KnownDevices:
    """The devices; raises what `Transport.call` raises, and `StoreUnavailableError`.

    Args:
        api: Where they are asked for.
        machine: Keeps them.
        identities: Whose devices have to be signed; None where all count.
    """

    def __init__(self, api: ClientApi, machine: Machine, identities: Identities | None = None) -> None:
        self._api = api
        self._machine = machine
        self._identities = identities
        self._owners: dict[str, Owner] = {}
        self._accepted: set[str] = set()
        self._asked: dict[str, float] = {}
        self._asked_in_vain: dict[str, float] = {}

    async def readers(self, users: Iterable[str]) -> Readers:
        """What of these people's devices is to read along, but for our own."""
        people = list(users)
        await self._know(people)
        await self._look_at_identities(people)
        devices = self._machine.devices_of(people)
        if self._identities is None:
            return Readers(devices, [])
        signed = [device for device in devices if self._is_signed(device)]
        good = [device for device in signed if device[0] in self._accepted]
        others = set(devices).difference(good)
        return Readers(good, sorted(device for device in others if device[0] != self._machine.user_id))

    async def standing(self, user_id: str, envelope: Envelope) -> Standing:
        """How the device that an encrypted event came from stands to the event's sender, now.

        Before the answer is no, the server is asked again, unless it just was: it may have changed its mind before
        word of that came.
        """
        standing = await self._standing(user_id, envelope)
        just_asked = self._now() - self._asked.get(user_id, -math.inf) < _JUST_NOW
        if standing in (Standing.UNSIGNED, Standing.FOREIGN) and not just_asked:
            self._machine.forget(user_id)
            standing = await self._standing(user_id, envelope)
        return standing

    async def _standing(self, user_id: str, envelope: Envelope) -> Standing:
        await self._know([user_id])
        await self._look_at_identities([user_id])
        keys = DeviceKeys(envelope.fingerprint, envelope.sender_key)
        device = next((d for d in self._machine.devices_of([user_id]) if self._machine.keys_of(d) == keys), None)
        if device is None:
            return Standing.FOREIGN if self._machine.knows(user_id) else Standing.UNKNOWN
        if self._identities is None:
            return Standing.SIGNED if self._is_signed(device) else Standing.UNSIGNED
        if not self._is_signed(device):
            return Standing.UNSIGNED
        return Standing.SIGNED if user_id in self._accepted else Standing.CHANGED

    def _is_signed(self, device: Device) -> bool:
        """Whether its owner signed the very keys that we know it by; of our own account, only this device counts."""
        user_id, device_id = device
        owner = self._owners.get(user_id)
        if owner is None or user_id == self._machine.user_id:
            return False
        return owner.devices.get(device_id) == self._machine.keys_of(device)

    async def _look_at_identities(self, users: list[str]) -> None:
        """Who is accepted stays so while their identity does; a “no” may have become a “yes”."""
        if self._identities is None:
            return
        open_question = {
            user: self._owners[user].master_key
            for user in users
            if user in self._owners and user not in self._accepted and user != self._machine.user_id
        }
        if open_question:
            for user in await self._identities.accepted(open_question):
                owner = self._owners.get(user)
                if owner is not None and owner.master_key == open_question[user]:  # else it changed meanwhile
                    self._accepted.add(user)

    async def _know(self, users: list[str]) -> None:
        to_ask = self._to_ask(users)
        for start in range(0, len(to_ask), USERS_PER_QUERY):
            await self._ask(to_ask[start : start + USERS_PER_QUERY])

    def _to_ask(self, users: Iterable[str]) -> list[str]:
        now = self._now()
        return sorted(
            user
            for user in self._machine.unknown(users)
            if now - self._asked_in_vain.get(user, -math.inf) >= _ASK_AGAIN_AFTER
        )

    async def _ask(self, users: list[str]) -> None:
        """Asks about them at once, or, where somebody has more devices than can be read, one half after the other."""
        asked_at = self._machine.about_to_ask()
        try:
            answer = await self._api.keys_query(users)
        except TooLargeError as error:
            if len(users) == 1:
                _log.warning("the devices of %s are too many or too large to be read: %s", users[0], error)
                self._asked_in_vain[users[0]] = self._now()
                return
            middle = len(users) // 2
            await self._ask(users[:middle])
            await self._ask(users[middle:])
            return
        owners = {user: owner for user in users if (owner := read_owner(user, answer)) is not None}
        signed = {user: owner.devices for user, owner in owners.items()}
        told = self._machine.learn_devices(answer, users, asked_at=asked_at, first=signed)
        for user in told:
            self._note_owner(user, owners.get(user))
        now = self._now()
        self._asked |= dict.fromkeys(told, now)
        self._asked_in_vain |= dict.fromkeys(set(users).difference(told) & self._machine.unknown(users), now)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _note_owner(self, user: str, owner: Owner | None) -> None:
        before = self._owners.pop(user, None)
        if owner is not None:
            self._owners[user] = owner
        if owner is None or before is None or before.master_key != owner.master_key:
            self._accepted.discard(user)
