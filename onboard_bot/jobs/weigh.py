"""Owns looking again at votes, because their voters came, went or got another level, or the rules are other ones."""

from dataclasses import dataclass

from onboard_bot.jobs.effect import Effect, Record
from onboard_bot.onboarding import showing
from onboard_bot.onboarding.electorate import Voters
from onboard_bot.onboarding.voting import Voting
from onboard_bot.store.jobs import Job
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Undecided:
    """Who voted on what is not decided, and the room that decides."""

    room_id: str
    people: frozenset[str]


class Weigh(Effect[Undecided]):
    """Looks them up, and lets the rules decide anew."""

    def __init__(self, voters: Voters, voting: Voting) -> None:
        self._voters = voters
        self._voting = voting

    async def prepare(self, tx: Transaction, job: Job) -> Undecided | None:
        """Nothing to do where nobody voted on anything. One look is enough, whatever else was a reason for one."""
        await tx.jobs.withdraw_others(job, now=tx.now)
        await showing.catch_up(tx)
        room = await tx.rooms.find(Purpose.ADMIN)
        if room is not None and room.room_id is not None:
            await showing.let_go_of_taps(tx, room.room_id)
        people = frozenset().union(*(await tx.votes.undecided()).values())
        return Undecided(room.room_id, people) if people and room is not None and room.room_id is not None else None

    async def perform(self, job: Job, prepared: Undecided) -> Record | None:  # noqa: ARG002 - the job is but a reason
        """Looks."""
        electorate = await self._voters.look(prepared.room_id, prepared.people)
        return lambda tx: self._voting.look_again(tx, electorate)
