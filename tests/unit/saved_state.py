"""A state directory as a bot leaves it that has worked for a while."""

import asyncio
import base64
from pathlib import Path

from pydantic import SecretStr

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.requests import Origin, Request, State, Wish
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.passwords import password_label
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.meta import EPOCH
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock

OLD_EPOCH = "0f" * 16


def make_state(path: Path) -> StateDir:
    """With an account, a session, an identity, a request that is about to be made, and three rows of audit."""
    state = StateDir(path)
    state.prepare()
    state.write_json("account.json", {"username": "onboard", "password": "the bot's password", "registered": True})
    session = {"device_id": "OLDDEVICE", "user_id": "@onboard:example.org", "access_token": "syt_old"}
    state.write_json("session.json", session | {"keys_stored": True})
    seeds = {usage: base64.b64encode(bytes(32)).decode() for usage in ("master", "self_signing", "user_signing")}
    for name in ("cross_signing.json", "cross_signing.pending.json"):  # a reset was cut off
        state.write_json(name, {"user_id": "@onboard:example.org"} | seeds)
    bring_up_to_date(state.database)
    asyncio.run(_fill(state))
    return state


async def _fill(state: StateDir) -> None:
    store = Store(Database(sqlite_url(state.database)), FakeClock())
    password = Sealer(state.key("secrets.key")).seal(SecretStr("bob's password"), belongs_to=password_label("aaaaa"))
    request = Request(
        id="aaaaa",
        state=State.APPROVED,
        wish=Wish("bob"),
        origin=Origin.ADMIN_ROOM,
        requester="@ada:example.org",
        origin_room="!admins:example.org",
        origin_event="$command",
        thread_root=None,
        created_at=FakeClock().now(),
    )
    async with store.transaction() as tx:
        await tx.meta.set(EPOCH, OLD_EPOCH)
        await tx.requests.add(request)
        await tx.requests.seal_password(request.id, password)
        await tx.record(Entry(Verb.BOT_REGISTERED, personal={"user_id": "@onboard:example.org"}))
        await tx.record(Entry(Verb.REQUEST_MADE, "aaaaa", personal={"username": "bob"}))
        await tx.record(Entry(Verb.REQUEST_APPROVED, "aaaaa"))
        await tx.intend(effects.create_account(request))
    await store.close()
