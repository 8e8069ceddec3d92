"""The parts of a bot whose process can die at any step: around every commit and every call to the homeserver."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from pydantic import SecretStr

from onboard_bot.homeserver.port import AccountSession, CreatedAccount, NewAccount
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.payload import Decrypted
from onboard_bot.store.inbox import Envelope
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store, Transaction
from tests.fakes.chat import BOT, FakeChat, Step


class Fate:
    """Counts the steps of a life, and ends it at one of them: from there on nothing returns any more."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.dies_at: int | None = None
        self.died = asyncio.Event()

    async def step(self, name: str) -> None:
        """One more step; the last one never returns."""
        if not self.died.is_set():
            self.steps.append(name)
            if len(self.steps) == self.dies_at:
                self.died.set()
        if self.died.is_set():
            await asyncio.Event().wait()


class MortalStore(Store):
    """A store whose process may die just before or just after any commit."""

    step: Step

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """As of any store."""
        async with super().transaction() as tx:
            yield tx
            await self.step("before commit")
        await self.step("after commit")


class MortalBackend:
    """The real backend, in a process that may die around any call; `answers` holds the server's answers back."""

    def __init__(self, inner: SharedSecretBackend, step: Step, answers: asyncio.Event) -> None:
        self._inner = inner
        self._step = step
        self._answers = answers

    async def create(self, account: NewAccount) -> CreatedAccount:
        """See the port."""
        await self._step("before create")
        made = await self._inner.create(account)
        await self._answers.wait()
        await self._step("after create")
        return made

    async def prove_secret(self) -> None:
        """See the port."""
        await self._inner.prove_secret()

    async def sign_in(
        self, user: str, password: SecretStr, *, device_id: str | None = None, device_display_name: str | None = None
    ) -> AccountSession:
        """See the port."""
        await self._step("before sign_in")
        session = await self._inner.sign_in(
            user, password, device_id=device_id, device_display_name=device_display_name
        )
        await self._step("after sign_in")
        return session

    async def sign_out(self, session: AccountSession) -> None:
        """See the port."""
        await self._step("before sign_out")
        await self._inner.sign_out(session)
        await self._step("after sign_out")


class WatchedSealer(Sealer):
    """Remembers every password that was made, so that it can be looked for where it must not be."""

    def __init__(self, key: bytes, passwords: list[str]) -> None:
        super().__init__(key)
        self._passwords = passwords

    def seal(self, secret: SecretStr, *, belongs_to: str) -> bytes:
        """As of any sealer."""
        self._passwords.append(secret.get_secret_value())
        return super().seal(secret, belongs_to=belongs_to)


class GlassMachine:
    """Intake's encryption, through which everybody sees: what stands in the room is what was said."""

    user_id = BOT
    broken = SimpleNamespace(devices=set[str]())

    def __init__(self, chat: FakeChat) -> None:
        self._chat = chat

    def decrypt(self, _room_id: str, event: Mapping[str, Any]) -> Decrypted:
        """What was said, and by which device; copies keep the message index of what they are copied from."""
        said = self._chat.event(event["content"]["ciphertext"])
        assert said.device is not None
        envelope = Envelope(said.device, f"fingerprint of {said.device}", f"{said.sender} {said.device}", said.number)
        return Decrypted(said.type, said.content, envelope)

    def receive(self, _body: object) -> bool:
        """No keys arrive."""
        return False
