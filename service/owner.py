"""Telling the workflow that owns a thing what somebody has decided about it."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TypeVar

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.audit import Entry
from domain.decision import Decided
from domain.errors import AlreadyDecided, AlreadyFinal, NotAnAnswer, NotInReview, Rejected
from service.call import Answer, Call, Seen
from service.desk import Desk
from service.temporal import TemporalUnreachable
from store import audit, idempotency
from store.idempotency import StoredAnswer

T = TypeVar("T")

TRY_AGAIN_SECONDS = 0.1
ASK_AGAIN_SECONDS = 1.0
"""How long one call waits. Of an Update that meets the end of its workflow Temporal may never tell
what became of it; asked again, it says that the workflow has ended."""
_NOT_NOW = frozenset(
    {
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.ABORTED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What Temporal says when it did not hand the Update over this time: the workflow's task was lost
to a cancellation or to another Update, or too many are under way. Nothing is down."""


async def _nobody() -> bool:
    return False


@dataclass(frozen=True)
class Update:
    """What to tell which workflow. Sent twice under one id it is taken once, and answered twice.

    `refusal`: what speaks against it as the row stands now.
    `decided`: what was decided about the thing as its row stands then, and by which Update; None
    while nothing is.
    `start_owner`: starts the owner of what is open and has lost it.
    `nothing_waits`: what is said when the workflow asks nothing, whatever the row says.
    `noted`: that somebody asked, where the owner does not note itself what it decides.
    """

    workflow_id: str
    name: str
    argument: object
    id: str
    refusal: Rejected | None
    decided: Callable[[], Awaitable[Decided | None]]
    start_owner: Callable[[], Awaitable[bool]] = _nobody
    nothing_waits: str = "Nothing is waiting for this decision."
    noted: Entry | None = None


class Delivery(Enum):
    """What became of an Update."""

    TAKEN = auto()
    """By the workflow, now or before."""
    LATE = auto()
    """Nobody took it within the time."""
    CLOSED = auto()
    """The workflow has ended, or there never was one."""


def update_id(call: Call) -> str:
    """As wide as the claim: the same key of another caller, or on another path, is another wish."""
    claim = call.claim
    return hashlib.sha256("\n".join((claim.caller, claim.route, claim.key)).encode()).hexdigest()


async def told(
    desk: Desk,
    call: Call,
    resource_id: str,
    update: Update,
    view: Callable[[bool], Awaitable[Seen[T]]],
) -> Answer[T] | StoredAnswer:
    """Claim the key and send the Update. `view` is told whether the owner took it.

    The answer is for whoever decided, now or under this key before; without a worker it is not
    final. Raises the refusal, the row's or the workflow's, `AlreadyDecided` where another Update
    did, and `TemporalUnreachable`.
    """
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, resource_id)
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated and update.refusal is not None:
            raise update.refusal
        if not claimed.repeated and update.noted is not None:
            await audit.append(tx, update.noted)
    taken, refusal = await _delivered(desk, update)
    seen = await view(taken)
    # Asked after the view: what is final there is decided here.
    decided = await update.decided()
    if decided is None:
        if refusal is not None and not claimed.repeated:
            raise refusal
    elif decided.update_id != update.id:
        raise AlreadyDecided(f"It is {decided.words}.")
    return Answer(resource_id, seen.value, seen.final, claimed.repeated)


async def _delivered(desk: Desk, update: Update) -> tuple[bool, Rejected | None]:
    """Whether the workflow has taken it, and its refusal. Raises when Temporal is down."""
    try:
        # A dead Temporal holds a call longer than its own time-out says.
        async with asyncio.timeout(desk.wait_seconds + 1):
            return await _deliver(desk, update) is Delivery.TAKEN, None
    except WorkflowUpdateFailedError as refused:
        return False, _refusal(update, refused)
    except RuntimeError as error:
        raise TemporalUnreachable(str(error)) from error


def _refusal(update: Update, refused: WorkflowUpdateFailedError) -> Rejected:
    cause = refused.cause
    if isinstance(cause, ApplicationError):
        for kind in (AlreadyDecided, AlreadyFinal, NotAnAnswer):
            if cause.type == kind.slug:
                return kind(cause.message)
    return NotInReview(update.nothing_waits)


async def _deliver(desk: Desk, update: Update) -> Delivery:
    """Hand it over within the time; another owner is started where one is gone.

    Raises `WorkflowUpdateFailedError` when the workflow refuses, and what a call raises while
    Temporal cannot be reached.
    """
    ends_at = time.monotonic() + desk.wait_seconds
    begins = False
    while True:
        try:
            left = max(ends_at - time.monotonic(), TRY_AGAIN_SECONDS)
            delivery = await _once(desk.temporal, update, min(left, ASK_AGAIN_SECONDS))
            if delivery is Delivery.TAKEN or time.monotonic() > ends_at:
                return delivery
            continue
        except WorkflowUpdateFailedError:
            # An owner that begins refuses until it has read where the thing stands.
            if not begins or time.monotonic() > ends_at:
                raise
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                begins = not begins and await update.start_owner()
                if not begins:
                    return Delivery.CLOSED
                continue
            if error.status not in _NOT_NOW:
                raise
            if time.monotonic() > ends_at:
                return Delivery.LATE
        await asyncio.sleep(TRY_AGAIN_SECONDS)


async def _once(client: Client, update: Update, seconds: float) -> Delivery:
    handle = client.get_workflow_handle(update.workflow_id)
    try:
        await handle.execute_update(
            update.name,
            update.argument,
            id=update.id,
            rpc_timeout=timedelta(seconds=seconds),
        )
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return Delivery.LATE
    return Delivery.TAKEN
