"""What is thrown, as Hypothesis makes it: values of every shape, honest things bent out of shape, forged things.

What needs keys cannot be made before there is a fortress; it stands in a value as an object of this module, and
`forge` puts the real thing in its place.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.hostile.raw import MARKS, Json, again, text_of
from tests.hostile.server import Body, WrongAnswer
from tests.hostile.siege import ADA, BOT, EVE, MALLORY, MARKUP, MEGOLM, OLM, Siege

ADMIN_ROOM = "!room1:example.org"
ROOMS = (ADMIN_ROOM, "!other:evil.example", "!no/such room", "")
NOBODIES = (EVE, MALLORY, BOT, "@", "nobody", "", "@\u202e:evil.example")
EVENT_TYPES = (
    "m.room.message", "m.room.encrypted", "m.room.member", "m.room.power_levels", "m.room.redaction", "m.reaction",
    "m.room.name", "m.room.create", "m.room.encryption", "m.room.tombstone", "m.sticker", "",
)  # fmt: skip
TO_DEVICE_TYPES = (
    "m.room.encrypted", "m.room_key", "m.forwarded_room_key", "m.room_key_request", "m.room_key.withheld", "m.dummy",
    "m.key.verification.request", "m.key.verification.start", "m.key.verification.mac", "m.secret.request",
    "m.secret.send", "",
)  # fmt: skip
KEYS = (
    "next_batch", "rooms", "join", "invite", "leave", "knock", "timeline", "events", "limited", "prev_batch", "state",
    "to_device", "invite_state", "event_id", "type", "state_key", "content", "membership", "sender", "is_direct",
    "unsigned", "prev_content", "redacts", "origin_server_ts", "room_id", "msgtype", "body", "format", "formatted_body",
    "m.relates_to", "rel_type", "m.in_reply_to", "m.new_content", "m.mentions", "user_ids", "algorithm", "ciphertext",
    "sender_key", "session_id", "session_key", "device_id", "users", "users_default", "chunk", "end", "start",
    "device_keys", "one_time_keys", "one_time_key_counts", "signed_curve25519", "errcode", "error", "retry_after_ms",
)  # fmt: skip
WORDS = (
    *NOBODIES,
    *ROOMS,
    *EVENT_TYPES[:6],
    "join",
    "invite",
    "m.text",
    "m.replace",
    "m.thread",
    "$event",
    "s1",
    MARKUP,
)

# Values of every shape

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, -(2**53), 2**63, 10**40, -1, 0.5, 1e300])
    | st.sampled_from(WORDS)
    | st.text(max_size=20)
    | st.sampled_from(MARKS)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=12,
)

# Commands that nobody has to obey

evil_commands = st.sampled_from(
    [
        "!register evil", f"!register evil {MARKUP}", "!register evil --admin", f"! {MARKUP}", f"!{MARKUP}",
        f"!regster evil {MARKUP}", f"!help {MARKUP}", f"{BOT} register evil", "Onboarding: register evil", "!status",
        "!register " + "evil" * 10_000, "!register evil " + "\u0301" * 20_000, "!" + "\u202e" * 500,
        "!register @evil:other.example", "!help register", f"!approve {MARKUP}", "!register evil\n!register evil2",
        "!x\ud7ff\U0010ffff",
        f"!register --{MARKUP}={MARKUP}", "!register “evil", "@room " * 2000, f"{EVE} " * 10_000, "!" * 60_000,
    ]
)  # fmt: skip
texts = evil_commands | st.text(max_size=60) | st.text(max_size=30).map("!register evil ".__add__)
orders = st.fixed_dictionaries({"msgtype": st.just("m.text"), "body": st.just("!register evil") | evil_commands})
relations = (
    st.fixed_dictionaries(
        {},
        optional={
            "rel_type": st.sampled_from(["m.replace", "m.thread", "m.annotation"]) | anything,
            "event_id": st.sampled_from(["$honest0", "$event", MARKUP]) | anything,
            "key": st.sampled_from(["✅", "❌"]),
            "is_falling_back": anything,
            "m.in_reply_to": st.fixed_dictionaries({"event_id": st.sampled_from(["$honest0", ""]) | anything}),
        },
    )
    | anything
)
contents = st.fixed_dictionaries(
    {"msgtype": st.sampled_from(["m.text", "m.text", "m.notice"]), "body": texts},
    optional={
        "format": st.sampled_from(["org.matrix.custom.html"]),
        "formatted_body": texts.map(lambda body: f'<a href="https://matrix.to/#/{BOT}">bot</a> {body}')
        | st.sampled_from(["<" * 6000, "<a href=https://matrix.to/#/@a:b><![foo["]),
        "m.relates_to": relations,
        "m.new_content": st.fixed_dictionaries({"msgtype": st.just("m.text"), "body": texts}),
        "m.mentions": st.fixed_dictionaries({"user_ids": st.lists(st.sampled_from([BOT, ADA]), max_size=3)}) | anything,
    },
)


def _counted(prefix: str) -> st.SearchStrategy[str]:
    return st.integers(0, 10**9).map(lambda n: f"{prefix}{n}")


event_ids = _counted("$evil") | st.sampled_from(["$event", "$honest0"[:-1], "", "$" + "x" * 300])
power = st.just({"users": {EVE: 100, MALLORY: 100}, "users_default": 100})
messages = st.fixed_dictionaries(
    {
        "type": st.just("m.room.message"),
        "event_id": event_ids,
        "sender": st.sampled_from(NOBODIES),
        "content": contents,
        "origin_server_ts": st.just(1),
    },
    optional={"unsigned": anything, "room_id": st.sampled_from(ROOMS)},
)
claims = st.fixed_dictionaries(
    {
        "type": st.sampled_from(EVENT_TYPES),
        "event_id": event_ids,
        "sender": st.sampled_from(NOBODIES),
        "state_key": st.sampled_from(["", EVE, BOT]),
        "content": power
        | st.fixed_dictionaries({"membership": st.sampled_from(["join", "leave", "ban", "invite"])})
        | contents,
    },
    optional={"unsigned": st.fixed_dictionaries({"prev_content": anything})},
)
cleartext_events = messages | claims

# Honest things bent out of shape


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _places(value[index], (*path, index))


@st.composite
def bent(draw: st.DrawFn, honest: st.SearchStrategy[Json], *, times: int = 4) -> Json:
    """An honest value of which some parts are replaced, left out, wrapped, or there twice."""
    value = copy.deepcopy(draw(honest))
    for _ in range(draw(st.integers(0, times))):
        path = draw(st.sampled_from(list(_places(value)) or [()]))
        if not path:
            break
        holder, last = value, path[-1]
        for step in path[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "replace", "leave out", "wrap", "twice"])):
            case "replace":
                holder[last] = draw(anything)
            case "leave out":
                del holder[last]
            case "wrap":
                holder[last] = draw(st.sampled_from([[holder[last]], {"x": holder[last]}, {"events": [holder[last]]}]))
            case "twice" if isinstance(holder, dict):
                holder[again(last)] = draw(anything)
    return value


to_device_in_clear = st.fixed_dictionaries(
    {"type": st.sampled_from(TO_DEVICE_TYPES), "sender": st.sampled_from(NOBODIES)},
    optional={
        "content": anything
        | st.fixed_dictionaries(
            {"algorithm": st.sampled_from([MEGOLM, OLM]), "room_id": st.sampled_from(ROOMS)},
            optional={
                "session_id": anything,
                "session_key": anything,
                "action": st.sampled_from(["request", "request_cancellation"]),
                "transaction_id": st.text(max_size=5),
                "from_device": st.text(max_size=5),
                "methods": anything,
                "ciphertext": anything,
                "sender_key": anything,
            },
        )
    },
)
invitations = st.fixed_dictionaries(
    {
        "invite_state": st.fixed_dictionaries(
            {
                "events": st.lists(
                    st.fixed_dictionaries(
                        {
                            "type": st.sampled_from(["m.room.member", "m.room.name", "m.room.create"]),
                            "state_key": st.sampled_from([BOT, EVE, ""]),
                            "sender": st.sampled_from(NOBODIES),
                            "content": st.fixed_dictionaries(
                                {"membership": st.sampled_from(["invite", "join"]), "is_direct": st.booleans()}
                            ),
                        }
                    ),
                    max_size=3,
                )
            }
        )
    }
)
timelines = st.fixed_dictionaries(
    {
        "events": st.lists(cleartext_events, min_size=2, max_size=9),
        "limited": st.booleans(),
        "prev_batch": st.sampled_from(["t1", "", "t" * 3000]),
    }
)
joined = st.fixed_dictionaries(
    {"timeline": timelines}, optional={"state": st.fixed_dictionaries({"events": st.lists(claims, max_size=2)})}
)
sync_answers = st.fixed_dictionaries(
    {
        "next_batch": st.just("@@token@@"),
        "rooms": st.fixed_dictionaries(
            {"join": st.fixed_dictionaries({ADMIN_ROOM: joined}, optional=dict.fromkeys(ROOMS[1:], joined))},
            optional={
                "invite": st.dictionaries(st.sampled_from(ROOMS[1:]), invitations, max_size=2),
                "leave": st.dictionaries(st.sampled_from(ROOMS), anything, max_size=2),
            },
        ),
    },
    optional={
        "to_device": st.fixed_dictionaries({"events": st.lists(to_device_in_clear, max_size=3)}),
        "device_lists": st.fixed_dictionaries({"changed": st.lists(st.sampled_from([ADA, EVE])), "left": anything}),
        "device_one_time_keys_count": st.fixed_dictionaries({"signed_curve25519": anything}),
        "device_unused_fallback_key_types": anything,
        "presence": anything,
        "account_data": anything,
    },
)
bent_syncs = bent(sync_answers)
no_syncs = st.sampled_from(["", "{", "null", "[]", "<html>", '{"next_batch": 1}', "[" * 50_000, '{"a":' * 50_000]) | (
    anything.map(text_of)
)


def body_of(sync: Any, siege: Siege) -> Body:
    """A body, sound if its token was left alone."""
    token = siege.new_token()
    text = text_of(sync).replace("@@token@@", token)
    sound = (
        isinstance(sync, dict)
        and sync.get("next_batch") == "@@token@@"
        and not any(key.startswith("next_batch@@") for key in sync)
    )
    return Body(text, token if sound else None)


# Pages of history

pages = bent(
    st.fixed_dictionaries(
        {"chunk": st.lists(cleartext_events, max_size=4)},
        optional={"end": st.sampled_from(["t1", "t2", "@@page@@", "@@page@@", ""]), "start": anything},
    )
).map(text_of)

# What needs keys


@dataclass(frozen=True)
class Ciphertext:
    """Eve encrypts this for the room; the content of an `m.room.encrypted`."""

    plaintext: Any
    bent: Json
    relation: Any = None

    def make(self, siege: Siege) -> Json:
        """The real thing."""
        eve = siege.fortress.eve
        content = eve.megolm(siege.room_id, _as_bytes(forge(self.plaintext, siege)))
        content |= {} if self.relation is None else {"m.relates_to": self.relation}
        return content | self.bent


@dataclass(frozen=True)
class Replay:
    """Something that the admin said before, once more."""

    which: int
    changes: Json

    def make(self, siege: Siege) -> Json:
        """The real thing."""
        said = siege.honest_events
        return {**said[self.which % len(said)], **self.changes} if said else {}


@dataclass(frozen=True)
class ToDevice:
    """Eve encrypts this for the bot's device."""

    event_type: Any
    content: Any
    changes: Json
    outside: Json

    def make(self, siege: Siege) -> Json:
        """The real thing."""
        fortress = siege.fortress
        payload = fortress.olm_payload(fortress.eve, forge(self.event_type, siege), forge(self.content, siege))
        return fortress.to_device(fortress.eve, _as_bytes(payload | self.changes)) | self.outside


@dataclass(frozen=True)
class KeyOf:
    """A part of Eve's Megolm session."""

    part: str

    def make(self, siege: Siege) -> str:
        """The real thing."""
        eve = siege.fortress.eve
        return eve.session_id(siege.room_id) if self.part == "id" else eve.session_key(siege.room_id)


@dataclass(frozen=True)
class RawBytes:
    """A plaintext that is no JSON."""

    content: bytes


def forge(value: Any, siege: Siege) -> Any:
    """The value with real ciphertexts in it."""
    if isinstance(value, Ciphertext | Replay | ToDevice | KeyOf):
        return value.make(siege)
    if isinstance(value, dict):
        return {key: forge(inner, siege) for key, inner in value.items()}
    return [forge(inner, siege) for inner in value] if isinstance(value, list) else value


def _as_bytes(value: Any) -> bytes:
    return value.content if isinstance(value, RawBytes) else text_of(value).encode()


well_formed = st.fixed_dictionaries(
    {"type": st.just("m.room.message"), "room_id": st.just(ADMIN_ROOM), "content": orders | contents},
    optional={"sender": st.just(ADA), "event_id": st.just("$honest0")},
)
payloads = (
    st.builds(RawBytes, st.binary(max_size=20) | st.sampled_from([b"", b"\xff\xfe", b"[]", b"1", b"null", b"[" * 9999]))
    | anything
    | well_formed
    | bent(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(EVENT_TYPES),
                "room_id": st.sampled_from([ADMIN_ROOM, ADMIN_ROOM, ADMIN_ROOM, *ROOMS]),
                "content": contents | power | st.fixed_dictionaries({"redacts": st.just("$honest0")}),
            },
            optional={
                "state_key": st.sampled_from(["", EVE]),
                "sender": st.just(ADA),
                "event_id": st.just("$honest0"),
                "unsigned": anything,
                "keys": anything,
            },
        ),
        times=2,
    )
)
ciphertexts = st.builds(
    Ciphertext,
    payloads,
    st.just({})
    | st.fixed_dictionaries(
        {},
        optional={
            "algorithm": st.sampled_from([MEGOLM, OLM, "m.megolm.v2", ""]) | anything,
            "sender_key": anything,
            "session_id": anything,
            "ciphertext": anything | st.sampled_from(["AwgAEg", "A" * 50_000]),
            "device_id": anything,
        },
    ),
    st.none() | relations,
)
encrypted_events = st.fixed_dictionaries(
    {
        "type": st.just("m.room.encrypted"),
        "event_id": event_ids,
        "sender": st.sampled_from([EVE, EVE, ADA, MALLORY, BOT]),
        "content": ciphertexts,
    },
    optional={"unsigned": anything, "state_key": st.just("")},
)
impersonations = st.fixed_dictionaries(
    {
        "type": st.just("m.room.encrypted"),
        "event_id": event_ids.filter(bool),
        "sender": st.sampled_from([EVE, ADA, MALLORY]),
        "content": st.builds(Ciphertext, well_formed, st.just({})),
    }
)
replays = st.builds(
    Replay,
    st.integers(0, 5),
    st.fixed_dictionaries(
        {}, optional={"event_id": event_ids.filter(bool), "sender": st.sampled_from([EVE, ADA]), "unsigned": anything}
    ),
)
room_keys = st.fixed_dictionaries(
    {
        "algorithm": st.sampled_from([MEGOLM, OLM]),
        "room_id": st.sampled_from(ROOMS),
        "session_id": st.just(KeyOf("id")) | anything,
        "session_key": st.just(KeyOf("key")) | anything,
    },
    optional={
        "sender_key": anything,
        "sender_claimed_ed25519_key": anything,
        "forwarding_curve25519_key_chain": anything,
        "chain_index": anything,
    },
)
encrypted_to_device = st.builds(
    ToDevice,
    st.sampled_from(TO_DEVICE_TYPES) | anything,
    room_keys | anything,
    st.just({})
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("sender", "recipient", "recipient_keys", "keys", "type", "sender_device"), anything),
    ),
    st.just({}) | st.fixed_dictionaries({"sender": st.sampled_from([ADA, MALLORY])}),
)
crypto_syncs = st.fixed_dictionaries(
    {
        "next_batch": st.just("@@token@@"),
        "rooms": st.fixed_dictionaries(
            {
                "join": st.fixed_dictionaries(
                    {
                        ADMIN_ROOM: st.fixed_dictionaries(
                            {
                                "timeline": st.fixed_dictionaries(
                                    {
                                        "events": st.lists(
                                            encrypted_events | impersonations | replays, min_size=3, max_size=12
                                        )
                                    }
                                )
                            }
                        )
                    }
                )
            }
        ),
        "to_device": st.fixed_dictionaries(
            {"events": st.lists(encrypted_to_device | bent(to_device_in_clear), max_size=3)}
        ),
    }
)

# Wrong answers, and what makes the bot ask: members come and go, devices change, somebody asks for help or invites

_chatter = st.sampled_from(
    [
        {"type": "m.room.message", "sender": EVE, "content": {"msgtype": "m.text", "body": "!help"}},
        {"type": "m.room.member", "sender": EVE, "state_key": EVE, "content": {"membership": "join"}},
        {"type": "m.room.encryption", "sender": EVE, "state_key": "", "content": {}},
    ]
)
occasions = st.fixed_dictionaries(
    {
        "next_batch": st.just("@@token@@"),
        "rooms": st.fixed_dictionaries(
            {
                "join": st.fixed_dictionaries(
                    {
                        ADMIN_ROOM: st.fixed_dictionaries(
                            {
                                "timeline": st.fixed_dictionaries(
                                    {
                                        "events": st.lists(
                                            st.builds(lambda e, i: {**e, "event_id": i}, _chatter, event_ids),
                                            max_size=3,
                                        ),
                                        "limited": st.booleans(),
                                        "prev_batch": st.just("t1"),
                                    }
                                )
                            }
                        )
                    }
                ),
                "invite": st.dictionaries(st.sampled_from(ROOMS[1:3]), invitations, max_size=1),
            }
        ),
    },
    optional={
        "device_lists": st.just({"changed": [ADA, EVE]}),
        "device_one_time_keys_count": st.fixed_dictionaries({"signed_curve25519": st.integers(-5, 100)}),
    },
)

CALLS = (
    "POST keys/upload", "POST keys/query", "POST keys/claim", "PUT sendToDevice", "GET members", "GET state",
    "GET state m.room.member", "GET state m.room.power_levels", "GET state m.room.encryption", "GET joined_rooms",
    "POST createRoom", "PUT send", "POST join", "POST leave", "GET messages",
)  # fmt: skip


def _shapes(honest: Json) -> st.SearchStrategy[str]:
    return bent(st.just(honest)).map(text_of)


_honest_answers: list[Json] = [
    {"one_time_key_counts": {"signed_curve25519": 50}},
    {"device_keys": {ADA: {"PHONE": {"user_id": ADA, "device_id": "PHONE", "keys": {}, "signatures": {}}}}},
    {"one_time_keys": {ADA: {"PHONE": {"signed_curve25519:AAAA": {"key": "x", "signatures": {}}}}}},
    {"chunk": [{"type": "m.room.member", "state_key": EVE, "content": {"membership": "join"}}]},
    {"joined_rooms": [ADMIN_ROOM]},
    {"users_default": 0, "users": {ADA: 100}, "events": {}, "events_default": 0},
    {"membership": "join"},
    {"algorithm": MEGOLM},
    {"event_id": "$x", "room_id": "!x"},
    {"creator": ADA, "room_version": "11"},
]
plausible = st.one_of([_shapes(answer) for answer in _honest_answers])
_statuses = st.sampled_from([200, 200, 200, 200, 400, 403, 404, 429, 500, 502])
wrong_answers = st.builds(
    WrongAnswer,
    st.sampled_from(CALLS),
    _statuses,
    plausible | anything.map(text_of) | st.sampled_from(["", "<html>Bad gateway</html>", "{", json.dumps("x" * 3000)]),
)
