"""Owns the requests' rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.domain.requests import OPEN, AccountType, Card, Origin, Request, State, Wish, may_become
from onboard_bot.store.tables import BEHIND, HOLDS_USERNAME, requests


class StateMovedError(Exception):
    """The request is no longer in the state that the caller saw."""


class Requests:
    """The requests, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, request: Request) -> None:
        """A new request; its username must not be held by another open one."""
        wish = request.wish
        await self._connection.execute(
            insert(requests).values(
                id=request.id,
                state=request.state,
                username=wish.username,
                display_name=wish.display_name,
                admin=wish.admin,
                account_type=wish.account_type,
                room_sets=list(wish.room_sets),
                note=wish.note,
                quiet=wish.quiet,
                origin=request.origin,
                requester=request.requester,
                origin_room=request.origin_room,
                origin_event=request.origin_event,
                thread_root=request.thread_root,
                created_at=request.created_at,
                voucher=request.voucher,
                expires_at=request.expires_at,
            )
        )

    async def get(self, request_id: str) -> Request | None:
        """A request by its id."""
        row = (await self._connection.execute(select(requests).where(requests.c.id == request_id))).first()
        return None if row is None else _request(row)

    async def exists(self, request_id: str) -> bool:
        """Whether this id was ever given out."""
        return await self.get(request_id) is not None

    async def open_for(self, username: str) -> Request | None:
        """The open request that holds a username."""
        query = select(requests).where(requests.c.username == username, HOLDS_USERNAME)
        row = (await self._connection.execute(query)).first()
        return None if row is None else _request(row)

    async def with_card(self, room_id: str, event_id: str) -> Request | None:
        """The request whose card this event is."""
        query = select(requests).where(requests.c.card_event == event_id, requests.c.card_room == room_id)
        row = (await self._connection.execute(query)).first()
        return None if row is None else _request(row)

    async def asked_with(self, room_id: str, event_id: str) -> Request | None:
        """The request that this event asked for."""
        query = select(requests).where(requests.c.origin_event == event_id, requests.c.origin_room == room_id)
        row = (await self._connection.execute(query)).first()
        return None if row is None else _request(row)

    async def pending_in_thread(self, room_id: str, root: str) -> list[Request]:
        """What was asked for in a thread and is not decided."""
        in_thread = (requests.c.thread_root == root) & (requests.c.origin_room == room_id)
        query = select(requests).where(in_thread, requests.c.state == State.PENDING)
        return [_request(row) for row in await self._connection.execute(query.order_by(requests.c.created_at))]

    async def page(self, states: Collection[State], *, after: int, at_most: int, newest_first: bool) -> list[Request]:
        """Some of the requests in these states, by age, after so many others."""
        age = [requests.c.created_at, requests.c.id]
        query = select(requests).where(requests.c.state.in_(states)).offset(after).limit(at_most)
        query = query.order_by(*(column.desc() for column in age) if newest_first else age)
        return [_request(row) for row in await self._connection.execute(query)]

    async def count(self, states: Collection[State]) -> int:
        """How many requests are in these states."""
        query = select(func.count()).select_from(requests).where(requests.c.state.in_(states))
        count: int = (await self._connection.execute(query)).scalar_one()
        return count

    async def about_to_be_made(self) -> list[Request]:
        """Those whose account has its password and was not begun yet."""
        query = select(requests).where(requests.c.state == State.APPROVED, requests.c.sealed_password.is_not(None))
        return [_request(row) for row in await self._connection.execute(query.order_by(requests.c.created_at))]

    async def advance(
        self,
        request: Request,
        state: State,
        *,
        now: Timestamp,
        user_id: str | None = None,
        error: str | None = None,
    ) -> None:
        """Moves a request on, if it still is where the caller saw it.

        Raises:
            StateMovedError: It is not, or the table of transitions has no such step.
        """
        if not may_become(request.state, state):
            raise StateMovedError(f"request {request.id}: {request.state} does not become {state}")
        changed: dict[str, Any] = {"state": state}
        if user_id is not None:
            changed["user_id"] = user_id
        if error is not None:
            changed["error"] = error
        changed["finished_at"] = None if state in OPEN else now
        result = await self._connection.execute(
            update(requests).where(requests.c.id == request.id, requests.c.state == request.state).values(**changed)
        )
        if result.rowcount != 1:
            raise StateMovedError(f"request {request.id} is no longer {request.state}")

    async def begin_round(self, request: Request, *, username: str, expires_at: Timestamp | None) -> None:
        """The request is taken up anew, under this name: what was said to it so far does not count any more.

        It comes before the step to `pending`, in which a request holds its name.
        """
        changed: dict[str, Any] = {"round": request.round + 1, "username": username, "expires_at": expires_at}
        if username != request.wish.username:
            changed["renamed"] = requests.c.revision + 1
        await self._connection.execute(
            update(requests).where(requests.c.id == request.id).values(error=None, **changed)
        )

    async def extend(self, request_id: str, *, expires_at: Timestamp) -> None:
        """It ends at this time."""
        await self._connection.execute(
            update(requests).where(requests.c.id == request_id).values(expires_at=expires_at)
        )

    async def touch(self, request_id: str) -> Request:
        """Something on its card changed; the request as it is now."""
        query = update(requests).where(requests.c.id == request_id).values(revision=requests.c.revision + 1)
        return _request((await self._connection.execute(query.returning(*requests.c))).one())

    async def shows_its_name(self, request_id: str) -> bool:
        """Whether its card has come to show the name that is voted on."""
        query = select(requests.c.shown >= requests.c.renamed).where(requests.c.id == request_id)
        return bool(await self._connection.scalar(query))

    async def behind(self) -> list[str]:
        """The ids of the requests whose cards do not show how they stand."""
        return list(await self._connection.scalars(select(requests.c.id).where(BEHIND)))

    async def forget_card(self, request_id: str) -> None:
        """Somebody removed it from the room."""
        await self._connection.execute(
            update(requests).where(requests.c.id == request_id).values(card_room=None, card_event=None)
        )

    async def shown(self, request_id: str) -> int:
        """The revision that the card shows at least."""
        query = select(requests.c.shown).where(requests.c.id == request_id)
        revision: int = (await self._connection.execute(query)).scalar_one()
        return revision

    async def show(self, request_id: str, revision: int, card: Card | None = None) -> None:
        """The card shows this revision at least; `card` where it was posted only now."""
        changed: dict[str, Any] = {"shown": revision}
        if card is not None:
            changed |= {
                "card_room": card.room_id,
                "card_event": card.event_id,
                "card_mentions": list(card.mentions),
            }
        await self._connection.execute(update(requests).where(requests.c.id == request_id).values(**changed))

    async def seal_password(self, request_id: str, sealed: bytes) -> None:
        """Keeps the encrypted password of an account that is about to be made."""
        await self._connection.execute(
            update(requests).where(requests.c.id == request_id).values(sealed_password=sealed)
        )

    async def sealed_password(self, request_id: str) -> bytes | None:
        """The encrypted password; None once it was erased."""
        query = select(requests.c.sealed_password).where(requests.c.id == request_id)
        sealed: bytes | None = await self._connection.scalar(query)
        return sealed

    async def erase_password(self, request_id: str) -> None:
        """The password need not be known any more."""
        await self._connection.execute(update(requests).where(requests.c.id == request_id).values(sealed_password=None))

    async def credentials_sent(self, request_id: str, *, room_id: str, event_id: str) -> None:
        """Keeps which message holds the credentials, so that it can be removed."""
        await self._connection.execute(
            update(requests)
            .where(requests.c.id == request_id)
            .values(credentials_room=room_id, credentials_event=event_id)
        )

    async def credentials_message(self, request_id: str) -> tuple[str, str] | None:
        """Room and event of the message that holds the credentials."""
        query = select(requests.c.credentials_room, requests.c.credentials_event).where(requests.c.id == request_id)
        row = (await self._connection.execute(query)).first()
        return None if row is None or row.credentials_event is None else (row.credentials_room, row.credentials_event)


def _request(row: Row[Any]) -> Request:
    return Request(
        id=row.id,
        state=State(row.state),
        wish=Wish(
            username=row.username,
            display_name=row.display_name,
            admin=row.admin,
            account_type=None if row.account_type is None else AccountType(row.account_type),
            room_sets=tuple(row.room_sets),
            note=row.note,
            quiet=row.quiet,
        ),
        origin=Origin(row.origin),
        requester=row.requester,
        origin_room=row.origin_room,
        origin_event=row.origin_event,
        thread_root=row.thread_root,
        created_at=row.created_at,
        voucher=row.voucher,
        round=row.round,
        revision=row.revision,
        expires_at=row.expires_at,
        card=None if row.card_event is None else Card(row.card_room, row.card_event, tuple(row.card_mentions or ())),
        user_id=row.user_id,
        error=row.error,
        finished_at=row.finished_at,
    )
