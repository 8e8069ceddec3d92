"""Owns putting together what the bot is for: from the inbox through the use cases to the effects on the other side.

It knows ports, not who stands behind them: the real bot and the flow tests are put together by the same lines.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat.admission import Admission
from onboard_bot.chat.dispatch import Dispatch, Manners
from onboard_bot.chat.incoming import BotNames
from onboard_bot.chat.obeying import Obeying
from onboard_bot.chat.replies import StatusReport
from onboard_bot.chat.taps import Taps
from onboard_bot.clock import Clock
from onboard_bot.clock_jump import ClockJumps
from onboard_bot.config import Config
from onboard_bot.domain.approvals import ApprovalRules, Group
from onboard_bot.domain.identifiers import server_of
from onboard_bot.domain.passwords import Choose
from onboard_bot.homeserver.port import AccountBackend
from onboard_bot.jobs.answer import Answer
from onboard_bot.jobs.cards import EditCard, Offer
from onboard_bot.jobs.create_account import CreateAccount
from onboard_bot.jobs.credentials import DeliverCredentials, EraseCredentials
from onboard_bot.jobs.deadlines import Expire, Remind
from onboard_bot.jobs.effect import Effect
from onboard_bot.jobs.identity import TellOfIdentity
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.send import Send
from onboard_bot.jobs.weigh import Weigh
from onboard_bot.jobs.wording import Wording
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.electorate import Voters
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.onboarding.ports import DeviceView, DirectRooms, RoomView, Sender
from onboard_bot.onboarding.register import RegistrationRules
from onboard_bot.onboarding.voting import Voting
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store, Transaction


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of it.

    Args:
        registration: What accounts can be asked for.
        approval: Who decides.
        own_user_id: The bot's.
        display_name: The bot's.
        prefix: What stands before a command.
        only_signed: Whether only devices are obeyed that their owners signed.
        credentials_in_room: Whether passwords go into the room.
        kept_for: Seconds for which a denial can be taken back; None for ever.
    """

    registration: RegistrationRules
    approval: ApprovalRules
    own_user_id: str
    display_name: str
    prefix: str = "!"
    only_signed: bool = True
    credentials_in_room: bool = False
    kept_for: float | None = None

    @classmethod
    def of(cls, config: Config, own_user_id: str) -> "Rules":
        """The rules of a configuration."""
        approval = config.approval
        return cls(
            registration=RegistrationRules(
                server_name=server_of(own_user_id),
                reserved=config.accounts.reserved,
                allow_admin=config.accounts.allow_admin,
                room_sets=config.onboarding.room_sets,
            ),
            approval=ApprovalRules(
                power_level=approval.power_level,
                always=approval.always,
                required=approval.required,
                required_for_admin=approval.required_for_admin,
                deny=approval.deny,
                self_approval=approval.self_approval,
                expires_after=approval.expires_after,
                remind_after=approval.remind_after,
                groups=tuple(
                    Group(group.name, group.required, frozenset(group.members), group.room) for group in approval.groups
                ),
            ),
            own_user_id=own_user_id,
            display_name=config.bot.display_name,
            prefix=config.bot.command_prefix,
            only_signed=config.encryption.unsigned_devices == "refuse",
            credentials_in_room=config.accounts.delivery == "room",
            kept_for=config.retention.requests,
        )


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it meets the world. `group_room` gives the id of a room that a group names, while the bot is in it."""

    sender: Sender
    view: RoomView
    devices: DeviceView
    direct_rooms: DirectRooms
    group_room: Callable[[str], str | None]
    backend: AccountBackend


class Work:
    """The two sides of the database, with the same rules in both.

    Args:
        store: The database.
        rules: From the configuration.
        ports: To the world.
        clock: For waiting, and for what is due.
        jumps: Whether the clock can be believed.
        sealer: For passwords.
        choose: Where ids and passwords come from.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        ports: Ports,
        clock: Clock,
        jumps: ClockJumps,
        *,
        sealer: Sealer,
        choose: Choose,
    ) -> None:
        self._store = store
        self._rules = rules
        self._ports = ports
        self._clock = clock
        self._jumps = jumps
        self._sealer = sealer
        self._choose = choose
        self._voters = Voters(ports.view, rules.approval, ports.group_room)
        self._passwords = NewPasswords(sealer, choose)
        self._voting = Voting(rules.approval, rules.registration, self._passwords)

    def dispatch(self, status: Callable[[Transaction], Awaitable[StatusReport]]) -> Dispatch:
        """What obeys the inbox.

        Args:
            status: Tells how the bot is doing.
        """
        rules, level = self._rules, self._rules.approval.power_level
        admission = Admission(self._ports.view, self._ports.devices, approver_level=level)
        obeying = Obeying(
            rules.registration,
            rules.approval,
            self._voting,
            self._passwords,
            choose=self._choose,
            prefix=rules.prefix,
            kept_for=rules.kept_for,
            status=status,
        )
        return Dispatch(
            self._store,
            admission,
            self._voters,
            obeying,
            Taps(self._store, admission, self._voters, self._voting, rules.approval),
            Manners(rules.prefix, BotNames(rules.own_user_id, rules.display_name), level, rules.only_signed),
            clock=self._clock,
            choose=self._choose,
        )

    def effects(self, naming: Naming) -> dict[str, Effect[Any]]:
        """What carries the intents out.

        Args:
            naming: Of what is sent.
        """
        rules, ports, server_name = self._rules, self._ports, self._rules.registration.server_name
        wording = Wording(
            self._voting,
            rules.approval,
            server_name=server_name,
            prefix=rules.prefix,
            credentials_in_room=rules.credentials_in_room,
        )
        return {
            JobKind.SEND: Send(ports.sender, naming, self._clock),
            JobKind.ANSWER: Answer(ports.sender, naming, wording, self._voters, own_user_id=rules.own_user_id),
            JobKind.OFFER: Offer(ports.sender, naming, self._clock),
            JobKind.EDIT_CARD: EditCard(ports.sender, naming, wording, self._voters, own_user_id=rules.own_user_id),
            JobKind.EXPIRE: Expire(),
            JobKind.REMIND: Remind(),
            JobKind.WEIGH: Weigh(self._voters, self._voting),
            JobKind.CREATE_ACCOUNT: CreateAccount(ports.backend, self._sealer, server_name),
            JobKind.DELIVER_CREDENTIALS: DeliverCredentials(
                ports.sender,
                ports.direct_rooms,
                naming,
                self._sealer,
                self._clock,
                server_name=server_name,
                in_room=rules.credentials_in_room,
            ),
            JobKind.ERASE_CREDENTIALS: EraseCredentials(ports.sender, naming),
            JobKind.TELL_OF_IDENTITY: TellOfIdentity(ports.sender, naming, prefix=rules.prefix),
        }

    def resting(self) -> tuple[str, ...]:
        """The kinds of effects that must not begin now."""
        return (JobKind.EXPIRE, JobKind.REMIND) if self._jumps.pause_left() > 0 else ()
