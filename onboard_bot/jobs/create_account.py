"""Owns making an account exactly once, although every answer may be lost.

`creating` and the password stand in the database before the first call. A later try that meets “already taken” finds
out by one sign-in whether the account is ours: nobody else knows that password.
"""

import logging
from dataclasses import dataclass

from pydantic import SecretStr

from onboard_bot.domain.identifiers import Username
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver.port import AccountBackend, AnswerLost, NewAccount, TryLater, WrongPassword
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.onboarding import outcome
from onboard_bot.onboarding.passwords import password_label
from onboard_bot.store.jobs import Job
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)

_FIRST_LOOK_AFTER = 0.2
_A_MOMENT = 1.0
_TRIES_TO_SIGN_OUT = 4
# A proxy's page instead of an answer: the endpoint is hidden, or the server is being restarted. Some seconds tell.
_TRIES_BEHIND_A_PAGE = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try.

    `may_exist` says whether an earlier one may have made the account.
    """

    request: Request
    password: SecretStr
    may_exist: bool


class CreateAccount(Effect[Attempt]):
    """Calls the backend; two at once, which is what one Synapse gains from (its bcrypt is what costs).

    A server that is away is waited for as long as it takes: what it does not answer it does not read either.
    """

    at_once = 2

    def __init__(self, backend: AccountBackend, sealer: Sealer, server_name: str) -> None:
        self._backend = backend
        self._sealer = sealer
        self._server_name = server_name

    async def prepare(self, tx: Transaction, job: Job) -> Attempt | None:
        """Commits `creating` before anything goes out."""
        request = await tx.requests.get(job.payload["request_id"])
        if request is None or request.state not in (State.APPROVED, State.CREATING):
            return None
        sealed = await tx.requests.sealed_password(request.id)
        if sealed is None:  # erased behind our back; whoever asked still gets an answer
            await self.give_up(tx, job, "the password is gone")
            return None
        may_exist = request.state is State.CREATING
        if not may_exist:
            await outcome.begin_creating(tx, request)
            request = await tx.requests.get(request.id) or request
        return Attempt(request, self._sealer.open(sealed, belongs_to=password_label(request.id)), may_exist)

    async def perform(self, job: Job, prepared: Attempt) -> Record | None:
        """Makes the account, or finds out that an earlier try did."""
        wish = prepared.request.wish
        account = NewAccount(
            localpart=wish.username,
            password=prepared.password,
            display_name=wish.display_name,
            admin=wish.admin,
            account_type=wish.account_type,
            session=None,
        )
        try:
            made = await self._backend.create(account)
        except AnswerLost as error:
            first = job.attempts == 1
            raise PostponedError(f"answer lost: {error}", wait=_FIRST_LOOK_AFTER if first else None) from error
        except OnboardError as error:
            if prepared.may_exist:  # whatever this try met, an earlier one may have made the account
                return await self._find_out(job, prepared, error)
            if error.code is ErrorCode.ENDPOINT_HIDDEN and job.attempts < _TRIES_BEHIND_A_PAGE:
                raise PostponedError(error.sentence) from error
            return self._failed(prepared, error)
        return lambda tx: outcome.created(tx, prepared.request, made.user_id, found=False)

    async def postponed(self, tx: Transaction, job: Job, wait: float) -> None:
        """The answers to what the same person asked later need not wait for this one."""
        request = await tx.requests.get(job.payload["request_id"])
        if request is not None and (job.attempts > 1 or wait > _A_MOMENT):
            await outcome.delayed(tx, request)

    async def give_up(self, tx: Transaction, job: Job, error: str) -> None:
        """A fault of ours keeps happening: the room hears of it, and nobody waits any longer."""
        request = await tx.requests.get(job.payload["request_id"])
        if request is not None and request.state is State.APPROVED:
            await outcome.failed(tx, request, OnboardError(ErrorCode.INTERNAL, error))
        elif request is not None and request.state is State.CREATING:
            await outcome.unknown(tx, request)

    @staticmethod
    def _failed(attempt: Attempt, error: OnboardError) -> Record:
        return lambda tx: outcome.failed(tx, attempt.request, error)

    async def _find_out(self, job: Job, attempt: Attempt, refusal: OnboardError) -> Record | None:
        user_id = Username(attempt.request.wish.username).at(self._server_name)
        try:
            # A device id of our choice: a repeat after a stop leaves no second device behind.
            session = await self._backend.sign_in(
                user_id, attempt.password, device_id=f"LOOK{attempt.request.id}".upper()
            )
        except WrongPassword:
            return self._failed(attempt, refusal)
        except OnboardError:  # nobody may sign in with a password there: it cannot be found out
            return lambda tx: outcome.unknown(tx, attempt.request)
        try:
            await self._backend.sign_out(session)
        except TryLater:  # found out again at the next try; but the account counts, not a session left over
            if job.attempts < _TRIES_TO_SIGN_OUT:
                raise
        except OnboardError as error:
            _log.warning("%s: its session of a moment was not ended (%s)", job.key, error)
        return lambda tx: outcome.created(tx, attempt.request, user_id, found=True)
