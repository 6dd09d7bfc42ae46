"""Handing what somebody decided to the workflow that owns the thing."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Response
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.context import Context
from api.idempotency import InProgress, Keyed, View, keep, replay, respond
from domain.errors import AlreadyFinal, NotInReview, Rejected
from store import idempotency
from store.idempotency import Claim, StoredAnswer

TRY_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class Handover:
    """One Update: to which workflow, what, and what speaks against it as the row stands now.

    `outcome`: what is answered once the workflow has taken it, where that is more than `view`.
    `start_owner`: starts the owner of what is open and has lost it.
    """

    resource_id: str
    workflow_id: str
    update: str
    argument: object
    refusal: Rejected | None
    view: Callable[[], Awaitable[View]]
    location: str
    outcome: Callable[[], Awaitable[View]] | None = None
    start_owner: Callable[[], Awaitable[bool]] | None = None


async def hand_over(context: Context, keyed: Keyed, handover: Handover) -> Response:
    """Send the Update with the key as its id: sent twice, it is taken once.

    Raises the refusal, the row's or the workflow's. Without a worker: 202.
    """
    location = handover.location
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, handover.resource_id)
        if claimed.answer is not None:
            return replay(claimed.answer)
        if not claimed.repeated and handover.refusal is not None:
            raise handover.refusal
    try:
        taken = await _delivered(context, handover, _update_id(keyed.claim))
    except WorkflowUpdateFailedError as refusal:
        if not claimed.repeated:
            raise _refusal(refusal) from refusal
        taken = False
    seen = await (handover.outcome if taken and handover.outcome else handover.view)()
    if not seen.final:
        if claimed.repeated:
            raise InProgress(location)
        return respond(StoredAnswer(202, seen.body), location)
    answer = await keep(context, keyed.claim, StoredAnswer(200, seen.body))
    return replay(answer) if claimed.repeated else respond(answer)


def _update_id(claim: Claim) -> str:
    """As wide as the claim: the same key of another caller, or on another path, is another wish."""
    return hashlib.sha256("\n".join((claim.caller, claim.route, claim.key)).encode()).hexdigest()


def _refusal(refusal: WorkflowUpdateFailedError) -> Rejected:
    cause = refusal.cause
    if isinstance(cause, ApplicationError) and cause.type == AlreadyFinal.slug:
        return AlreadyFinal(cause.message)
    return NotInReview("Nothing is waiting for this decision.")


async def _delivered(context: Context, handover: Handover, update_id: str) -> bool:
    """False when nobody takes it within the wait, or when the workflow has closed: then its outcome
    is in the row. Raises when Temporal is down, or when the workflow refuses."""
    wait = context.settings.api_wait_seconds
    ends_at = time.monotonic() + wait
    try:
        # A dead Temporal holds a call longer than its own time-out says.
        async with asyncio.timeout(wait + 1):
            try:
                return await _update(context, handover, update_id)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
            if not await _owner_started(handover):
                return False
            return await _update_of_a_new_owner(context, handover, update_id, ends_at)
    except RuntimeError as error:
        raise ConnectionError(f"Temporal cannot be reached: {error}") from error


async def _update(context: Context, handover: Handover, update_id: str) -> bool:
    handle = context.temporal.get_workflow_handle(handover.workflow_id)
    try:
        await handle.execute_update(
            handover.update,
            handover.argument,
            id=update_id,
            rpc_timeout=timedelta(seconds=context.settings.api_wait_seconds),
        )
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return False
    return True


async def _owner_started(handover: Handover) -> bool:
    try:
        return handover.start_owner is not None and await handover.start_owner()
    except WorkflowAlreadyStartedError:
        return False


async def _update_of_a_new_owner(
    context: Context, handover: Handover, update_id: str, ends_at: float
) -> bool:
    """It refuses until it has read where the thing stands."""
    while True:
        try:
            return await _update(context, handover, update_id)
        except WorkflowUpdateFailedError:
            if time.monotonic() > ends_at:
                raise
        await asyncio.sleep(TRY_AGAIN_SECONDS)


def unless(status: str, wanted: str) -> Rejected | None:
    """What speaks against a decision about something that is not in the status for it."""
    return None if status == wanted else NotInReview(f"It is {status}.")
