"""Owns the configuration's keys: their names, types, defaults and the sentences that explain them.

Everything else about the configuration (the example file, the reference in docs/, the environment names, the list of
valid keys) is read off these models. They are the edge where pydantic parses; what comes out is frozen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from onboard_bot.config import values
from onboard_bot.config.durations import Rate, parse_duration
from onboard_bot.config.items import ApprovalGroup, RoomSetRule
from onboard_bot.config.kinds import (
    RESERVED,
    Asker,
    AtLeastOne,
    Count,
    Duration,
    File,
    Link,
    Listen,
    NamePattern,
    Network,
    Pause,
    PerAddress,
    Retention,
    Room,
    RoomSetName,
    Text,
    UserId,
)
from onboard_bot.config.section import Frozen, Section


class Homeserver(Section):
    """The homeserver, and what lets the bot make accounts on it."""

    key = "homeserver"

    url: Annotated[str, AfterValidator(values.parse_homeserver_url)] = Field(
        description="The internal listener of the homeserver; proxies usually hide /_synapse/admin.",
        examples=["http://127.0.0.1:8008"],
    )
    shared_secret_file: File = Field(
        description="File with the registration shared secret: the plain file that registration_shared_secret_path "
        "names, or YAML with registration_shared_secret.",
        examples=["/run/secrets/matrix-shared-secret"],
    )


class Bot(Section):
    """The bot's own account, and where it keeps what it knows."""

    key = "bot"

    username: Annotated[str, AfterValidator(values.parse_bot_username)] = Field(
        "onboard", description="The bot's account; registered at the first start if it does not exist."
    )
    display_name: Annotated[str, AfterValidator(values.parse_bot_display_name)] = Field(
        "Onboarding", description="The name that people see."
    )
    password_file: File | None = Field(
        None, description="File with the account's password; only if the account exists already and the state is gone."
    )
    state_dir: File = Field(
        Path("state"),
        description="Folder for database, keys and session. Unset: $STATE_DIRECTORY (systemd), else ./state.",
    )
    command_prefix: Annotated[str, AfterValidator(values.parse_command_prefix)] = Field(
        "!", description="What a command begins with; a mention of the bot works too."
    )


class AdminRoom(Section):
    """The room in which accounts are asked for and decided."""

    key = "admin_room"

    room: Room | None = Field(
        None,
        description="Id (!…) or alias (#…) of an existing room, in quotes. Unset: the bot creates an encrypted one.",
    )
    admins: tuple[UserId, ...] = Field(
        (),
        validate_default=True,
        description="User ids that are invited into the room that the bot creates, with power level 100.",
        examples=[["@you:example.org"]],
    )

    @field_validator("admins", mode="after")
    @classmethod
    def _somebody_can_command(cls, admins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not admins and "room" in info.data and info.data["room"] is None:
            raise ValueError('names nobody; write who commands the bot, ["@you:example.org"], or set admin_room.room.')
        return tuple(dict.fromkeys(admins))


class Approval(Section):
    """Who decides on requests, and when something is decided."""

    key = "approval"

    power_level: Count = Field(
        50, description="From this power level on people may vote, and their own !register runs at once."
    )
    always: bool = Field(default=False, description="true: every registration needs votes, whoever asks.")
    required: AtLeastOne = Field(1, description="Approvals that a request needs.")
    required_for_admin: AtLeastOne = Field(2, description="Approvals for an account with server-admin rights.")
    deny: AtLeastOne = Field(1, description="Denials that decide against a request.")
    self_approval: bool = Field(default=False, description="true: people may vote on their own requests.")
    expires_after: Duration = Field(parse_duration("7d"), description="A request that nobody decides ends after this.")
    remind_after: Duration = Field(
        parse_duration("24h"), description="The room is reminded of an open request after this."
    )
    groups: tuple[ApprovalGroup, ...] = Field(
        (),
        description="Groups whose votes are needed too, each {name, members or room, required}; "
        "one person may count for both.",
    )


class Accounts(Section):
    """The accounts that are made."""

    key = "accounts"

    allow_admin: bool = Field(default=False, description="true: accounts with server-admin rights can be made at all.")
    delivery: Literal["auto", "claim", "dm", "room"] = Field(
        "auto",
        description="How credentials reach people: claim (a link; needs web.public_url), dm (an encrypted direct "
        "message to who asked), room (a reply in the encrypted admin room), auto (claim if it can, else dm).",
    )
    reserved: tuple[NamePattern, ...] = Field(
        RESERVED, description="Usernames that nobody gets; * stands for any characters. Your list replaces this one."
    )


class Onboarding(Section):
    """The rooms that a new account is brought into."""

    key = "onboarding"

    rooms: tuple[Room, ...] = Field((), description="Rooms and spaces that every new account is brought into.")
    room_sets: Mapping[RoomSetName, tuple[Room, ...]] = Field(
        {}, description='Named lists of rooms, chosen with --rooms=name: {staff: ["#staff:example.org"]}.'
    )
    children: Literal["listed", "suggested", "all"] = Field(
        "listed", description="Which rooms of a space come with it: listed (only those named here), suggested, all."
    )
    by_requester: tuple[RoomSetRule, ...] = Field(
        (), description="Room sets by the membership of the one who asked, each {room, room_set}."
    )
    join: Literal["join", "invite"] = Field(
        "join", description="join: the new account is in its rooms at once; invite: it is invited only."
    )


class Announce(Section):
    """The message that welcomes new accounts in community rooms."""

    key = "announce"

    rooms: tuple[Room, ...] = Field((), description="Rooms in which new accounts are announced.")
    template: Text = Field("Welcome, {{ people }}!", description="The announcement, a sandboxed Jinja template.")
    gather: Pause = Field(60.0, description="New accounts within this time make one announcement; 0s: each its own.")


class Welcome(Section):
    """The message that greets a new account."""

    key = "welcome"

    template: Text | None = Field(None, description="What a new account is greeted with. Unset: no greeting.")
    follow_up: Text | None = Field(None, description="What it is asked some days later. Unset: nothing.")
    follow_up_after: Duration = Field(parse_duration("3d"), description="When follow_up is sent.")
    avatar: Text | None = Field(None, description="Picture that a new account gets. Unset: none.")


class Requests(Section):
    """Asking for an account in a direct message to the bot."""

    key = "requests"

    from_: tuple[Asker, ...] = Field(
        (),
        alias="from",
        description="Who may use !request: server names (example.org, *.example.org), user ids, or rooms whose "
        "members may.",
    )


class MemberInvites(Section):
    """Invites that ordinary members may make."""

    key = "invites.members"

    per_person: Count = Field(0, description="How many open invites each member of the admin room may have; 0: none.")
    per: Duration = Field(parse_duration("30d"), description="The time in which per_person counts.")
    rooms: tuple[Room, ...] = Field((), description="Rooms whose members may invite too.")


class Invites(Section):
    """Links for newcomers."""

    key = "invites"

    members: MemberInvites


class Branding(Section):
    """How the pages look."""

    key = "web.branding"

    name: Text | None = Field(None, description="Name of the community on the pages. Unset: the server's name.")
    logo: Text | None = Field(None, description="Picture on the pages: a file or a URL.")
    colour: Annotated[str, AfterValidator(values.parse_colour)] | None = Field(
        None, description='Colour of buttons and links, "#rrggbb" in quotes.'
    )
    terms_url: Link | None = Field(None, description="Terms that people accept before they get an account.")
    clients: tuple[Text, ...] = Field(
        ("element", "fluffychat", "cinny"), description="Matrix clients that are recommended to newcomers."
    )


class RequestForm(Section):
    """The public form that asks for an account."""

    key = "web.form"

    open_requests: AtLeastOne = Field(100, description="With so many requests open the form is closed.")
    per_address: PerAddress = Field(
        Rate(3, parse_duration("1d")), description="How often one address may use the form."
    )
    exempt: tuple[Network, ...] = Field((), description="Addresses and networks without that limit.")


class Web(Section):
    """The pages for newcomers."""

    key = "web"

    listen: Listen = Field(
        values.ListenAddress("127.0.0.1", 8090),
        description="Where the pages are served; put a proxy with TLS before it.",
    )
    public_url: Annotated[str, AfterValidator(values.parse_public_url)] | None = Field(
        None, description="What newcomers reach the pages by: https://… (http:// on loopback only)."
    )
    request_form: bool = Field(default=False, description="true: visitors may ask for an account in a form.")
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Addresses and networks of proxies whose X-Forwarded-For is believed."
    )
    branding: Branding
    form: RequestForm


class Ops(Section):
    """Health and metrics, for the operator only."""

    key = "ops"

    listen: Listen = Field(
        values.ListenAddress("127.0.0.1", 8091),
        description="/healthz, /readyz and /metrics; never on the public listener.",
    )


class RetentionRules(Section):
    """How long things are kept."""

    key = "retention"

    requests: Retention = Field(parse_duration("1y"), description="How long finished requests are kept.")
    audit: Retention = Field(None, description="How long the audit log is kept.")


class Database(Section):
    """Where the state lies."""

    key = "database"

    url: SecretStr | None = Field(None, description="Unset: SQLite in state_dir. postgresql://… comes later.")


class Encryption(Section):
    """Whom the bot obeys and trusts in encrypted rooms."""

    key = "encryption"

    unsigned_devices: Literal["refuse", "allow"] = Field(
        "refuse",
        description="refuse: commands from devices that their owner has not verified are not obeyed, nor commands in "
        "clear text in an encrypted room; allow: they are.",
    )


class Config(Frozen):
    """The whole configuration, checked."""

    homeserver: Homeserver
    bot: Bot
    admin_room: AdminRoom
    approval: Approval
    accounts: Accounts
    onboarding: Onboarding
    announce: Announce
    welcome: Welcome
    requests: Requests
    invites: Invites
    web: Web
    ops: Ops
    retention: RetentionRules
    database: Database
    encryption: Encryption

    @field_validator("ops", mode="after")
    @classmethod
    def _is_not_public(cls, ops: Ops, info: ValidationInfo) -> Ops:
        web = info.data.get("web")
        if web is not None and web.listen == ops.listen and ops.listen.port:
            raise PydanticCustomError(
                "same_listener", "must not be the address of web.listen; choose another port.", {"under": "listen"}
            )
        return ops
