"""Owns what a reaction says as a vote.

Content is written by strangers' clients: any shape of it may arrive and none may raise. What it was put under, and
whether its sender may vote, is not known here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onboard_bot.chat.incoming import read_event_id
from onboard_bot.domain.approvals import Choice

APPROVE_SIGN = Choice.APPROVE.sign
DENY_SIGN = Choice.DENY.sign

_LONGEST_KEY = 64
_MEANING = {APPROVE_SIGN: Choice.APPROVE, "👍": Choice.APPROVE, DENY_SIGN: Choice.DENY, "👎": Choice.DENY}
# Skin tones, and what asks for the coloured or the plain form of a sign.
_KEY = re.compile(rf"\s*([{''.join(_MEANING)}])[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*\s*")


@dataclass(frozen=True, slots=True)
class Reaction:
    """A vote by a sign, and the event that the sign was put under."""

    event_id: str
    choice: Choice


def read_reaction(content: object) -> Reaction | None:
    """The vote in the content of an `m.reaction`; None if it says anything else."""
    relation = content.get("m.relates_to") if isinstance(content, Mapping) else None
    if not isinstance(relation, Mapping) or relation.get("rel_type") != "m.annotation":
        return None
    event_id, key = read_event_id(relation.get("event_id")), relation.get("key")
    if event_id is None or not isinstance(key, str) or len(key) > _LONGEST_KEY:
        return None
    sign = _KEY.fullmatch(key)
    return None if sign is None else Reaction(event_id, _MEANING[sign[1]])
