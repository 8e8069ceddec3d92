"""Owns the votes' rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.domain.approvals import Choice, Vote
from onboard_bot.domain.requests import Request, State
from onboard_bot.store.tables import requests, votes


class Votes:
    """The votes, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def cast(self, request: Request, vote: Vote) -> None:
        """A new vote, in the request's present round."""
        await self._connection.execute(
            insert(votes).values(
                request_id=request.id,
                round=request.round,
                voter=vote.voter,
                choice=vote.choice,
                typed=vote.typed,
                event_id=vote.event_id,
                at=vote.at,
                note=vote.note,
                silent=vote.silent,
                stands=True,
                counts=vote.counts,
                groups=sorted(vote.groups),
            )
        )

    async def of(self, request: Request) -> list[Vote]:
        """Those of its present round that stand, in the order in which they came."""
        query = select(votes).where(votes.c.request_id == request.id, votes.c.round == request.round, votes.c.stands)
        return [_vote(row) for row in await self._connection.execute(query.order_by(votes.c.seq))]

    async def said_with(self, event_id: str) -> list[str]:
        """The ids of the requests to which an event speaks, in this round and not taken back."""
        present = (requests.c.id == votes.c.request_id) & (requests.c.round == votes.c.round)
        query = select(votes.c.request_id).where(votes.c.event_id == event_id, votes.c.stands, present)
        return list(await self._connection.scalars(query.order_by(votes.c.seq)))

    async def take_back(self, request_id: str, event_id: str) -> None:
        """The vote does not stand any more."""
        said = (votes.c.event_id == event_id) & (votes.c.request_id == request_id)
        await self._connection.execute(update(votes).where(said).values(stands=False))

    async def carry_over(self, request: Request, votes_kept: Collection[Vote]) -> None:
        """These votes count in the round that follows the present one, too.

        Args:
            request: As it stands before that round.
            votes_kept: Of the present round.
        """
        of_round = (votes.c.request_id == request.id) & (votes.c.round == request.round)
        kept = votes.c.event_id.in_([vote.event_id for vote in votes_kept])
        await self._connection.execute(update(votes).where(of_round, kept).values(round=request.round + 1))

    async def judged(self, request: Request, vote: Vote) -> None:
        """What a new look at its voter showed."""
        said = (votes.c.event_id == vote.event_id) & (votes.c.request_id == request.id)
        await self._connection.execute(update(votes).where(said).values(counts=vote.counts, groups=sorted(vote.groups)))

    async def undecided(self) -> dict[str, set[str]]:
        """Who voted on the pending requests that somebody voted on, by the requests' ids."""
        present = (requests.c.id == votes.c.request_id) & (requests.c.round == votes.c.round)
        query = select(votes.c.request_id, votes.c.voter).where(
            present, votes.c.stands, requests.c.state == State.PENDING
        )
        return await self._voters(query)

    async def voters(self, request_ids: Collection[str]) -> set[str]:
        """Who voted on these requests, ever."""
        query = select(votes.c.request_id, votes.c.voter).where(votes.c.request_id.in_(request_ids))
        return set().union(*(await self._voters(query)).values())

    async def _voters(self, query: Any) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for request_id, voter in await self._connection.execute(query.distinct()):
            found.setdefault(request_id, set()).add(voter)
        return found


def _vote(row: Row[Any]) -> Vote:
    return Vote(
        voter=row.voter,
        choice=Choice(row.choice),
        typed=row.typed,
        event_id=row.event_id,
        at=row.at,
        note=row.note,
        silent=row.silent,
        counts=row.counts,
        groups=frozenset(row.groups),
    )
