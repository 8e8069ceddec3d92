"""Owns finding what the bot said before, where the server no longer knows its transaction id.

Every event that the bot sends carries a label in clear text, beside the ciphertext where there is one: with a new
device it cannot read its own messages, but it still knows them.
"""

from collections.abc import Mapping
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.sync_body import earlier_events
from onboard_bot.onboarding.ports import Outgoing

LABELS_KEY = "io.github.onboard_bot.labels"
# The server's clock and ours may differ.
_CLOCKS_DIFFER = 3600.0
# Of a hundred own events each: more than a bot says in a room in years.
_PAGES = 1000


def labelled(content: Mapping[str, Any], outgoing: Outgoing) -> dict[str, Any]:
    """The content with its labels."""
    return {**content, LABELS_KEY: [outgoing.label, *outgoing.also]}


class OwnEvents:
    """Looks through a room backwards; raises what `Transport.call` raises."""

    def __init__(self, api: ClientApi, own_user_id: str) -> None:
        self._api = api
        self._own_user_id = own_user_id

    async def find(self, room_id: str, label: str, *, since: Timestamp) -> str | None:
        """The id of our event of this label, not older than the moment; None where there is none."""
        oldest = (since - _CLOCKS_DIFFER) * 1000
        start: str | None = None
        for _ in range(_PAGES):
            page = await self._api.messages_before(room_id, start=start, sender=self._own_user_id)
            events, following = earlier_events(page)
            for event in reversed(events):
                if label in _labels(event):
                    return str(event["event_id"])
                if _sent_at(event) < oldest:
                    return None
            if following is None or following == start:
                return None
            start = following
        return None


def _labels(event: Mapping[str, Any]) -> list[Any]:
    content = event.get("content")
    labels = content.get(LABELS_KEY) if isinstance(content, Mapping) else None
    return labels if isinstance(labels, list) else []


def _sent_at(event: Mapping[str, Any]) -> float:
    at = event.get("origin_server_ts")
    return at if isinstance(at, int | float) else 0.0
