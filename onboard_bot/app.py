"""Owns putting the program together, and its life from the first line of `run` to the last."""

import asyncio
import logging
import os
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from onboard_bot.clock import Clock, SystemClock
from onboard_bot.clock_jump import ClockJumps
from onboard_bot.config import Config
from onboard_bot.connections import connections
from onboard_bot.errors import ErrorCode, FatalError, UnusableError
from onboard_bot.health import Health
from onboard_bot.homeserver.port import AccountBackend
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.jobs.effect import Effect
from onboard_bot.jobs.invitations import AnswerInvitation, InviteAdmin
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.runner import Runner
from onboard_bot.jobs.unread import AskAgain, HealDevice, HealPerson, TellOfSession
from onboard_bot.matrix.adapter import MatrixAdapter
from onboard_bot.matrix.admin_room import AdminRoomWish
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.limits_met import LimitsMet
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.session import BotWish, OwnAccount, Session
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.identities import AcceptedIdentities
from onboard_bot.onboarding.ports import Outgoing, TokenRejectedError
from onboard_bot.opening import look_at_votes, open_machine, open_naming, prove_storage
from onboard_bot.pace import SharedPace
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store
from onboard_bot.upkeep.admin_room import AdminRoomWatch
from onboard_bot.upkeep.clock import ClockWatch
from onboard_bot.upkeep.group_rooms import GroupRoomsWatch
from onboard_bot.upkeep.identity import IdentityWatch, watch_identity
from onboard_bot.upkeep.notices import AdminRoomNotices
from onboard_bot.upkeep.patience import Patience
from onboard_bot.upkeep.status import Status
from onboard_bot.upkeep.storage import StorageWatch
from onboard_bot.web.ops import listen, ops_app
from onboard_bot.work import Ports, Rules, Work

_log = logging.getLogger(__name__)

_LATE = 8.0
_AT_THE_LATEST = 8.5
_TOO_LATE = "the stop takes too long; what is not at its end is broken off, and taken up again after the next start"
# A server whose parts disagree about the session must not be asked in a circle.
_AFTER_RENEWAL = 1.0


async def run(config: Config) -> None:
    """Runs the bot until SIGTERM or SIGINT.

    Raises:
        FatalError: Going on would make it worse (exit 1).
        UnusableError: The configuration asks for what cannot be (exit 2).
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bot = Bot(config, SystemClock())
    working = asyncio.create_task(bot.work())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        _log.info("stopping")
        _end_at_the_latest()
        bot.health.stopping = True
        working.cancel()
    stopping.cancel()
    try:
        await working
    except asyncio.CancelledError:
        _log.info("stopped")


def _end_at_the_latest() -> None:
    """Whatever hangs, a stop takes less than ten seconds: all that counts is in the database, as after a kill.

    Nothing of ours is known to need it. It is for what nobody can break off: a disk that does not answer, a log that
    nobody reads, another process that holds the database.
    """
    # In this order and apart: where the log is what hangs, saying so must not hold up the end.
    for seconds, step, *arguments in ((_LATE, _log.error, _TOO_LATE), (_AT_THE_LATEST, os._exit, 0)):
        timer = threading.Timer(seconds, step, arguments)
        timer.daemon = True
        timer.start()


class Bot:
    """One running bot."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.health = Health(running_since=clock.now())
        self._jumps = ClockJumps(clock)
        self._only_signed = config.encryption.unsigned_devices == "refuse"
        self._storage = StorageWatch(self.health, clock)
        self._patience = Patience(clock, self._note_waiting, self._storage.note)

    async def work(self) -> None:
        """From nothing to obeying, for ever.

        Raises:
            FatalError: Going on would make it worse.
            UnusableError: The configuration asks for what cannot be.
        """
        try:
            await self._work()
        except TokenRejectedError as error:
            raise FatalError(
                ErrorCode.SESSION_REVOKED, "The bot's session was signed out by somebody while it ran."
            ) from error

    async def _work(self) -> None:
        config = self._config
        state = StateDir(config.bot.state_dir)
        state.prepare()
        async with AsyncExitStack() as stack:
            stack.enter_context(state.held())
            await self._serve_health(stack)
            store = await self._open_store(stack, state)
            await stack.enter_async_context(self._storage.kept(lambda: prove_storage(state, store)))
            http = await stack.enter_async_context(connections())
            limits = LimitsMet(store, self._clock)
            await stack.enter_async_context(limits.kept())
            pace = SharedPace(self._clock)
            backend = SharedSecretBackend(http, config.homeserver.url, self._secret(), limits.note, pace)
            api = ClientApi(Transport(http, config.homeserver.url, limits.note, pace))
            wish = BotWish(config.bot.username, config.bot.display_name, config.bot.password_file)
            own_account = OwnAccount(state, wish, backend, api, secrets.choice)
            session, machine = await self._open_device(own_account, state)
            stack.callback(machine.close)

            async def renew() -> None:
                state.prove_room()  # before a login is spent on a session that cannot be kept
                await own_account.renew()

            self._patience.renew = renew
            identity = watch_identity(api, machine, state, store, self.health, self._clock)
            matrix = self._matrix(api, machine, store, identity)
            stack.push_async_callback(matrix.sending.finish)

            async def bring_keys_up() -> None:
                await matrix.encryption.keep_keys_stocked()
                own_account.keys_are_stored(machine.fingerprint)

            await self._arrive(matrix, bring_keys_up, identity)
            work = self._work_of(store, matrix, backend, state, session)
            watch = self._watch_admin_room(matrix, AdminRoomNotices(store, matrix.rooms.is_encrypted, identity))
            identity.on_change = watch.look_now
            group_rooms = self._watch_group_rooms(matrix, store)
            naming = await self._patience.until_done(lambda: open_naming(store, session, self._clock))
            self._storage.tell = lambda content: self._tell(matrix, content)
            status = Status(config, self.health, machine, identity, self._jumps, matrix.group_rooms.missing)
            clock_watch = ClockWatch(self._jumps, store, self.health, self._clock, mark=secrets.token_hex())
            effects = self._effects(work, matrix, naming, watch, group_rooms)
            await self._patience.until_done(lambda: look_at_votes(store))
            runner = Runner(store, effects, self._clock, device_id=session.device_id, resting=work.resting)
            while True:
                try:
                    await self._serve(
                        sync=matrix.sync.run(),
                        keys=matrix.keys.run(),
                        identity=identity.run(),
                        dispatch=work.dispatch(status.report).run(),
                        jobs=runner.run(),
                        admin_room=watch.run(),
                        group_rooms=group_rooms.run(),
                        clock=clock_watch.run(),
                    )
                except TokenRejectedError as error:
                    if not error.soft:
                        raise
                    _log.warning("the session expired; signing in again on the same device")
                    await self._patience.until_done(renew)
                    await self._clock.sleep(_AFTER_RENEWAL)

    async def _arrive(
        self, matrix: MatrixAdapter, bring_keys_up: Callable[[], Awaitable[None]], identity: IdentityWatch
    ) -> None:
        """What comes before anybody is obeyed: our keys, our identity, and what happened meanwhile."""
        for step in (bring_keys_up, identity.look):
            await self._patience.until_done(step)
        self.health.session, self.health.waiting_for = True, None
        for step in (lambda: matrix.sync.once(timeout_ms=0), matrix.sync.look_for_invitations):
            await self._patience.until_done(step)

    async def _open_device(self, own_account: OwnAccount, state: StateDir) -> tuple[Session, Machine]:
        """The session, and the keys of its very device; a new device where the old one's keys are gone."""
        while True:
            session = await self._patience.until_done(own_account.open)
            machine = open_machine(state, session, self._storage.note)
            if not own_account.has_lost_keys(machine.fingerprint):
                return session, machine
            machine.close()
            await self._patience.until_done(own_account.leave_device)

    async def _serve(self, **parts: Coroutine[Any, Any, None]) -> None:
        """Runs the parts until one of them ends, or the bot is stopped."""
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _note_waiting(self, why: str) -> None:
        if self.health.admin_room is None:
            self.health.waiting_for = why

    async def _tell(self, matrix: MatrixAdapter, content: dict[str, Any]) -> None:
        if self.health.admin_room is None:
            raise RuntimeError("not in it yet")
        once = secrets.token_hex()  # nothing is stored from which a repeat could come
        await matrix.sending.send(self.health.admin_room, "m.room.message", content, Outgoing(once, label=once))

    def _secret(self) -> SecretFile:
        secret = SecretFile(self._config.homeserver.shared_secret_file)
        if secret.is_readable_by_others():
            _log.warning("%s can be read by everybody on this machine: chmod o-r it", secret.path)
        return secret

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
        store = Store(Database(sqlite_url(state.database)), self._clock, on_trouble=self._storage.note)
        stack.push_async_callback(store.close)
        self.health.database = True
        return store

    def _matrix(self, api: ClientApi, machine: Machine, store: Store, identity: IdentityWatch) -> MatrixAdapter:
        config = self._config

        def on_synced() -> None:
            self.health.last_sync = self._clock.now()
            if machine.own_keys_changed:
                machine.own_keys_changed = False
                identity.look_again()

        wish = AdminRoomWish(config.admin_room.room, config.admin_room.admins, name=config.bot.display_name)
        identities = AcceptedIdentities(store) if self._only_signed else None
        return MatrixAdapter(
            api,
            machine,
            store,
            clock=self._clock,
            wish=wish,
            identities=identities,
            groups={group.name: group.room for group in config.approval.groups if group.room is not None},
            on_synced=on_synced,
        )

    @staticmethod
    def _effects(
        work: Work, matrix: MatrixAdapter, naming: Naming, watch: AdminRoomWatch, group_rooms: GroupRoomsWatch
    ) -> dict[str, Effect[Any]]:
        async def is_named(room_id: str) -> bool:
            return await matrix.admin_room.is_named(room_id) or await matrix.group_rooms.is_named(room_id)

        def may_enter() -> None:
            watch.look_now()
            group_rooms.look_now()

        return work.effects(naming) | {
            JobKind.ANSWER_INVITATION: AnswerInvitation(matrix.membership, matrix.rooms, is_named, may_enter),
            JobKind.INVITE_ADMIN: InviteAdmin(matrix.membership, matrix.rooms),
            JobKind.HEAL_PERSON: HealPerson(matrix.rooms, matrix.healing),
            JobKind.HEAL_DEVICE: HealDevice(matrix.healing),
            JobKind.TELL_OF_SESSION: TellOfSession(matrix.healing),
            JobKind.ASK_AGAIN: AskAgain(matrix.sending, matrix.rooms, naming),
        }

    def _work_of(
        self, store: Store, matrix: MatrixAdapter, backend: AccountBackend, state: StateDir, session: Session
    ) -> Work:
        return Work(
            store,
            Rules.of(self._config, session.user_id),
            Ports(
                sender=matrix.sending,
                view=matrix.rooms,
                devices=matrix.devices,
                direct_rooms=matrix.direct_rooms,
                group_room=matrix.group_rooms.room_id,
                backend=backend,
            ),
            self._clock,
            self._jumps,
            sealer=Sealer(state.key("secrets.key")),
            choose=secrets.choice,
        )

    def _watch_admin_room(self, matrix: MatrixAdapter, notices: AdminRoomNotices) -> AdminRoomWatch:
        # It runs beside the others: an expired session is renewed when all have stopped using it.
        patience = Patience(self._clock, self._note_waiting, self._storage.note)

        async def settled(room_id: str) -> None:
            await self._settled(matrix, room_id)
            await patience.until_done(lambda: notices.bring_up_to_date(room_id))

        return AdminRoomWatch(matrix.admin_room.enter, settled, self.health, patience)

    def _watch_group_rooms(self, matrix: MatrixAdapter, store: Store) -> GroupRoomsWatch:
        patience = Patience(self._clock, self._note_waiting, self._storage.note)
        return GroupRoomsWatch(matrix.group_rooms, lambda: look_at_votes(store), patience)

    async def _settled(self, matrix: MatrixAdapter, room_id: str) -> None:
        """Passwords never go into a room in clear text."""
        if self._config.accounts.delivery != "room":
            return
        if not await self._patience.until_done(lambda: matrix.rooms.is_encrypted(room_id)):
            raise UnusableError(
                "accounts.delivery",
                f"room would put passwords in clear text into the room {room_id}, which is not encrypted. Turn"
                " encryption on there, or set accounts.delivery to dm.",
            )
