"""Owns the configuration's keys: their names, types, defaults and the sentences that explain them.

Everything else about the configuration (the example file, the reference in docs/, the environment names, the list of
valid keys) is read off these models. They are the edge where pydantic parses; what comes out is frozen.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from onboard_bot.config import values
from onboard_bot.config.not_yet import refuse_what_is_not_built
from onboard_bot.config.values import RESERVED

# What a section demands is asked also where nobody wrote the section.
_DEFAULTS: Any = Field(default_factory=dict)


def _key(says: str, default: Any = ..., **more: Any) -> Any:
    """A key: the sentence that explains it, and its default as an operator writes it, unless they have to."""
    return Field(default, description=says, **more)


class Frozen(BaseModel):
    """Read once, never changed, and nothing in it that is not a key."""

    # Only the whole configuration is ever built, so pydantic need not compile each part on its own at import.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, defer_build=True
    )


class Section(Frozen):
    """A part of the configuration; `key` is what stands before the dot."""

    key: ClassVar[str]

    def __init_subclass__(cls, *, key: str) -> None:
        super().__init_subclass__()
        cls.key = key

    @field_validator("*", mode="after")
    @classmethod
    def _is_built(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        refuse_what_is_not_built(f"{cls.key}.{field.alias or info.field_name}", value)
        return value


class Homeserver(Section, key="homeserver"):
    """The homeserver, and what lets the bot make accounts on it."""

    url: values.HomeserverUrl = _key(
        "The internal listener of the homeserver; proxies usually hide /_synapse/admin.",
        examples=["http://127.0.0.1:8008"],
    )
    shared_secret_file: values.File = _key(
        "File with the registration shared secret: the plain file that registration_shared_secret_path "
        "names, or YAML with registration_shared_secret.",
        examples=["/run/secrets/matrix-shared-secret"],
    )


class Bot(Section, key="bot"):
    """The bot's own account, and where it keeps what it knows."""

    username: values.BotUsername = _key(
        "The bot's account; registered at the first start if it does not exist.", "onboard"
    )
    display_name: values.BotDisplayName = _key("The name that people see.", "Onboarding")
    password_file: values.File | None = _key(
        "File with the account's password; only if the account exists already and the state is gone.", None
    )
    state_dir: values.File = _key(
        "Folder for database, keys and session. Unset: $STATE_DIRECTORY (systemd), else ./state.",
        "state",
        examples=[None],
    )
    command_prefix: values.CommandPrefix = _key("What a command begins with; a mention of the bot works too.", "!")


class AdminRoom(Section, key="admin_room"):
    """The room in which accounts are asked for and decided."""

    room: values.Room | None = _key(
        "Id (!…) or alias (#…) of an existing room, in quotes. Unset: the bot creates an encrypted one.", None
    )
    admins: tuple[values.UserId, ...] = _key(
        "User ids that are invited into the room that the bot creates, with power level 100.",
        (),
        examples=[["@you:example.org"]],
    )

    @field_validator("admins", mode="after")
    @classmethod
    def _somebody_can_command(cls, admins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not admins and "room" in info.data and info.data["room"] is None:
            raise ValueError('names nobody; write who commands the bot, ["@you:example.org"], or set admin_room.room.')
        return tuple(dict.fromkeys(admins))


class ApprovalGroup(Frozen):
    """People of whom some must agree, in addition to `approval.required`."""

    name: values.Text
    members: tuple[values.UserId, ...] = ()
    room: values.Room | None = None
    required: values.AtLeastOne = 1

    @model_validator(mode="after")
    def _can_be_represented(self) -> Self:
        if bool(self.members) == (self.room is not None):
            raise ValueError("must have either members or a room, not both.")
        people = len({member.casefold() for member in self.members})
        if self.room is None and people < self.required:
            raise ValueError(
                f"required asks for {self.required} of its members, and members names {people}; lower it, or name more."
            )
        return self


class Approval(Section, key="approval"):
    """Who decides on requests, and when something is decided."""

    power_level: values.Count = _key(
        "From this power level on people may vote, and their own !register runs at once.", 50
    )
    always: bool = _key("true: every registration needs votes, whoever asks.", default=False)
    required: values.AtLeastOne = _key("Approvals that a request needs.", 1)
    required_for_admin: values.AtLeastOne = _key("Approvals for an account with server-admin rights.", 2)
    deny: values.AtLeastOne = _key("Denials that decide against a request.", 1)
    self_approval: bool = _key("true: people may vote on their own requests.", default=False)
    expires_after: values.Duration = _key("A request that nobody decides ends after this.", "7d")
    remind_after: values.Duration = _key("The room is reminded of an open request after this.", "24h")
    groups: tuple[ApprovalGroup, ...] = _key(
        "Groups whose votes are needed too, each {name, members or room, required}; one person may count for both.", ()
    )

    @field_validator("groups", mode="after")
    @classmethod
    def _names_differ(cls, groups: tuple[ApprovalGroup, ...]) -> tuple[ApprovalGroup, ...]:
        seen: set[str] = set()
        for group in groups:
            name = group.name.strip().casefold()
            if name in seen:
                raise ValueError(f"two groups are called {values.shown(group.name)}; give each a name of its own.")
            seen.add(name)
        return groups


class Accounts(Section, key="accounts"):
    """The accounts that are made."""

    allow_admin: bool = _key("true: accounts with server-admin rights can be made at all.", default=False)
    delivery: Literal["auto", "claim", "dm", "room"] = _key(
        "How credentials reach people: claim (a link; needs web.public_url), dm (an encrypted direct "
        "message to who asked), room (a reply in the encrypted admin room), auto (claim if it can, else dm).",
        "auto",
    )
    reserved: tuple[values.NamePattern, ...] = _key(
        "Usernames that nobody gets; * stands for any characters. Your list replaces this one.", RESERVED
    )


class RoomSetRule(Frozen):
    """A room set for the accounts that the members of a room ask for."""

    room: values.Room
    room_set: values.Text


class Onboarding(Section, key="onboarding"):
    """The rooms that a new account is brought into."""

    rooms: tuple[values.Room, ...] = _key("Rooms and spaces that every new account is brought into.", ())
    room_sets: Mapping[values.RoomSetName, tuple[values.Room, ...]] = _key(
        'Named lists of rooms, chosen with --rooms=name: {staff: ["#staff:example.org"]}.', {}
    )
    children: Literal["listed", "suggested", "all"] = _key(
        "Which rooms of a space come with it: listed (only those named here), suggested, all.", "listed"
    )
    by_requester: tuple[RoomSetRule, ...] = _key(
        "Room sets by the membership of the one who asked, each {room, room_set}.", ()
    )
    join: Literal["join", "invite"] = _key(
        "join: the new account is in its rooms at once; invite: it is invited only.", "join"
    )


class Announce(Section, key="announce"):
    """The message that welcomes new accounts in community rooms."""

    rooms: tuple[values.Room, ...] = _key("Rooms in which new accounts are announced.", ())
    template: values.Text = _key("The announcement, a sandboxed Jinja template.", "Welcome, {{ people }}!")
    gather: values.Pause = _key("New accounts within this time make one announcement; 0s: each its own.", "60s")


class Welcome(Section, key="welcome"):
    """The message that greets a new account."""

    template: values.Text | None = _key("What a new account is greeted with. Unset: no greeting.", None)
    follow_up: values.Text | None = _key("What it is asked some days later. Unset: nothing.", None)
    follow_up_after: values.Duration = _key("When follow_up is sent.", "3d")
    avatar: values.Text | None = _key("Picture that a new account gets. Unset: none.", None)


class Requests(Section, key="requests"):
    """Asking for an account in a direct message to the bot."""

    from_: tuple[values.Asker, ...] = _key(
        "Who may use !request: server names (example.org, *.example.org), user ids, or rooms whose members may.",
        (),
        alias="from",
    )


class MemberInvites(Section, key="invites.members"):
    """Invites that ordinary members may make."""

    per_person: values.Count = _key("How many open invites each member of the admin room may have; 0: none.", 0)
    per: values.Duration = _key("The time in which per_person counts.", "30d")
    rooms: tuple[values.Room, ...] = _key("Rooms whose members may invite too.", ())


class Invites(Section, key="invites"):
    """Links for newcomers."""

    members: MemberInvites = _DEFAULTS


class Branding(Section, key="web.branding"):
    """How the pages look."""

    name: values.Text | None = _key("Name of the community on the pages. Unset: the server's name.", None)
    logo: values.Text | None = _key("Picture on the pages: a file or a URL.", None)
    colour: values.Colour | None = _key('Colour of buttons and links, "#rrggbb" in quotes.', None)
    terms_url: values.Link | None = _key("Terms that people accept before they get an account.", None)
    clients: tuple[values.Text, ...] = _key(
        "Matrix clients that are recommended to newcomers.", ("element", "fluffychat", "cinny")
    )


class RequestForm(Section, key="web.form"):
    """The public form that asks for an account."""

    open_requests: values.AtLeastOne = _key("With so many requests open the form is closed.", 100)
    per_address: values.PerAddress = _key("How often one address may use the form.", "3/1d")
    exempt: tuple[values.Network, ...] = _key("Addresses and networks without that limit.", ())


class Web(Section, key="web"):
    """The pages for newcomers."""

    listen: values.Listen = _key("Where the pages are served; put a proxy with TLS before it.", "127.0.0.1:8090")
    public_url: values.PublicUrl | None = _key(
        "What newcomers reach the pages by: https://… (http:// on loopback only).", None
    )
    request_form: bool = _key("true: visitors may ask for an account in a form.", default=False)
    trusted_proxies: tuple[values.Network, ...] = _key(
        "Addresses and networks of proxies whose X-Forwarded-For is believed.", ()
    )
    branding: Branding = _DEFAULTS
    form: RequestForm = _DEFAULTS


class Ops(Section, key="ops"):
    """Health, for the operator only."""

    listen: values.Listen = _key("/healthz and /readyz; never on the public listener.", "127.0.0.1:8091")


class RetentionRules(Section, key="retention"):
    """How long things are kept."""

    requests: values.Retention = _key("How long finished requests are kept.", "1y")
    audit: values.Retention = _key("How long the audit log is kept.", "forever")


class Database(Section, key="database"):
    """Where the state lies."""

    url: SecretStr | None = _key("Unset: SQLite in state_dir. postgresql://… comes later.", None)


class Encryption(Section, key="encryption"):
    """Whom the bot obeys and trusts in encrypted rooms."""

    unsigned_devices: Literal["refuse", "allow"] = _key(
        "refuse: commands from devices that their owner has not verified are not obeyed, nor commands in "
        "clear text in an encrypted room; allow: they are.",
        "refuse",
    )


class Written(BaseSettings, Frozen):
    """What stands in the sources, merged key by key by pydantic-settings and not judged.

    Args:
        sources: The strongest first.
    """

    model_config = SettingsConfigDict(extra="allow")

    def __init__(self, *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(sources=sources)

    @classmethod
    def settings_customise_sources(cls, *_: Any, **theirs: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """The given sources alone: pydantic-settings' own would read os.environ and pass over names without a key."""
        return tuple(theirs["init_settings"]()["sources"])


class Config(Written):
    """The whole configuration, checked."""

    model_config = SettingsConfigDict(extra="forbid")

    homeserver: Homeserver = _DEFAULTS
    bot: Bot = _DEFAULTS
    admin_room: AdminRoom = _DEFAULTS
    approval: Approval = _DEFAULTS
    accounts: Accounts = _DEFAULTS
    onboarding: Onboarding = _DEFAULTS
    announce: Announce = _DEFAULTS
    welcome: Welcome = _DEFAULTS
    requests: Requests = _DEFAULTS
    invites: Invites = _DEFAULTS
    web: Web = _DEFAULTS
    ops: Ops = _DEFAULTS
    retention: RetentionRules = _DEFAULTS
    database: Database = _DEFAULTS
    encryption: Encryption = _DEFAULTS

    def __init__(self, *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(*sources)

    @field_validator("ops", mode="after")
    @classmethod
    def _is_not_public(cls, ops: Ops, info: ValidationInfo) -> Ops:
        web = info.data.get("web")
        if web is not None and web.listen == ops.listen and ops.listen.port:
            raise PydanticCustomError(
                "same_listener", "must not be the address of web.listen; choose another port.", {"under": "listen"}
            )
        return ops
