"""Owns putting the program together and its life from the first line of `run` to the last."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aiohttp

from onboard_bot import __version__
from onboard_bot.backoff import Backoff
from onboard_bot.chat.dispatch import Dispatch, Manners
from onboard_bot.chat.incoming import BotNames
from onboard_bot.chat.replies import StatusReport
from onboard_bot.clock import Clock, SystemClock
from onboard_bot.config import Config
from onboard_bot.domain.identifiers import server_of
from onboard_bot.errors import ErrorCode, FatalError, OnboardError
from onboard_bot.health import Health
from onboard_bot.homeserver.port import TryLater
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.jobs.answer import Answer
from onboard_bot.jobs.create_account import CreateAccount
from onboard_bot.jobs.credentials import DeliverCredentials, EraseCredentials
from onboard_bot.jobs.effect import Effect
from onboard_bot.jobs.invitations import AnswerInvitation, InviteAdmin
from onboard_bot.jobs.runner import Runner
from onboard_bot.jobs.send import Send
from onboard_bot.jobs.transaction_ids import TransactionIds
from onboard_bot.matrix.adapter import MatrixAdapter
from onboard_bot.matrix.admin_room import AdminRoomWish, NotThereYetError
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.own_identity import sign_in_public
from onboard_bot.matrix.session import BotWish, OwnAccount, Session
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.onboarding.register import RegistrationRules
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.meta import EPOCH
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.web.ops import listen, ops_app

_log = logging.getLogger(__name__)

T = TypeVar("T")

_DRAIN = 8.0
_LOOK_FOR_ADMIN_ROOM_EVERY = 60.0


async def run(config: Config) -> None:
    """Runs the bot until SIGTERM or SIGINT.

    Raises:
        FatalError: The bot could not go on (exit 1).
        UnusableError: The configuration asks for what cannot be (exit 2).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bot = Bot(config, SystemClock())
    working = asyncio.create_task(bot.work())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    bot.health.stopping = True
    if not working.done():
        _log.info("stopping")
        working.cancel()
    stopping.cancel()
    try:
        await working
    except asyncio.CancelledError:
        _log.info("stopped")


class UnusableError(Exception):
    """The configuration asks for something that the server's state does not allow.

    Args:
        key: `section.key`.
        sentence: Why not, and the mend.
    """

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key
        self.sentence = sentence


class Bot:
    """One running bot."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.health = Health(running_since=clock.now())
        self._look_for_room = asyncio.Event()

    async def work(self) -> None:
        """From nothing to obeying, for ever."""
        config = self._config
        state = StateDir(config.bot.state_dir)
        state.prepare()
        async with AsyncExitStack() as stack:
            stack.enter_context(state.held())
            await self._serve_health(stack)
            store = await self._open_store(stack, state)
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            api = ClientApi(Transport(http, config.homeserver.url))
            secret = SecretFile(config.homeserver.shared_secret_file)
            if secret.is_readable_by_others():
                _log.warning("the shared secret's file can be read by everybody on this machine: chmod o-r it")
            backend = SharedSecretBackend(http, config.homeserver.url, secret)
            wish = BotWish(config.bot.username, config.bot.display_name, config.bot.password_file)
            own_account = OwnAccount(state, wish, backend, api, secrets.choice)
            session = await self._patiently(own_account.open)
            machine = Machine(session.user_id, session.device_id, state.crypto, state.key("crypto.key"))
            stack.callback(machine.close)
            matrix = self._matrix(api, machine, store)
            await self._patiently(matrix.encryption.keep_keys_stocked)
            own_account.keys_are_stored()
            await self._patiently(lambda: sign_in_public(api, machine, state))
            self.health.session = True
            self.health.waiting_for = None
            await self._patiently(lambda: matrix.sync.once(timeout_ms=0))
            runner = await self._runner(store, matrix, backend, state, session)
            dispatch = self._dispatch(store, matrix, state, session)
            await self._serve(matrix, runner, dispatch)

    async def _serve(self, matrix: MatrixAdapter, runner: Runner, dispatch: Dispatch) -> None:
        tasks = [
            asyncio.create_task(matrix.sync.run(), name="sync"),
            asyncio.create_task(dispatch.run(), name="dispatch"),
            asyncio.create_task(runner.run(), name="jobs"),
            asyncio.create_task(self._keep_admin_room(matrix), name="admin room"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except TokenRejectedError as error:
            raise FatalError(
                ErrorCode.SESSION_REVOKED, "The bot's session was signed out by somebody while it ran."
            ) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_DRAIN)

    async def _serve_health(self, stack: AsyncExitStack) -> None:
        address = self._config.ops.listen
        try:
            runner = await listen(ops_app(self.health, self._clock), address.host, address.port)
        except OSError as error:
            raise UnusableError(
                "ops.listen", f"cannot listen on {address.host}:{address.port}: {error.strerror}; choose another port."
            ) from error
        stack.push_async_callback(runner.cleanup)

    async def _open_store(self, stack: AsyncExitStack, state: StateDir) -> Store:
        await asyncio.to_thread(bring_up_to_date, state.database)
        store = Store(Database(sqlite_url(state.database)), self._clock)
        stack.push_async_callback(store.close)
        self.health.database = True
        return store

    def _matrix(self, api: ClientApi, machine: Machine, store: Store) -> MatrixAdapter:
        config = self._config

        def on_synced() -> None:
            self.health.last_sync = self._clock.now()

        wish = AdminRoomWish(config.admin_room.room, config.admin_room.admins, name=config.bot.display_name)
        return MatrixAdapter(api, machine, store, clock=self._clock, wish=wish, on_synced=on_synced)

    async def _runner(
        self,
        store: Store,
        matrix: MatrixAdapter,
        backend: SharedSecretBackend,
        state: StateDir,
        session: Session,
    ) -> Runner:
        async with store.transaction() as tx:
            epoch = await tx.meta.get(EPOCH)
            if epoch is None:
                epoch = secrets.token_hex(16)
                await tx.meta.set(EPOCH, epoch)
        ids = TransactionIds(epoch)
        sealer = Sealer(state.key("secrets.key"))
        server_name = server_of(session.user_id)
        in_room = self._config.accounts.delivery == "room"
        effects: dict[str, Effect[Any]] = {
            JobKind.SEND: Send(matrix.sending, ids),
            JobKind.ANSWER: Answer(matrix.sending, ids, server_name=server_name, credentials_in_room=in_room),
            JobKind.CREATE_ACCOUNT: CreateAccount(backend, sealer, self._clock, server_name),
            JobKind.DELIVER_CREDENTIALS: DeliverCredentials(
                matrix.sending, matrix.direct_rooms, ids, sealer, server_name=server_name, in_room=in_room
            ),
            JobKind.ERASE_CREDENTIALS: EraseCredentials(matrix.sending, ids),
            JobKind.ANSWER_INVITATION: AnswerInvitation(matrix.membership, matrix.rooms, self._look_for_room.set),
            JobKind.INVITE_ADMIN: InviteAdmin(matrix.membership, matrix.rooms),
        }
        return Runner(store, effects, self._clock)

    def _dispatch(self, store: Store, matrix: MatrixAdapter, state: StateDir, session: Session) -> Dispatch:
        config = self._config
        server_name = server_of(session.user_id)
        manners = Manners(
            prefix=config.bot.command_prefix,
            names=BotNames(session.user_id, config.bot.display_name),
            rules=RegistrationRules(
                server_name=server_name,
                reserved=config.accounts.reserved,
                allow_admin=config.accounts.allow_admin,
                room_sets=config.onboarding.room_sets,
                approver_level=config.approval.power_level,
            ),
        )

        async def status(tx: Transaction) -> StatusReport:
            return StatusReport(
                at=tx.now,
                version=__version__,
                homeserver_url=config.homeserver.url,
                server_name=server_name,
                running_since=self.health.running_since,
                last_sync=self.health.last_sync,
                open_jobs=await tx.jobs.count_open(),
                notes=(UNSIGNED_DEVICES_NOTE,) if config.encryption.unsigned_devices == "refuse" else (),
            )

        return Dispatch(
            store,
            matrix.rooms,
            manners,
            sealer=Sealer(state.key("secrets.key")),
            clock=self._clock,
            choose=secrets.choice,
            status=status,
        )

    async def _keep_admin_room(self, matrix: MatrixAdapter) -> None:
        """Enters the admin room, and again whenever the bot was put out of it."""
        while True:
            self._look_for_room.clear()
            try:
                room_id = await self._patiently(matrix.admin_room.enter, gives_up_on=NotThereYetError)
            except NotThereYetError as error:
                if self.health.waiting_for != str(error):
                    _log.info("%s", error)
                self.health.admin_room = None
                self.health.waits_for_invitation = True
                self.health.waiting_for = str(error)
            else:
                if self.health.admin_room is None:
                    _log.info("ready in the admin room %s", room_id)
                await self._refuse_passwords_in_clear(matrix, room_id)
                self.health.admin_room = room_id
                self.health.waiting_for = None
            try:
                async with asyncio.timeout(_LOOK_FOR_ADMIN_ROOM_EVERY):
                    await self._look_for_room.wait()
            except TimeoutError:
                pass

    async def _refuse_passwords_in_clear(self, matrix: MatrixAdapter, room_id: str) -> None:
        if self._config.accounts.delivery != "room":
            return
        if not await self._patiently(lambda: matrix.rooms.is_encrypted(room_id)):
            raise UnusableError(
                "accounts.delivery",
                f"room would put passwords in clear text into the room {room_id}, which is not encrypted. Turn"
                " encryption on there, or set accounts.delivery to dm.",
            )

    async def _patiently(self, step: Callable[[], Awaitable[T]], *, gives_up_on: type[Exception] | None = None) -> T:
        """Does a step of the start until it succeeds: the homeserver may come up after the bot."""
        backoff = Backoff(cap=30)
        while True:
            try:
                return await step()
            except FatalError:
                raise
            except RateLimitedError as error:
                wait, why = error.wait, str(error)
            except TryLater as error:
                wait, why = error.after or backoff.after_failure(), error.sentence
            except OnboardError as error:
                wait, why = backoff.after_failure(), error.sentence
            except TokenRejectedError:
                raise
            except (UnreachableError, RefusedError, KeyError, ValueError) as error:
                if gives_up_on is not None and isinstance(error, gives_up_on):
                    raise
                wait, why = backoff.after_failure(), str(error)
            if self.health.admin_room is None:
                self.health.waiting_for = why
            _log.warning("waiting %.1f s: %s", wait, why)
            await self._clock.sleep(wait)


UNSIGNED_DEVICES_NOTE = (
    "encryption.unsigned_devices: refuse is not available yet; until it is, everybody's devices are served (allow)."
)
