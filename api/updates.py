"""Handing what somebody decided to the workflow that owns the thing."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Response
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from api.context import Context
from api.idempotency import InProgress, Keyed, View, keep, replay, respond
from domain.decision import Decided
from domain.errors import AlreadyDecided, AlreadyFinal, NotAnAnswer, NotInReview, Rejected
from runtime.updates import Delivery, Update, deliver
from store import idempotency
from store.idempotency import Claim, StoredAnswer


async def _nobody() -> bool:
    return False


@dataclass(frozen=True)
class Handover:
    """One Update: to which workflow, what, and what speaks against it as the row stands now.

    `decided`: what was decided about the thing as its row stands then, and by which Update; None
    while nothing is.
    `outcome`: what is answered once the workflow has taken it, where that is more than `view`.
    `start_owner`: starts the owner of what is open and has lost it.
    """

    resource_id: str
    workflow_id: str
    update: str
    argument: object
    refusal: Rejected | None
    view: Callable[[], Awaitable[View]]
    decided: Callable[[], Awaitable[Decided | None]]
    location: str
    outcome: Callable[[], Awaitable[View]] | None = None
    start_owner: Callable[[], Awaitable[bool]] = _nobody


async def hand_over(context: Context, keyed: Keyed, handover: Handover) -> Response:
    """Send the Update with the key as its id: sent twice, it is taken once.

    200 is for whoever decided, now or under this key before. Raises the refusal, the row's or the
    workflow's, and `AlreadyDecided` where another Update did. Without a worker: 202.
    """
    location = handover.location
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, handover.resource_id)
        if claimed.answer is not None:
            return replay(claimed.answer)
        if not claimed.repeated and handover.refusal is not None:
            raise handover.refusal
    id_ = update_id(keyed.claim)
    taken, refusal = await _delivered(context, handover, id_)
    seen = await (handover.outcome if taken and handover.outcome else handover.view)()
    # Asked after the view: what is final there is decided here.
    decided = await handover.decided()
    if decided is None:
        if refusal is not None and not claimed.repeated:
            raise refusal
    elif decided.update_id != id_:
        raise AlreadyDecided(f"It is {decided.words}.")
    if not seen.final:
        if claimed.repeated:
            raise InProgress(location)
        return respond(StoredAnswer(202, seen.body), location)
    answer = await keep(context, keyed.claim, StoredAnswer(200, seen.body))
    return replay(answer) if claimed.repeated else respond(answer)


def update_id(claim: Claim) -> str:
    """As wide as the claim: the same key of another caller, or on another path, is another wish."""
    return hashlib.sha256("\n".join((claim.caller, claim.route, claim.key)).encode()).hexdigest()


async def _delivered(
    context: Context, handover: Handover, id_: str
) -> tuple[bool, Rejected | None]:
    """Whether the workflow has taken it, and its refusal. Raises when Temporal is down."""
    wait = context.settings.api_wait_seconds
    update = Update(handover.workflow_id, handover.update, handover.argument, id_)
    try:
        # A dead Temporal holds a call longer than its own time-out says.
        async with asyncio.timeout(wait + 1):
            ended = await deliver(context.temporal, update, wait, handover.start_owner)
            return ended is Delivery.TAKEN, None
    except WorkflowUpdateFailedError as refused:
        return False, _refusal(refused)
    except RuntimeError as error:
        raise ConnectionError(f"Temporal cannot be reached: {error}") from error


def _refusal(refused: WorkflowUpdateFailedError) -> Rejected:
    cause = refused.cause
    if isinstance(cause, ApplicationError):
        for kind in (AlreadyDecided, AlreadyFinal, NotAnAnswer):
            if cause.type == kind.slug:
                return kind(cause.message)
    return NotInReview("Nothing is waiting for this decision.")


def unless(status: str, wanted: str) -> Rejected | None:
    """What speaks against a decision about something that is not in the status for it."""
    return None if status == wanted else NotInReview(f"It is {status}.")
