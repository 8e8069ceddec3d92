"""Owns finding what the bot said before, where the server no longer knows its transaction id.

Every event that the bot sends carries a label in clear text, beside the ciphertext where there is one: with a new
device it cannot read its own messages, but it still knows them.
"""

from collections.abc import Mapping
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.sync_body import earlier_events

LABEL_KEY = "io.github.onboard_bot.label"
# The server's clock and ours may differ.
_CLOCKS_DIFFER = 3600.0
_PAGES = 50


def labelled(content: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The content with its label."""
    return {**content, LABEL_KEY: label}


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
                content = event.get("content")
                if isinstance(content, Mapping) and content.get(LABEL_KEY) == label:
                    return str(event["event_id"])
                if _sent_at(event) < oldest:
                    return None
            if following is None or following == start:
                return None
            start = following
        return None


def _sent_at(event: Mapping[str, Any]) -> float:
    at = event.get("origin_server_ts")
    return at if isinstance(at, int | float) else 0.0
