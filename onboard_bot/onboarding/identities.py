"""Owns whose cross-signing identity counts: the first one that we saw, until a person says that a new one is right.

Whoever holds a homeserver can give any of its people a new identity, and so speak as them. So a change is told to the
admin room, and counts only once somebody else has looked at it: nobody can have looked at a key that was not told yet.
"""

from collections.abc import Mapping

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.roles import Actor
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects
from onboard_bot.store.identities import KnownIdentity
from onboard_bot.store.transaction import Store, Transaction


class AcceptedIdentities:
    """Remembers them in the database.

    Args:
        store: The database; `onboard-bot trust` may write there beside us.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accepted(self, found: Mapping[str, str]) -> frozenset[str]:
        """Those of the people whose identity counts. A first one does; a change is written down, to be told.

        Args:
            found: The master keys that the server names now, by user id.
        """
        async with self._store.reading() as tx:
            known = await tx.identities.of(found)
        if any(_is_news(known.get(user), key) for user, key in found.items()):
            async with self._store.transaction() as tx:
                known = await tx.identities.of(found)
                for user, key in found.items():
                    if _is_news(known.get(user), key):
                        await _note(tx, user, key, known.get(user))
                known = await tx.identities.of(found)
        return frozenset(user for user, key in found.items() if known[user].master_key == key)


def _is_news(known: KnownIdentity | None, key: str) -> bool:
    if known is None:
        return True
    return known.changed_to is not None if known.master_key == key else known.changed_to != key


async def _note(tx: Transaction, user_id: str, key: str, known: KnownIdentity | None) -> None:
    if known is None:
        await tx.identities.keep(user_id, key)
    elif known.master_key == key:
        await tx.identities.changed(user_id, None)
    else:
        number = await tx.identities.changed(user_id, key)
        keys = {"user_id": user_id, "master_key": known.master_key, "changed_to": key}
        await tx.record(Entry(Verb.IDENTITY_CHANGED, personal=keys))
        await tx.intend(effects.tell_of_identity(user_id, number))


async def note_told(tx: Transaction, user_id: str, change: int) -> None:
    """The admin room was told of this change: whoever types from now on can have compared its key."""
    await tx.identities.told(user_id, change, after=await tx.inbox.last_number())


async def accept_identity(tx: Transaction, user_id: str, *, by: Actor | None, event_id: str | None = None) -> str:
    """A person's changed identity counts from now on; its master key.

    Args:
        tx: The transaction.
        user_id: Whose.
        by: Who says so; None for the operator at the machine, who reads there what was accepted and need not be told.
        event_id: Where they said so.

    Raises:
        OnboardError: `not_permitted` for one's own, `not_found` where nothing changed, `identity_changed` where it
            was said before the room had been told of this key.
    """
    if by is not None and by.user_id == user_id:
        raise OnboardError(
            ErrorCode.NOT_PERMITTED, "Nobody accepts their own changed identity. Please ask another approver."
        )
    known = (await tx.identities.of([user_id])).get(user_id)
    if known is None or known.changed_to is None:
        raise OnboardError(ErrorCode.NOT_FOUND, f"I know of no changed identity of {user_id}; there is nothing to do.")
    if by is not None and not await _came_after_telling(tx, known, event_id):
        raise OnboardError(
            ErrorCode.IDENTITY_CHANGED,
            f"This room had not been told which identity {user_id} has now when this was typed, so nobody can have"
            " compared it. I say so first; compare the key with them, and then type this again.",
        )
    await tx.identities.accept(user_id)
    said = {"by": by.user_id, "event_id": event_id} if by is not None else {}
    keys = {"user_id": user_id, "master_key": known.changed_to, "instead_of": known.master_key}
    await tx.record(Entry(Verb.IDENTITY_ACCEPTED, facts={"by_operator": by is None}, personal=keys | said))
    return known.changed_to


async def _came_after_telling(tx: Transaction, known: KnownIdentity, event_id: str | None) -> bool:
    """By the order in which the bot heard of things: clocks are set back, and a server names any time it likes."""
    number = None if event_id is None else await tx.inbox.number_of(event_id)
    return known.told_after is not None and number is not None and number > known.told_after
